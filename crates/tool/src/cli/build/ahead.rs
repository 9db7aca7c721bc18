//! `build --for`: engines of TensorRT-RTX, built ahead of time for GPUs that need not be here.

use std::path::Path;

use super::{Outcome, child, chosen, outline, print_build};
use crate::cli::build::BuildArguments;
use vla_builder::{Origin, Probe, Request, Target};
use vla_engines::provenance;
use vla_engines::provenance::{DeviceIdentity, Memory, Portable};
use vla_policy::PolicySpec;
use vla_tensorrt::{Family, Library};

use child::Stop;

/// Builds one network, or every stage of a policy whose engine is missing or does not match.
pub(super) fn engines(args: &BuildArguments, stop: &Stop) -> anyhow::Result<Outcome> {
    let library = Library::open_family(Family::Rtx, None)?;
    let portable = Portable::new(args.ahead.clone());
    let work = Work { args, stop, device: portable.device(library.record_name()), portable };
    if let Some(request) = args.single() {
        return work.one(request).map(|()| Outcome::Success);
    }
    let spec = PolicySpec::load(args.policy.as_deref().unwrap_or(Path::new(".")))?;
    let stages = chosen(spec.engine_stages(), args.stages.as_deref())?;
    for (index, stage) in stages.iter().enumerate() {
        let title = format!("{} of {}: {}", index + 1, stages.len(), stage.name);
        match provenance::verify(stage, &work.device) {
            Ok(_) => println!("{title}: {} matches", stage.file.display()),
            Err(rejection) => {
                println!("{title}: {rejection}");
                work.one(args.stage(stage, args.precision_of(stage)?))?;
            }
        }
    }
    Ok(Outcome::Success)
}

/// Shared by all engines of one command.
struct Work<'a> {
    args: &'a BuildArguments,
    stop: &'a Stop,
    /// The library and the compute capabilities, as a record names them.
    device: DeviceIdentity,
    portable: Portable,
}

impl Work<'_> {
    /// Builds in a child and writes the record. The engine is not loaded: that takes one of its GPUs.
    fn one(&self, request: Request) -> anyhow::Result<()> {
        let request = Request { ahead: self.portable.compute_capabilities.clone(), timing_cache: None, ..request };
        let profiles = request.profiles()?;
        request.check_quantization(&self.device.tensorrt)?;
        if self.args.dry_run {
            println!("  for compute capability {}", self.portable.names());
            return Ok(outline::print(&request, Some(&self.device.tensorrt))?);
        }
        let target = Target::take(&request, &self.device.tensorrt)?;
        let built = child::build(&request, self.stop)?;
        self.stop.check()?;
        let precision = request.precision.to_string();
        let origin = Origin {
            precision: &precision,
            peak_anonymous: built.peak_anonymous,
            flags: built.flags.clone(),
            duration: built.duration,
            portable: Some(self.portable.clone()),
            ..Origin::default()
        };
        let probe = Probe { device: self.device.clone(), memory: Memory::default(), profiles };
        vla_builder::record(&request.engine, &request.onnx, &origin, probe)?;
        drop(target);
        print_build(&request, &built);
        println!(
            "  for compute capability {} with TensorRT-{} on {}; not loaded or run here",
            self.portable.names(),
            self.device.tensorrt,
            self.portable.system
        );
        Ok(())
    }
}
