//! Verify, plan, admit, load, measure: stage by stage, with nothing left behind by a refusal.

use std::time::Instant;

use super::{LoadEvent, Pipeline, StageReport, admit};
use crate::constants::Tables;
use crate::memory::{Admission, Cause, Footprint, Growth, MemoryUse, Plan, Pool, estimate};
use crate::provenance;
use crate::provenance::{Provenance, Verified};
use crate::wiring::{Stage, Wiring};
use crate::{Device, EngineKind, Error, Health, profile};
use vla_base::tensor::TensorSpec;

impl<D: Device> Pipeline<D> {
    /// Loads `stages` (given in run order) in `load_order`, default: largest file first. First every engine is
    /// verified and the whole plan is admitted, then one after the other is admitted again with what is free by then,
    /// loaded and measured.
    ///
    /// # Errors
    /// [`Error::LoadOrder`] and [`Error::Provenance`] before anything is loaded; [`Error::DoesNotFit`];
    /// [`Error::Load`] naming stage and file; [`Error::Wiring`] with every mismatch between networks, description,
    /// profiles and host. What was loaded by then is freed, the last first.
    pub fn load(
        mut device: D,
        stages: &[Stage],
        load_order: Option<&[String]>,
        host: &[TensorSpec],
        admission: Admission,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Self, Error> {
        let verified = verify(&mut device, stages)?;
        let footprints = footprints(&device, stages, &verified)?;
        let order = order(stages, &footprints, load_order)?;
        let planned = order.iter().map(|&at| footprints[at].clone()).collect();
        let mut plan = Plan::new(planned, device.shares_activation());
        let mut loaded = Loaded(Vec::with_capacity(stages.len()));
        let mut reports = Vec::with_capacity(stages.len());
        for (index, &position) in order.iter().enumerate() {
            let (stage, planned) = (&stages[position], &footprints[position]);
            let bytes = planned.file.bytes;
            progress(LoadEvent::Loading { index, total: order.len(), stage: stage.name.clone(), bytes });
            admit(&plan, admission, stages, &mut || device.pool()).map_err(Error::DoesNotFit)?;
            let (before, started) = (Moment::of(&device), Instant::now());
            let engine =
                device.load(stage, &verified[position]).map_err(|error| judge(error, &mut device, &plan, admission))?;
            loaded.0.push((position, engine));
            let report = StageReport {
                stage: stage.name.clone(),
                bytes,
                planned: planned.clone(),
                measured: Moment::of(&device).since(&before),
                host_copy: device.host_copy(&loaded.0[index].1),
                unproven: verified[position] == Verified::Unproven,
                inaccurate: verified[position].inaccuracy().is_some(),
                duration: started.elapsed(),
            };
            plan.measured.push(report.measured);
            reports.push(report.clone());
            progress(LoadEvent::Loaded(Box::new(report)));
        }
        let wiring = join(&device, stages, &loaded.by_position(), host, &verified)?;
        let tables = Tables::read(&wiring)?;
        let engines = loaded.in_run_order();
        Ok(Self { programs: Vec::new(), engines, wiring, tables, reports, plan, admission, device })
    }
}

/// The plan of loading `stages` (given in run order), without a device: from their files, and from the engines' records
/// as far as they are there. With `release`, host copies are given back where the records say that they can be. Nothing is
/// verified.
///
/// # Errors
/// [`Error::LoadOrder`]; [`Error::Load`] when a file is missing; [`Error::Provenance`] when a record cannot be read.
pub fn plan(kind: EngineKind, stages: &[Stage], load_order: Option<&[String]>, release: bool) -> Result<Plan, Error> {
    let footprint = |stage: &Stage| match kind {
        EngineKind::Onnx => Footprint::of_onnx(stage),
        EngineKind::Tensorrt => {
            let record = Provenance::read(&stage.file).map_err(|error| provenance::bad_record(stage, &error))?;
            Footprint::of_tensorrt(stage, record.as_ref(), release)
        }
    };
    let mut footprints = stages.iter().map(footprint).collect::<Result<Vec<_>, _>>()?;
    estimate::add_io(stages, &mut footprints);
    let order = order(stages, &footprints, load_order)?;
    let planned = order.iter().map(|&at| footprints[at].clone()).collect();
    Ok(Plan::new(planned, kind == EngineKind::Tensorrt))
}

/// Engines in load order; freed in the opposite one.
struct Loaded<E>(Vec<(usize, E)>);

impl<E> Loaded<E> {
    fn by_position(&self) -> Vec<&E> {
        let mut engines: Vec<_> = self.0.iter().collect();
        engines.sort_by_key(|(position, _)| *position);
        engines.into_iter().map(|(_, engine)| engine).collect()
    }

    fn in_run_order(mut self) -> Vec<E> {
        let mut engines = std::mem::take(&mut self.0);
        engines.sort_by_key(|(position, _)| *position);
        engines.into_iter().map(|(_, engine)| engine).collect()
    }
}

impl<E> Drop for Loaded<E> {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// Every engine's origin, all refusals at once.
fn verify<D: Device>(device: &mut D, stages: &[Stage]) -> Result<Vec<Verified>, Error> {
    let (mut all, mut refused) = (Vec::with_capacity(stages.len()), Vec::new());
    for stage in stages {
        match device.verify(stage) {
            Ok(verified) => {
                if verified == Verified::Unproven {
                    tracing::warn!(
                        "stage '{}': nothing says where {} was built; loaded because engines.{}.allow_unverified is true",
                        stage.name,
                        stage.file.display(),
                        stage.name
                    );
                }
                if let Some(figures) = verified.inaccuracy() {
                    tracing::warn!(
                        "stage '{}': {} failed its accuracy gate ({figures}); loaded because engines.{}.allow_inaccurate is true",
                        stage.name,
                        stage.file.display(),
                        stage.name
                    );
                }
                all.push(verified);
            }
            Err(Error::Provenance { refusals }) => refused.extend(refusals),
            Err(error) => return Err(error),
        }
    }
    if refused.is_empty() { Ok(all) } else { Err(Error::Provenance { refusals: refused }) }
}

/// What each stage takes, in run order.
fn footprints<D: Device>(device: &D, stages: &[Stage], verified: &[Verified]) -> Result<Vec<Footprint>, Error> {
    let each = stages.iter().zip(verified).map(|(stage, verified)| device.footprint(stage, verified));
    let mut footprints = each.collect::<Result<Vec<_>, _>>()?;
    estimate::add_io(stages, &mut footprints);
    Ok(footprints)
}

/// Joins the stages, and holds the engines' profiles against policy.yaml: every problem of both.
fn join<D: Device>(
    device: &D,
    stages: &[Stage],
    engines: &[&D::Engine],
    host: &[TensorSpec],
    verified: &[Verified],
) -> Result<Wiring, Error> {
    let networks: Vec<_> = engines.iter().map(|engine| (device.inputs(engine), device.outputs(engine))).collect();
    let joined = Wiring::join(stages, &networks, host, device.narrows_int64());
    let profiles = stages.iter().zip(engines);
    let mut problems: Vec<String> = profiles
        .flat_map(|(stage, engine)| profile::problems(stage, |tensor| device.tensor_profile(engine, tensor)))
        .collect();
    match joined {
        Err(Error::Wiring { problems: mut all }) => {
            all.append(&mut problems);
            Err(Error::Wiring { problems: all })
        }
        Ok(_) if !problems.is_empty() => Err(Error::Wiring { problems }),
        joined => joined.map(|mut wiring| {
            for (stage, verified) in wiring.stages.iter_mut().zip(verified) {
                stage.proven = match verified {
                    Verified::Unneeded => None,
                    Verified::Proven(_) => Some(true),
                    Verified::Unproven => Some(false),
                };
            }
            wiring
        }),
    }
}

/// What a failed call means: a lost device, or the report of what holds the memory.
pub(super) fn judge<D: Device>(error: Error, device: &mut D, plan: &Plan, admission: Admission) -> Error {
    // Asked of every failure, so that one that nobody asks about is not taken for the next.
    let health = device.take_health();
    let wanting = |action: String, reason: String| {
        Error::DoesNotFit(plan.refuse(Cause::Runtime { action, reason }, admission, Some(device.pool())))
    };
    match (health, error) {
        (_, error @ (Error::DoesNotFit(_) | Error::DeviceLost { .. })) => error,
        (Health::Lost, error) => Error::DeviceLost { reason: error.to_string() },
        (_, Error::OutOfMemory { action, reason }) => wanting(action, reason),
        (Health::OutOfMemory, error @ Error::Enqueue(_)) => wanting("out of memory".into(), error.to_string()),
        (Health::OutOfMemory | Health::Sound, error) => error,
    }
}

/// Memory at one moment.
struct Moment {
    process: MemoryUse,
    pool: Pool,
}

impl Moment {
    fn of<D: Device>(device: &D) -> Self {
        Self { process: MemoryUse::now(), pool: device.pool() }
    }

    fn since(&self, before: &Self) -> Growth {
        let less = |before: u64, now: u64| before as i64 - now as i64;
        let anonymous = less(self.process.anonymous, before.process.anonymous);
        let device = match (before.pool.device_free, self.pool.device_free) {
            // One pool: what the device took is what the machine lost beyond this process's own. The device's figure
            // also counts file pages, which come and go.
            (Some(_), Some(_)) if self.pool.integrated => {
                Some((less(before.pool.available, self.pool.available) - anonymous).max(0))
            }
            (Some(before), Some(now)) => Some(less(before, now)),
            _ => None,
        };
        Growth { resident: less(self.process.resident, before.process.resident), anonymous, device }
    }
}

/// Positions of the stages in load order.
fn order(stages: &[Stage], footprints: &[Footprint], wanted: Option<&[String]>) -> Result<Vec<usize>, Error> {
    let Some(wanted) = wanted else {
        let mut order: Vec<usize> = (0..stages.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(footprints[index].file.bytes));
        return Ok(order);
    };
    let fail =
        |problem: String| Error::LoadOrder { problem, stages: stages.iter().map(|stage| stage.name.clone()).collect() };
    let mut order = Vec::with_capacity(stages.len());
    for name in wanted {
        let Some(index) = stages.iter().position(|stage| stage.name == *name) else {
            return Err(fail(format!("'{name}' is no stage")));
        };
        if order.contains(&index) {
            return Err(fail(format!("'{name}' is named twice")));
        }
        order.push(index);
    }
    match stages.iter().enumerate().find(|(index, _)| !order.contains(index)) {
        Some((_, missing)) => Err(fail(format!("'{}' is missing", missing.name))),
        None => Ok(order),
    }
}
