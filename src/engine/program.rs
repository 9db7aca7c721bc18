//! A pipeline made concrete: for given values of the symbols and a given number of repetitions, every buffer
//! allocated and every run bound. Made once, replayed at each inference.

use std::path::Path;
use std::time::Instant;

use safetensors::{Dtype, SafeTensors};

use super::wiring::{Joined, Source, Symbols, Wiring, resolve};
use super::{Device, Error, Made, StageTime};
use crate::tensor::{DType, Data, HostTensor, display_dims, without_batch};

/// Buffers and bound runs for one (symbols, repetitions).
pub(super) struct Program<D: Device> {
    pub symbols: Symbols,
    pub repetitions: u32,
    /// For each tensor: its dimensions.
    dims: Vec<Vec<usize>>,
    /// For each tensor: its buffer, or one per repetition for constants.
    buffers: Vec<Vec<D::Buffer>>,
    /// For each tensor written by the host in another type than the engine's: where it is converted.
    staging: Vec<Option<HostTensor>>,
    steps: Vec<Step<D>>,
}

struct Step<D: Device> {
    stage: usize,
    repetition: usize,
    bound: D::Bound,
}

impl<D: Device> Program<D> {
    pub fn new(
        device: &mut D,
        engines: &mut [D::Engine],
        wiring: &Wiring,
        symbols: &Symbols,
        repetitions: u32,
    ) -> Result<Self, Error> {
        let mut program = Self {
            symbols: symbols.clone(),
            repetitions,
            dims: Vec::new(),
            buffers: Vec::new(),
            staging: wiring.tensors.iter().map(|_| None).collect(),
            steps: Vec::new(),
        };
        program.allocate(device, wiring)?;
        let group = wiring.stages.iter().position(|stage| stage.repeat);
        let after = wiring.stages.iter().rposition(|stage| stage.repeat).map_or(0, |last| last + 1);
        match group {
            None => program.bind(device, engines, wiring, 0..wiring.stages.len(), 0)?,
            Some(first) => {
                program.bind(device, engines, wiring, 0..first, 0)?;
                for repetition in 0..repetitions as usize {
                    program.bind(device, engines, wiring, first..after, repetition)?;
                }
                let last = (repetitions as usize).saturating_sub(1);
                program.bind(device, engines, wiring, after..wiring.stages.len(), last)?;
            }
        }
        Ok(program)
    }

    fn allocate(&mut self, device: &mut D, wiring: &Wiring) -> Result<(), Error> {
        for tensor in &wiring.tensors {
            let dims = resolve(&tensor.spec, &self.symbols)?;
            let buffers = match &tensor.source {
                Source::Host | Source::Stage => vec![device.allocate(tensor.spec.dtype, &dims)?],
                Source::Constants(file) => self.constants(device, &tensor.spec.name, file, tensor.spec.dtype, &dims)?,
            };
            self.dims.push(dims);
            self.buffers.push(buffers);
        }
        Ok(())
    }

    /// One buffer per repetition, filled from the table's rows.
    fn constants(
        &self,
        device: &mut D,
        input: &str,
        file: &Path,
        dtype: DType,
        dims: &[usize],
    ) -> Result<Vec<D::Buffer>, Error> {
        let fail = |reason: String| Error::Constants { input: input.to_owned(), file: file.to_owned(), reason };
        let table = constant_table(file, input, self.repetitions).map_err(fail)?;
        let mut buffers = Vec::with_capacity(self.repetitions as usize);
        for row in rows(&table) {
            let mut converted = HostTensor::zeros(dtype, dims).ok_or_else(|| fail("too many elements".into()))?;
            let fits = row.dims() == dims && (row.dtype() == dtype || row.convert_into(&mut converted));
            if !fits {
                return Err(fail(format!(
                    "expected rows of {dtype} {}, found {} {}",
                    display_dims(dims),
                    row.dtype(),
                    display_dims(row.dims())
                )));
            }
            let mut buffer = device.allocate(dtype, dims)?;
            device.write(&mut buffer, if row.dtype() == dtype { &row } else { &converted }).map_err(fail)?;
            buffers.push(buffer);
        }
        if buffers.len() == self.repetitions as usize {
            Ok(buffers)
        } else {
            Err(fail(format!("expected {} rows, found {}", self.repetitions, buffers.len())))
        }
    }

    fn bind(
        &mut self,
        device: &mut D,
        engines: &mut [D::Engine],
        wiring: &Wiring,
        stages: std::ops::Range<usize>,
        repetition: usize,
    ) -> Result<(), Error> {
        for index in stages {
            let stage = &wiring.stages[index];
            let mut bound = device.bind(&mut engines[index])?;
            for (name, tensor) in &stage.inputs {
                let (tensor, row) = place(wiring, *tensor, repetition);
                device.bind_input(&mut bound, name, &self.buffers[tensor][row])?;
            }
            for (name, tensor) in &stage.outputs {
                let (tensor, row) = place(wiring, *tensor, repetition);
                device.bind_output(&mut bound, name, &mut self.buffers[tensor][row])?;
            }
            self.steps.push(Step { stage: index, repetition, bound });
        }
        Ok(())
    }

    /// Copies a host tensor in, converting it where a foreign network wants another type
    /// ([`HostTensor::convert_into`]); leading ones do not matter.
    pub fn write(&mut self, device: &mut D, wiring: &Wiring, tensor: usize, host: &HostTensor) -> Result<(), Error> {
        let spec = &wiring.tensors[tensor].spec;
        let dims = &self.dims[tensor];
        let refuse = |expected: String| Error::HostTensor {
            tensor: spec.name.clone(),
            expected,
            found: format!("{} {}", host.dtype(), display_dims(host.dims())),
        };
        if !same_but_for_batch(host.dims(), dims) {
            return Err(refuse(format!("{} {}", spec.dtype, display_dims(dims))));
        }
        let buffer = &mut self.buffers[tensor][0];
        if host.dtype() == spec.dtype {
            return device.write(buffer, host).map_err(refuse);
        }
        if self.staging[tensor].is_none() {
            self.staging[tensor] = HostTensor::zeros(spec.dtype, dims);
        }
        let staging = self.staging[tensor].as_mut();
        match staging.and_then(|staging| host.convert_into(staging).then_some(staging)) {
            Some(converted) => device.write(buffer, converted).map_err(refuse),
            None => Err(refuse(format!("{} (or a type that converts to it)", spec.dtype))),
        }
    }

    /// Copies a tensor out; after the repeated group, the value of its last repetition.
    pub fn read(&self, device: &mut D, wiring: &Wiring, tensor: usize, host: &mut HostTensor) -> Result<(), Error> {
        let last = (self.repetitions as usize).saturating_sub(1);
        let (at, row) = place(wiring, tensor, last);
        let spec = &wiring.tensors[tensor].spec;
        let dims = &self.dims[tensor];
        if host.dtype() != spec.dtype || !same_but_for_batch(host.dims(), dims) {
            return Err(Error::HostTensor {
                tensor: spec.name.clone(),
                expected: format!("{} {}", spec.dtype, display_dims(dims)),
                found: format!("{} {}", host.dtype(), display_dims(host.dims())),
            });
        }
        device
            .read(&self.buffers[at][row], host)
            .map_err(|reason| Error::Device { action: format!("reading tensor '{}'", spec.name), reason })
    }

    /// Runs every step in order, adding to the time of its stage.
    pub fn execute(&mut self, device: &mut D, engines: &mut [D::Engine], times: &mut [StageTime]) -> Result<(), Error> {
        for step in &mut self.steps {
            let started = Instant::now();
            device.run(&mut engines[step.stage], &mut step.bound).map_err(|reason| Error::Run {
                stage: times.get(step.stage).map(|time| time.stage.clone()).unwrap_or_default(),
                reason,
            })?;
            if let Some(time) = times.get_mut(step.stage) {
                time.time += started.elapsed();
            }
        }
        device.finish()
    }

    /// As [`Self::execute`], and shows every output as soon as it is made, and the constants of a repetition before it
    /// runs. Copies and allocates.
    pub fn inspect(
        &mut self,
        device: &mut D,
        engines: &mut [D::Engine],
        wiring: &Wiring,
        see: &mut dyn FnMut(Made<'_>),
    ) -> Result<(), Error> {
        let (dims, buffers) = (&self.dims, &self.buffers);
        let mut show = |device: &mut D, stage: &Joined, tensor: usize, repetition: usize| {
            let spec = &wiring.tensors[tensor].spec;
            let (at, row) = place(wiring, tensor, repetition);
            let fail = |reason| Error::Device { action: format!("reading tensor '{}'", spec.name), reason };
            let held = HostTensor::zeros(spec.dtype, &dims[tensor]);
            let mut held = held.ok_or_else(|| fail("too many elements".to_owned()))?;
            device.read(&buffers[at][row], &mut held).map_err(fail)?;
            see(Made { name: &spec.name, repetition: stage.repeat.then_some(repetition), tensor: held });
            Ok::<(), Error>(())
        };
        for step in &mut self.steps {
            let stage = &wiring.stages[step.stage];
            let constant = |tensor: &usize| matches!(wiring.tensors[*tensor].source, Source::Constants(_));
            for tensor in stage.inputs.iter().map(|(_, tensor)| *tensor).filter(constant) {
                show(device, stage, tensor, step.repetition)?;
            }
            let fail = |reason| Error::Run { stage: stage.name.clone(), reason };
            device.run(&mut engines[step.stage], &mut step.bound).map_err(fail)?;
            device.finish()?;
            for (_, tensor) in &stage.outputs {
                show(device, stage, *tensor, step.repetition)?;
            }
        }
        Ok(())
    }
}

fn same_but_for_batch(a: &[usize], b: &[usize]) -> bool {
    let rank = a.len().min(b.len());
    without_batch(a, rank).zip(without_batch(b, rank)).is_some_and(|(a, b)| a == b)
}

/// Buffer of a tensor in a repetition: constants have one each; a tensor and the one that it feeds swap theirs at
/// every repetition, so that no copy closes the loop.
fn place(wiring: &Wiring, tensor: usize, repetition: usize) -> (usize, usize) {
    if matches!(wiring.tensors[tensor].source, Source::Constants(_)) {
        return (tensor, repetition);
    }
    let partner = wiring.tensors[tensor].feeds.or_else(|| wiring.tensors.iter().position(|t| t.feeds == Some(tensor)));
    match partner {
        Some(partner) if repetition % 2 == 1 => (partner, 0),
        _ => (tensor, 0),
    }
}

/// Tensor `<input>.<repetitions>` of a safetensors file, its first dimension the repetitions.
fn constant_table(file: &Path, input: &str, repetitions: u32) -> Result<HostTensor, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let tables = SafeTensors::deserialize(&bytes).map_err(|error| format!("not a safetensors file: {error}"))?;
    let name = format!("{input}.{repetitions}");
    let Ok(view) = tables.tensor(&name) else {
        return Err(format!("no tensor '{name}'; it has {}", tables.names().join(", ")));
    };
    let (elements, _) = view.data().as_chunks::<4>();
    let table = match view.dtype() {
        Dtype::F32 => HostTensor::from_f32(view.shape(), elements.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::I32 => HostTensor::from_i32(view.shape(), elements.iter().map(|b| i32::from_le_bytes(*b)).collect()),
        _ => None,
    };
    table.filter(|table| table.dims().first() == Some(&(repetitions as usize))).ok_or_else(|| {
        format!(
            "tensor '{name}' should be F32 or I32 with {repetitions} rows, found {:?} {:?}",
            view.dtype(),
            view.shape()
        )
    })
}

/// The rows of a table along its first dimension.
fn rows(table: &HostTensor) -> Vec<HostTensor> {
    let dims = table.dims().get(1..).unwrap_or_default();
    let length = dims.iter().product::<usize>().max(1);
    match table.data() {
        Data::F32(values) => {
            values.chunks_exact(length).filter_map(|row| HostTensor::from_f32(dims, row.to_vec())).collect()
        }
        Data::I32(values) => {
            values.chunks_exact(length).filter_map(|row| HostTensor::from_i32(dims, row.to_vec())).collect()
        }
        _ => Vec::new(),
    }
}
