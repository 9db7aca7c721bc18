//! Calibration on recorded inputs of each stage (`vla-trt calibrate`): each stage is looked at alone, and there are no actions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::budget::{Limits, Outcome};
use super::calibration::{Calibration, See, network_name};
use crate::Error;
use crate::verify::candidate::Candidate as _;
use crate::verify::{Networks, StageReport};
use vla_base::tensor::{HostTensor, TensorSpec};
use vla_builder::calibration::Calibration as File;
use vla_engines::onnx::Network;
use vla_engines::provenance::{Figures, TensorFigures, hash};
use vla_engines::{Inference, Stage, StageOutput, Symbols};
use vla_policy::PolicySpec;

/// Threads of an inference: there are no settings that say how many.
const THREADS: usize = 2;

/// A file of recorded inputs of a policy's stages.
pub(super) struct Arrays {
    spec: PolicySpec,
    file: PathBuf,
    sha256: String,
    samples: usize,
    /// What the stages as they are make, run by run; kept once a stage has run.
    made: RefCell<BTreeMap<String, Vec<Outputs>>>,
}

/// Outputs of one run, by the pipeline's names.
type Outputs = BTreeMap<String, HostTensor>;

impl Arrays {
    /// Opens the file, which has samples of every one of these stages.
    ///
    /// # Errors
    /// [`Error::Samples`] with everything that does not fit the networks.
    pub(super) fn open(spec: &PolicySpec, file: &Path, stages: &[String]) -> Result<Self, Error> {
        let mut samples = usize::MAX;
        for stage in spec.stages.iter().filter(|stage| stages.contains(&stage.name)) {
            samples = samples.min(opened(file, stage)?.samples());
        }
        let sha256 = hash::file_sha256(file).map_err(Error::io(file))?;
        let (spec, file) = (spec.clone(), file.to_owned());
        Ok(Self { spec, file, sha256, samples, made: RefCell::default() })
    }

    /// Runs a stage of `networks` on every sample. `see` receives the sample's number, names in the network and tensors.
    fn run(
        &self,
        described: &Stage,
        networks: &mut Networks,
        see: &mut dyn FnMut(usize, usize, Tensors<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut file = opened(&self.file, described)?;
        let network = Network::open(&described.onnx).map_err(vla_quantize::Error::from)?;
        let alone = alone(described);
        let host = offered(&alone, &network.inputs);
        let mut pipeline = networks.load(std::slice::from_ref(&alone), &host)?;
        let (mut sample, mut number, total) = (Vec::new(), 0, file.samples());
        while file.next_sample(&mut sample)? {
            for (input, tensor) in network.inputs.iter().zip(&sample) {
                see(number, total, Tensors::Input(&input.name, tensor))?;
            }
            pipeline.prepare(&symbols(&network.inputs, &sample), 1)?;
            write(&alone, &network.inputs, &sample, &mut *pipeline)?;
            let mut seen = Ok(());
            pipeline.inspect(&mut |made: StageOutput<'_>| {
                if seen.is_ok() {
                    seen = see(number, total, Tensors::Output(made.name, &made.tensor));
                }
            })?;
            seen?;
            number += 1;
        }
        Ok(())
    }

    /// What a stage as it is makes of every sample.
    fn reference(&self, stage: &Stage) -> Result<(), Error> {
        if self.made.borrow().contains_key(&stage.name) {
            return Ok(());
        }
        let mut all: Vec<Outputs> = Vec::new();
        self.run(stage, &mut self.networks(), &mut |sample, _, tensor| {
            all.resize_with(all.len().max(sample + 1), Outputs::new);
            if let Tensors::Output(name, tensor) = tensor {
                all[sample].insert(name.to_owned(), tensor.clone());
            }
            Ok(())
        })?;
        self.made.borrow_mut().insert(stage.name.clone(), all);
        Ok(())
    }

    /// The outputs of a stage of `networks` compared with those of the stage as it is.
    fn stage(&self, name: &str, networks: &mut Networks) -> Result<StageReport, Error> {
        let find = |stages: &[Stage]| {
            let found = stages.iter().find(|stage| stage.name == name).cloned();
            found.ok_or_else(|| {
                Error::no_stage(name, self.spec.name.clone(), stages.iter().map(|stage| stage.name.as_str()))
            })
        };
        self.reference(&find(self.networks().stages())?)?;
        let described = find(networks.stages())?;
        let mut worst: BTreeMap<String, Figures> = BTreeMap::new();
        let mut runs = 0;
        self.run(&described, networks, &mut |sample, total, tensor| {
            runs = total;
            let Tensors::Output(name, tensor) = tensor else { return Ok(()) };
            let made = self.made.borrow();
            let reference = made.get(&described.name).and_then(|all| all.get(sample)?.get(name));
            let figures = reference.and_then(|reference| Figures::of(tensor, reference)).unwrap_or(Figures::NOT_FINITE);
            let held = worst.entry(name.to_owned()).or_insert(figures);
            *held = held.worse(figures);
            Ok(())
        })?;
        let least = self.spec.accuracy.least_cosine(&described);
        let outputs =
            worst.into_iter().map(|(tensor, figures)| TensorFigures { tensor, figures, least_cosine: Some(least) });
        Ok(StageReport {
            stage: described.name.clone(),
            precision: described.precision.clone(),
            runs,
            outputs: outputs.collect(),
            inner: Vec::new(),
        })
    }
}

/// A tensor of a run: an input by its name in the network, an output by the pipeline's.
enum Tensors<'t> {
    Input(&'t str, &'t HostTensor),
    Output(&'t str, &'t HostTensor),
}

impl Calibration for Arrays {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn path(&self) -> &Path {
        &self.file
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn tensors_sha256(&self) -> Result<String, Error> {
        Ok(self.sha256.clone())
    }

    fn observations(&self) -> usize {
        self.samples
    }

    fn decodes(&self) -> bool {
        false
    }

    fn networks(&self) -> Networks {
        Networks::of(&self.spec, THREADS)
    }

    fn record(
        &self,
        _stage: &Stage,
        described: &Stage,
        progress: &mut dyn FnMut(usize, usize),
        see: See<'_>,
    ) -> Result<(), Error> {
        self.run(described, &mut self.networks(), &mut |sample, total, tensor| {
            match tensor {
                Tensors::Input(name, tensor) => see(name, tensor),
                Tensors::Output(name, tensor) => {
                    if let Some(name) = network_name(described, name) {
                        see(name, tensor);
                    }
                }
            }
            progress(sample + 1, total);
            Ok(())
        })
    }

    fn compare(&self, networks: &mut Networks, changed: &[&str], limits: &Limits) -> Result<Outcome, Error> {
        let each = changed.iter().map(|stage| self.stage(stage, networks)).collect::<Result<Vec<_>, _>>()?;
        Ok(Outcome::of_stages(&each, limits))
    }
}

fn opened(file: &Path, stage: &Stage) -> Result<File, Error> {
    let network = Network::open(&stage.onnx).map_err(vla_quantize::Error::from)?;
    Ok(File::open(file, &network.inputs, Some(&stage.name))?)
}

/// The stage with every input given and no loop.
fn alone(stage: &Stage) -> Stage {
    let mut alone = Stage { repeat: false, ..stage.clone() };
    alone.inputs.iter_mut().for_each(|input| input.constants = None);
    alone.outputs.iter_mut().for_each(|output| output.feeds = None);
    alone
}

/// The network's inputs under the pipeline's names.
fn offered(stage: &Stage, inputs: &[TensorSpec]) -> Vec<TensorSpec> {
    let named = stage.inputs.iter().filter_map(|input| {
        let spec = inputs.iter().find(|spec| spec.name == input.tensor)?;
        Some(TensorSpec { name: input.name.clone(), ..spec.clone() })
    });
    named.collect()
}

fn symbols(inputs: &[TensorSpec], sample: &[HostTensor]) -> Symbols {
    let mut symbols = Symbols::new();
    for (spec, tensor) in inputs.iter().zip(sample) {
        for (dim, size) in spec.dims.iter().zip(tensor.dims()) {
            if let vla_base::tensor::Dim::Symbol(symbol) = dim {
                symbols.insert(symbol.clone(), *size);
            }
        }
    }
    symbols
}

fn write(
    stage: &Stage,
    inputs: &[TensorSpec],
    sample: &[HostTensor],
    pipeline: &mut dyn Inference,
) -> Result<(), Error> {
    for input in &stage.inputs {
        if let Some(at) = inputs.iter().position(|spec| spec.name == input.tensor) {
            pipeline.write(&input.name, &sample[at])?;
        }
    }
    Ok(())
}
