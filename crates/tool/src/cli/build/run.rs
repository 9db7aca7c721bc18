//! `build` and `adopt` in a program with TensorRT.

use std::path::Path;

use anyhow::Context as _;

use super::{AdoptArguments, BuildArguments, Outcome, chosen, dry, outline};
use crate::prepare::{Guard, Preparation};
use vla_builder::{Built, Origin, Request, Target};
use vla_engines::Stage;
use vla_engines::memory::{MemoryUse, mib};
use vla_engines::onnx::Network;
use vla_engines::provenance;
use vla_engines::provenance::{DeviceIdentity, Provenance, Release};
use vla_policy::PolicySpec;
use vla_tensorrt::cuda::memory_here;

#[path = "ahead.rs"]
mod ahead;
#[path = "child.rs"]
mod child;
#[path = "gate.rs"]
mod gate;

use child::Stop;

pub(super) fn build(args: &BuildArguments) -> anyhow::Result<Outcome> {
    if let Some(request) = &args.here {
        return child::work(&serde_json::from_str(request).context("--here")?).map(|()| Outcome::Success);
    }
    if let Some(engine) = &args.probe {
        return child::probe_here(engine, args.emulated).map(|()| Outcome::Success);
    }
    let stop = Stop::watch()?;
    if !args.ahead.is_empty() {
        return ahead::engines(args, &stop);
    }
    let prepared = if args.prepare_system { prepare(args.dry_run)? } else { None };
    let outcome = engines(args, &stop);
    // Also after an error or Ctrl-C; the guard's destructor restores the rest.
    let restored = prepared.map(Guard::restore).transpose();
    for line in restored.as_ref().ok().into_iter().flatten().flatten() {
        println!("{line}");
    }
    first(outcome, restored)
}

/// Combines the outcome of the build with that of restoring the machine. An error of the build takes precedence and keeps its
/// exit code; a failed restore is printed in any case.
fn first<T, E>(outcome: anyhow::Result<Outcome>, restored: Result<T, E>) -> anyhow::Result<Outcome>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match (outcome, restored) {
        (outcome, Ok(_)) => outcome,
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(failed), Err(error)) => {
            eprintln!("the machine was not put back: {error}");
            Err(failed)
        }
    }
}

/// Prepares the machine, and prints what was or would be done.
fn prepare(dry_run: bool) -> anyhow::Result<Option<Guard>> {
    let plan = Preparation::of(Path::new("/"));
    println!("{plan}");
    if dry_run {
        return Ok(None);
    }
    let guard = plan.apply()?;
    for line in guard.done() {
        println!("{line}");
    }
    Ok(Some(guard))
}

fn engines(args: &BuildArguments, stop: &Stop) -> anyhow::Result<Outcome> {
    let device = match vla_builder::device() {
        Ok(device) => device,
        Err(unknown) if args.dry_run => {
            println!("no GPU is asked: {unknown}");
            return dry::run(args).map(|()| Outcome::Success);
        }
        Err(unknown) => return Err(unknown.into()),
    };
    let work = Work { args, device: &device, stop };
    if let Some(request) = args.single() {
        return work.one(request).map(|()| Outcome::Success);
    }
    let spec = PolicySpec::load(args.policy.as_deref().unwrap_or(Path::new(".")))?;
    match &args.bag {
        // The gate starts with other precisions.
        Some(bag) if args.propose && !args.dry_run => gate::run(&work, &spec, bag),
        bag => {
            work.policy(&spec)?;
            match bag {
                Some(bag) if !args.dry_run => gate::run(&work, &spec, bag),
                _ => Ok(Outcome::Success),
            }
        }
    }
}

/// Shared by all engines of one command.
struct Work<'a> {
    args: &'a BuildArguments,
    device: &'a DeviceIdentity,
    stop: &'a Stop,
}

impl Work<'_> {
    /// Every stage that lacks a matching engine.
    fn policy(&self, spec: &PolicySpec) -> anyhow::Result<()> {
        let stages = chosen(spec.engine_stages(), self.args.stages.as_deref())?;
        for (index, stage) in stages.iter().enumerate() {
            let title = format!("{} of {}: {}", index + 1, stages.len(), stage.name);
            // With a bag, the gate compares an inaccurate engine again.
            let looked_at = Stage { allow_inaccurate: self.args.bag.is_some(), ..stage.clone() };
            let rejection = match provenance::verify(&looked_at, self.device) {
                Ok(_) => {
                    println!("{title}: {} matches", stage.file.display());
                    continue;
                }
                Err(rejection) => rejection,
            };
            println!("{title}: {rejection}");
            self.one(self.args.stage(stage, self.args.precision_of(stage)?))?;
        }
        Ok(())
    }

    /// Builds in a child, then measures the engine and writes its record.
    fn one(&self, mut request: Request) -> anyhow::Result<()> {
        request.profiles()?;
        self.can(&request)?;
        request.check_quantization(&self.device.tensorrt)?;
        if self.args.low_memory_mode {
            outline::bound(&mut request, Some(&self.device.tensorrt), free())?;
        }
        if self.args.dry_run {
            return Ok(outline::print(&request, Some(&self.device.tensorrt))?);
        }
        let target = Target::take(&request, &self.device.tensorrt)?;
        let built = child::build(&request, self.stop)?;
        let precision = request.precision.to_string();
        let origin = Origin {
            precision: &precision,
            scales: request.scales.as_ref(),
            peak_anonymous: built.peak_anonymous,
            flags: built.flags.clone(),
            duration: built.duration,
            portable: None,
            adopted: false,
            emulated: self.args.emulated,
        };
        let probe = child::probe(&request.engine, self.args.emulated)?;
        // The child received the signal, too.
        self.stop.check()?;
        let record = vla_builder::record(&request.engine, &request.onnx, &origin, probe)?;
        drop(target);
        print_build(&request, &built);
        print_memory(&record);
        Ok(())
    }

    /// Refuses an unsupported precision before a process is started.
    fn can(&self, request: &Request) -> Result<(), vla_builder::Error> {
        match request.lacking(self.device)? {
            None => Ok(()),
            Some(lacking) => {
                Err(vla_builder::Error::Precision { onnx: request.onnx.clone(), precision: request.precision, lacking })
            }
        }
    }
}

/// Memory available to the builder now: on a GPU with dedicated memory, the smaller of host and device memory.
fn free() -> u64 {
    let host = MemoryUse::now().available;
    memory_here().and_then(|pool| pool.device_free).map_or(host, |device| device.min(host))
}

fn print_build(request: &Request, built: &Built) {
    let cache = if built.timing_cache_used { ", timing cache used" } else { "" };
    println!(
        "{}: {:.1} MiB, {} layers, {:.1} s{cache}",
        request.engine.display(),
        mib(built.bytes),
        built.layers,
        built.duration.as_secs_f64()
    );
    if let Some(scales) = &request.scales {
        match built.calibrated {
            Some(done) => println!(
                "  calibrated on {} samples{}; scales kept in {}",
                done.samples,
                passed_over(done.passed_over),
                scales.cache.display()
            ),
            None => println!("  scales of {}, nothing calibrated", scales.cache.display()),
        }
    }
    if let Some(words) = hardly_int8(request, built) {
        println!("  {words}");
    }
    if built.unscaled > 0 {
        println!("  {} tensors have no scale: layers around them are not in int8", built.unscaled);
    }
    let device = built.peak_device.map(|bytes| format!(", {:.0} MiB in its device allocators", mib(bytes)));
    println!(
        "  building took at most {:.0} MiB anonymous ({:.0} MiB resident with TensorRT's libraries){}",
        mib(built.peak_anonymous),
        mib(built.peak_resident),
        device.unwrap_or_default()
    );
}

/// A warning if few layers run in INT8 after a calibration: TensorRT chooses it only where it is faster. Judged by the engine's size, with one
/// byte per INT8 weight.
fn hardly_int8(request: &Request, built: &Built) -> Option<String> {
    let network = request.precision.int8.then(|| Network::open(&request.onnx).ok())??;
    if network.is_quantized() {
        return None;
    }
    let (int8, whole) = (network.weight_bytes_in("int8+fp16"), network.weight_bytes_in("fp16"));
    // The threshold corresponds to half of the weights in INT8.
    (built.bytes > int8.midpoint(whole)).then(|| {
        format!(
            "TensorRT took int8 for few of the weights, if any: they are {:.1} MiB in int8, {:.1} MiB in fp16. Where that is so, \
             fp16 alone builds faster; a network with QuantizeLinear nodes says by itself what is int8",
            mib(int8),
            mib(whole)
        )
    })
}

fn passed_over(samples: usize) -> String {
    if samples == 0 { String::new() } else { format!(" ({samples} of another shape were passed over)") }
}

fn print_memory(record: &Provenance) {
    let memory = &record.memory;
    println!(
        "  on the device {:.1} MiB, activation {:.1} MiB; TensorRT keeps {:.2} of the file in host memory",
        mib(memory.weight_bytes.unwrap_or_default()),
        mib(memory.activation_bytes.unwrap_or_default()),
        memory.kept_factor.unwrap_or_default()
    );
    match &memory.release {
        Some(Release { works: true, kept_factor, .. }) => println!(
            "  of which {:.3} remain once memory.release_host_copy has given that copy back",
            kept_factor.unwrap_or_default()
        ),
        Some(Release { reason, .. }) => {
            println!("  that copy cannot be given back: {}", reason.as_deref().unwrap_or("no reason was recorded"));
        }
        None => {}
    }
}

pub(super) fn adopt(args: &AdoptArguments) -> anyhow::Result<Outcome> {
    let precision = args.precision.to_string();
    let origin = Origin { precision: &precision, adopted: true, ..Origin::default() };
    let record = vla_builder::record(&args.engine, &args.onnx, &origin, child::probe(&args.engine, false)?)?;
    println!(
        "{}: loads and runs here; its record is {}",
        args.engine.display(),
        Provenance::path(&args.engine).display()
    );
    print_memory(&record);
    Ok(Outcome::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("nvpmodel does not answer")]
    struct NotRestored;

    #[test]
    fn an_error_of_putting_the_machine_back_does_not_hide_that_of_the_build() {
        let failed = || anyhow::anyhow!("no engine was built");
        let both = first(Err(failed()), Err::<(), _>(NotRestored)).expect_err("both failed");
        assert_eq!(both.to_string(), "no engine was built");
        let restore = first(Ok(Outcome::Success), Err::<(), _>(NotRestored)).expect_err("not put back");
        assert_eq!(restore.to_string(), "nvpmodel does not answer");
        assert!(matches!(first(Ok(Outcome::Success), Ok::<_, NotRestored>(())), Ok(Outcome::Success)));
        assert!(first(Err(failed()), Ok::<_, NotRestored>(())).is_err());
    }
}
