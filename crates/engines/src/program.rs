//! A pipeline made concrete: for given values of the symbols and a given number of repetitions, every buffer
//! allocated and every run bound. Made once, replayed at each inference.

use super::constants::{Tables, rows};
use super::wiring::{Joined, Source, Symbols, Wiring, resolve};
use super::{BoundInput, Device, Error, Made, Placement, StageTime};
use vla_base::tensor::{DType, HostTensor, display_dims, without_batch};

mod check;

/// Buffers and bound runs for one (symbols, repetitions).
pub(super) struct Program<D: Device> {
    // Declared in the order in which they must be dropped: what refers to the workspace, then the workspace.
    recorded: Recorded<D::Recording>,
    steps: Vec<Step<D>>,
    workspace: D::Workspace,
    pub symbols: Symbols,
    pub repetitions: u32,
    layout: Layout,
    /// For each tensor written by the host in another type than the engine's: where it is converted.
    staging: Vec<Option<HostTensor>>,
}

struct Step<D: Device> {
    stage: usize,
    repetition: usize,
    bound: D::Bound,
    /// The mark that is noted after it; `None` when the same stage goes on.
    mark: Option<usize>,
}

/// Whether a pass runs step by step or as one.
enum Recorded<R> {
    /// It has not run yet: a device may set up things at a first run that no recording may hold.
    NotYet,
    /// The device does not record.
    Never,
    /// It is.
    Yes(R),
}

/// Where the tensors of a program are.
struct Layout {
    /// For each tensor: its dimensions.
    dims: Vec<Vec<usize>>,
    /// For each tensor: its place in the workspace, or one per repetition for constants.
    places: Vec<Vec<usize>>,
}

impl<D: Device> Program<D> {
    pub fn new(
        device: &mut D,
        engines: &mut [D::Engine],
        wiring: &Wiring,
        tables: &Tables,
        symbols: &Symbols,
        repetitions: u32,
    ) -> Result<Self, Error> {
        // Once: a program's shapes never change, and whatever is written to it must have them.
        check::inputs(device, engines, wiring, symbols)?;
        let (layout, placements) = Layout::new(wiring, symbols, repetitions)?;
        let order = order(wiring, repetitions as usize);
        let ends: Vec<bool> = (0..order.len())
            .map(|at| order.get(at + 1).is_none_or(|(next, _)| order.get(at).is_some_and(|(stage, _)| stage != next)))
            .collect();
        let workspace = device.workspace(&placements, 1 + ends.iter().filter(|end| **end).count())?;
        let mut program = Self {
            recorded: Recorded::NotYet,
            steps: Vec::new(),
            workspace,
            symbols: symbols.clone(),
            repetitions,
            layout,
            staging: wiring.tensors.iter().map(|_| None).collect(),
        };
        program.fill_constants(device, wiring, tables)?;
        let mut mark = 0;
        for ((stage, repetition), end) in order.into_iter().zip(ends) {
            mark += usize::from(end);
            let bound = program.bind(device, &mut engines[stage], wiring, stage, repetition)?;
            program.steps.push(Step { stage, repetition, bound, mark: end.then_some(mark) });
        }
        Ok(program)
    }

    fn bind(
        &mut self,
        device: &mut D,
        engine: &mut D::Engine,
        wiring: &Wiring,
        stage: usize,
        repetition: usize,
    ) -> Result<D::Bound, Error> {
        let named = |tensors: &[(String, usize)]| -> Vec<(String, usize)> {
            let place = |tensor: usize| self.layout.place(wiring, tensor, repetition);
            tensors.iter().map(|(name, tensor)| (name.clone(), place(*tensor))).collect()
        };
        let stage = &wiring.stages[stage];
        let (inputs, outputs) = (named(&stage.inputs), named(&stage.outputs));
        device.bind(engine, &mut self.workspace, &inputs, &outputs)
    }

    /// Writes the rows of every table of constants, each into its own place.
    fn fill_constants(&mut self, device: &mut D, wiring: &Wiring, tables: &Tables) -> Result<(), Error> {
        for (tensor, places) in wiring.tensors.iter().zip(&self.layout.places) {
            let Source::Constants(file) = &tensor.source else { continue };
            let input = &tensor.spec.name;
            let fail = |reason: String| Error::Constants { input: input.clone(), file: file.clone(), reason };
            let table = tables.table(file, input, self.repetitions).map_err(fail)?;
            let dims = resolve(&tensor.spec, &self.symbols)?;
            let dtype = tensor.spec.dtype;
            let rows = rows(&table);
            if rows.len() != places.len() {
                return Err(fail(format!("expected {} rows, found {}", places.len(), rows.len())));
            }
            for (row, place) in rows.into_iter().zip(places) {
                let mut converted = HostTensor::zeros(dtype, &dims).ok_or_else(|| fail("too many elements".into()))?;
                if row.dims() != dims || (row.dtype() != dtype && !row.convert_into(&mut converted)) {
                    return Err(fail(format!(
                        "expected rows of {dtype} {}, found {} {}",
                        display_dims(&dims),
                        row.dtype(),
                        display_dims(row.dims())
                    )));
                }
                let row = if row.dtype() == dtype { &row } else { &converted };
                device.write(&mut self.workspace, *place, row).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Copies a host tensor in, converting it where a foreign network wants another type
    /// ([`HostTensor::convert_into`]); leading ones do not matter.
    pub fn write(&mut self, device: &mut D, wiring: &Wiring, tensor: usize, host: &HostTensor) -> Result<(), Error> {
        let spec = &wiring.tensors[tensor].spec;
        let (dims, place) = (&self.layout.dims[tensor], self.layout.places[tensor][0]);
        let refuse = |expected: String| Error::HostTensor {
            tensor: spec.name.clone(),
            expected,
            found: format!("{} {}", host.dtype(), display_dims(host.dims())),
        };
        if !same_but_for_batch(host.dims(), dims) {
            return Err(refuse(format!("{} {}", spec.dtype, display_dims(dims))));
        }
        if host.dtype() == spec.dtype {
            return device.write(&mut self.workspace, place, host).map_err(refuse);
        }
        if self.staging[tensor].is_none() {
            self.staging[tensor] = HostTensor::zeros(spec.dtype, dims);
        }
        let staging = self.staging[tensor].as_mut();
        match staging.and_then(|staging| host.convert_into(staging).then_some(staging)) {
            Some(converted) => device.write(&mut self.workspace, place, converted).map_err(refuse),
            None => Err(refuse(format!("{} (or a type that converts to it)", spec.dtype))),
        }
    }

    /// Where the host may put a single-precision tensor itself; `None` for other types.
    pub fn place(&mut self, device: &mut D, wiring: &Wiring, tensor: usize) -> Option<&mut [f32]> {
        let single = wiring.tensors[tensor].spec.dtype == DType::F32;
        if single { device.place(&mut self.workspace, self.layout.places[tensor][0]) } else { None }
    }

    /// Copies a tensor out; after the repeated group, the value of its last repetition.
    pub fn read(&self, device: &mut D, wiring: &Wiring, tensor: usize, host: &mut HostTensor) -> Result<(), Error> {
        let last = (self.repetitions as usize).saturating_sub(1);
        let spec = &wiring.tensors[tensor].spec;
        let dims = &self.layout.dims[tensor];
        if host.dtype() != spec.dtype || !same_but_for_batch(host.dims(), dims) {
            return Err(Error::HostTensor {
                tensor: spec.name.clone(),
                expected: format!("{} {}", spec.dtype, display_dims(dims)),
                found: format!("{} {}", host.dtype(), display_dims(host.dims())),
            });
        }
        let place = self.layout.place(wiring, tensor, last);
        let read = match wiring.result() == Some(tensor) {
            true => device.downloaded(&self.workspace, place, host),
            false => device.read(&self.workspace, place, host),
        };
        read.map_err(|reason| Error::Device { action: format!("reading tensor '{}'", spec.name), reason })
    }

    /// Inputs of every stage as they are bound.
    pub fn inputs<'p>(&'p self, wiring: &'p Wiring) -> impl Iterator<Item = BoundInput<'p>> {
        wiring.stages.iter().flat_map(move |stage| {
            stage.inputs.iter().map(move |(tensor, at)| BoundInput {
                stage: &stage.name,
                tensor,
                dtype: wiring.tensors[*at].spec.dtype,
                dims: &self.layout.dims[*at],
            })
        })
    }

    /// Runs every step in order, adding to the time of its stage.
    pub fn execute(
        &mut self,
        device: &mut D,
        engines: &mut [D::Engine],
        wiring: &Wiring,
        times: &mut [StageTime],
    ) -> Result<(), Error> {
        let Self { recorded, steps, workspace, layout, .. } = self;
        let dims = layout.dims.as_slice();
        let report =
            |device: &D, engines: &[D::Engine], error| check::pass_failure(device, engines, wiring, dims, error);
        match recorded {
            Recorded::Yes(recording) => {
                device.replay(recording, workspace).map_err(|error| report(device, engines, error))?;
            }
            Recorded::NotYet | Recorded::Never => {
                if let Err(error) = pass(device, engines, wiring, steps, workspace, dims) {
                    // What did start must end before the host touches the workspace again.
                    device.finish().unwrap_or_else(|error| tracing::debug!(%error, "after a failed pass"));
                    return Err(error);
                }
            }
        }
        device.finish().map_err(|error| report(device, engines, error))?;
        for (mark, step) in steps.iter().filter(|step| step.mark.is_some()).enumerate() {
            if let Some(time) = times.get_mut(step.stage) {
                time.time += device.between(workspace, mark);
            }
        }
        if matches!(recorded, Recorded::NotYet) {
            let mut again =
                |device: &mut D, workspace: &mut D::Workspace| pass(device, engines, wiring, steps, workspace, dims);
            let recording = device.record(workspace, &mut again)?;
            *recorded = recording.map_or(Recorded::Never, Recorded::Yes);
        }
        Ok(())
    }

    /// As [`Self::execute`], and shows every output as soon as it is made, and the constants of a repetition before it
    /// runs, those that no stage reads among them. Copies and allocates.
    pub fn inspect(
        &mut self,
        device: &mut D,
        engines: &mut [D::Engine],
        wiring: &Wiring,
        tables: &Tables,
        see: &mut dyn FnMut(Made<'_>),
    ) -> Result<(), Error> {
        let Self { steps, workspace, layout, repetitions, .. } = self;
        let show = |see: &mut dyn FnMut(Made<'_>),
                    device: &mut D,
                    workspace: &D::Workspace,
                    stage: &Joined,
                    tensor: usize,
                    repetition: usize| {
            let spec = &wiring.tensors[tensor].spec;
            let place = layout.place(wiring, tensor, repetition);
            let fail = |reason| Error::Device { action: format!("reading tensor '{}'", spec.name), reason };
            let held = HostTensor::zeros(spec.dtype, &layout.dims[tensor]);
            let mut held = held.ok_or_else(|| fail("too many elements".to_owned()))?;
            device.read(workspace, place, &mut held).map_err(fail)?;
            see(Made { name: &spec.name, repetition: stage.repeat.then_some(repetition), tensor: held });
            Ok::<(), Error>(())
        };
        device.upload(workspace)?;
        let unread = tables.unread(wiring, *repetitions)?;
        let mut shown = 0;
        for step in steps {
            let stage = &wiring.stages[step.stage];
            if stage.repeat && step.repetition == shown {
                for (name, rows) in &unread {
                    if let Some(row) = rows.get(shown) {
                        see(Made { name, repetition: Some(shown), tensor: row.clone() });
                    }
                }
                shown += 1;
            }
            let constant = |tensor: &usize| matches!(wiring.tensors[*tensor].source, Source::Constants(_));
            for tensor in stage.inputs.iter().map(|(_, tensor)| *tensor).filter(constant) {
                show(see, device, workspace, stage, tensor, step.repetition)?;
            }
            let run = device.run(&mut engines[step.stage], &mut step.bound, workspace);
            run.map_err(|reason| {
                check::failure(device, engines, wiring, (step.stage, step.repetition), &layout.dims, reason)
            })?;
            device.finish()?;
            for (_, tensor) in &stage.outputs {
                show(see, device, workspace, stage, *tensor, step.repetition)?;
            }
        }
        device.download(workspace)?;
        device.finish()
    }
}

/// Starts everything, from upload to download.
fn pass<D: Device>(
    device: &mut D,
    engines: &mut [D::Engine],
    wiring: &Wiring,
    steps: &mut [Step<D>],
    workspace: &mut D::Workspace,
    dims: &[Vec<usize>],
) -> Result<(), Error> {
    device.upload(workspace)?;
    device.mark(workspace, 0)?;
    for step in steps {
        let run = device.run(&mut engines[step.stage], &mut step.bound, workspace);
        run.map_err(|reason| check::failure(device, engines, wiring, (step.stage, step.repetition), dims, reason))?;
        if let Some(mark) = step.mark {
            device.mark(workspace, mark)?;
        }
    }
    device.download(workspace)
}

/// Stages with their repetitions, in run order.
fn order(wiring: &Wiring, repetitions: usize) -> Vec<(usize, usize)> {
    let stages = wiring.stages.len();
    let group = wiring.stages.iter().position(|stage| stage.repeat);
    let Some(first) = group else { return (0..stages).map(|stage| (stage, 0)).collect() };
    let after = wiring.stages.iter().rposition(|stage| stage.repeat).map_or(first, |last| last + 1);
    let repeated = (0..repetitions).flat_map(|repetition| (first..after).map(move |stage| (stage, repetition)));
    let last = repetitions.saturating_sub(1);
    (0..first).map(|stage| (stage, 0)).chain(repeated).chain((after..stages).map(|stage| (stage, last))).collect()
}

impl Layout {
    fn new(wiring: &Wiring, symbols: &Symbols, repetitions: u32) -> Result<(Self, Vec<Placement>), Error> {
        let mut layout = Self { dims: Vec::new(), places: Vec::new() };
        let mut placements = Vec::new();
        for tensor in &wiring.tensors {
            let dims = resolve(&tensor.spec, symbols)?;
            let count = if matches!(tensor.source, Source::Constants(_)) { repetitions as usize } else { 1 };
            let upload = tensor.source == Source::Host;
            let placement = Placement { dtype: tensor.spec.dtype, dims: dims.clone(), upload, download: false };
            layout.places.push((placements.len()..placements.len() + count).collect());
            placements.extend(std::iter::repeat_n(placement, count));
            layout.dims.push(dims);
        }
        if let Some(result) = wiring.result() {
            let place = layout.place(wiring, result, (repetitions as usize).saturating_sub(1));
            placements[place].download = true;
        }
        Ok((layout, placements))
    }

    /// Place of a tensor in a repetition: constants have one each; a tensor and the one that it feeds swap theirs at
    /// every repetition, so that no copy closes the loop.
    fn place(&self, wiring: &Wiring, tensor: usize, repetition: usize) -> usize {
        if matches!(wiring.tensors[tensor].source, Source::Constants(_)) {
            return self.places[tensor][repetition];
        }
        let feeding = || wiring.tensors.iter().position(|other| other.feeds == Some(tensor));
        match wiring.tensors[tensor].feeds.or_else(feeding) {
            Some(partner) if repetition % 2 == 1 => self.places[partner][0],
            _ => self.places[tensor][0],
        }
    }
}

fn same_but_for_batch(a: &[usize], b: &[usize]) -> bool {
    let rank = a.len().min(b.len());
    without_batch(a, rank).zip(without_batch(b, rank)).is_some_and(|(a, b)| a == b)
}
