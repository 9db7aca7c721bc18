//! Verifies, plans, admits, loads and measures the stages. An error leaves nothing loaded.

use std::time::Instant;

use super::{Pipeline, admit};
use crate::constants::Tables;
use crate::graph::{Graph, Stage};
use crate::memory::{Admission, Footprint, Growth, Limit, MemoryPlan, MemoryUse, Pool, estimate};
use crate::provenance::{Provenance, ProvenanceStatus, Reason, Rejection};
use crate::{Backend, EngineKind, Error, LoadEvent, LoadOrderProblem, StageReport, profile};
use vla_base::tensor::TensorSpec;

impl<B: Backend> Pipeline<B> {
    /// Loads `stages` (in run order) in `load_order`; default: largest file first. First every engine is verified and the
    /// whole plan is admitted. Then each stage is admitted again with the memory that is free by then, loaded and measured.
    ///
    /// # Errors
    /// [`Error::LoadOrder`] and [`Error::Provenance`] before anything is loaded; [`Error::DoesNotFit`];
    /// [`Error::Load`] naming stage and file; [`Error::Graph`] with every mismatch between networks, description,
    /// profiles and host. Engines that were loaded by then are freed, the last first.
    pub fn load(
        mut backend: B,
        stages: &[Stage],
        load_order: Option<&[String]>,
        host: &[TensorSpec],
        admission: Admission,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Self, Error> {
        let verified = verify(&mut backend, stages)?;
        let footprints = footprints(&backend, stages, &verified)?;
        let order = order(stages, &footprints, load_order)?;
        let planned = order.iter().map(|&at| footprints[at].clone()).collect();
        let mut plan = MemoryPlan::new(planned, backend.shares_activation());
        let mut loaded = Loaded(Vec::with_capacity(stages.len()));
        let mut reports = Vec::with_capacity(stages.len());
        for (index, &position) in order.iter().enumerate() {
            let (stage, planned) = (&stages[position], &footprints[position]);
            let bytes = planned.file.bytes;
            progress(LoadEvent::Loading { index, total: order.len(), stage: stage.name.clone(), bytes });
            admit(&plan, admission, stages, &mut || backend.pool()).map_err(Error::DoesNotFit)?;
            let (before, started) = (MemorySnapshot::of(&backend), Instant::now());
            let engine =
                backend.load(stage, &verified[position]).map_err(|error| judge(error, &backend, &plan, admission))?;
            loaded.0.push((position, engine));
            let report = StageReport {
                stage: stage.name.clone(),
                bytes,
                planned: planned.clone(),
                measured: MemorySnapshot::of(&backend).since(&before),
                host_copy: backend.host_copy(&loaded.0[index].1),
                unverified: verified[position] == ProvenanceStatus::Unverified,
                inaccurate: verified[position].inaccuracy().is_some(),
                duration: started.elapsed(),
            };
            plan.measured.push(report.measured);
            reports.push(report.clone());
            progress(LoadEvent::Loaded(Box::new(report)));
        }
        let graph = connect(&backend, stages, &loaded.by_position(), host, &verified)?;
        let tables = Tables::read(&graph)?;
        let engines = loaded.in_run_order();
        Ok(Self {
            instances: Vec::new(),
            engines,
            graph,
            tables,
            reports,
            plan,
            admission,
            frames: Vec::new(),
            backend,
        })
    }
}

/// The memory plan of `stages` (in run order) without a backend: from their files, and from the records of engines that
/// have one. With `release`, host copies are released where the records allow it. `tensorrt`: the version that would build the
/// engines that are missing, if known. Nothing is verified.
///
/// # Errors
/// [`Error::LoadOrder`]; [`Error::Load`] when a file is missing; [`Error::Provenance`] when a record or a list of operations
/// cannot be read.
pub fn plan(
    kind: EngineKind,
    stages: &[Stage],
    load_order: Option<&[String]>,
    release: bool,
    tensorrt: Option<&str>,
) -> Result<MemoryPlan, Error> {
    let footprint = |stage: &Stage| match kind {
        EngineKind::Onnx => Footprint::of_onnx(stage, false),
        EngineKind::Tensorrt => {
            let record = Provenance::read(&stage.file);
            let record = record.map_err(|error| Rejection::new(stage, None, Reason::BadRecord(error)))?;
            Footprint::of_tensorrt(stage, record.as_ref(), release, tensorrt)
        }
        EngineKind::Cuda => Footprint::of_operations(stage),
    };
    let mut footprints = stages.iter().map(footprint).collect::<Result<Vec<_>, _>>()?;
    estimate::add_io(stages, &mut footprints);
    let order = order(stages, &footprints, load_order)?;
    let planned = order.iter().map(|&at| footprints[at].clone()).collect();
    Ok(MemoryPlan::new(planned, kind != EngineKind::Onnx))
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

/// Verifies every engine: all rejections at once.
fn verify<B: Backend>(backend: &mut B, stages: &[Stage]) -> Result<Vec<ProvenanceStatus>, Error> {
    let (mut all, mut rejected) = (Vec::with_capacity(stages.len()), Vec::new());
    for stage in stages {
        match backend.verify(stage) {
            Ok(verified) => {
                if verified == ProvenanceStatus::Unverified {
                    tracing::warn!(
                        "stage '{}': no record says that {} fits this device; loaded because allow_unverified is set for the stage",
                        stage.name,
                        stage.file.display()
                    );
                }
                if let Some(figures) = verified.inaccuracy() {
                    tracing::warn!(
                        "stage '{}': {} failed its accuracy gate ({figures}); loaded because allow_inaccurate is set for the \
                         stage",
                        stage.name,
                        stage.file.display()
                    );
                }
                all.push(verified);
            }
            Err(Error::Provenance { rejections }) => rejected.extend(rejections),
            Err(error) => return Err(error),
        }
    }
    if rejected.is_empty() { Ok(all) } else { Err(Error::Provenance { rejections: rejected }) }
}

/// Memory of each stage, in run order.
fn footprints<B: Backend>(
    backend: &B,
    stages: &[Stage],
    verified: &[ProvenanceStatus],
) -> Result<Vec<Footprint>, Error> {
    let each = stages.iter().zip(verified).map(|(stage, verified)| backend.footprint(stage, verified));
    let mut footprints = each.collect::<Result<Vec<_>, _>>()?;
    estimate::add_io(stages, &mut footprints);
    Ok(footprints)
}

/// Connects the stages and compares the engines' profiles with the descriptions: every problem of both.
fn connect<B: Backend>(
    backend: &B,
    stages: &[Stage],
    engines: &[&B::Engine],
    host: &[TensorSpec],
    verified: &[ProvenanceStatus],
) -> Result<Graph, Error> {
    let networks: Vec<_> = engines.iter().map(|engine| (backend.inputs(engine), backend.outputs(engine))).collect();
    let graph = Graph::build(stages, &networks, host, backend.narrows_int64());
    let profiles = stages.iter().zip(engines);
    let mut problems: Vec<_> = profiles
        .flat_map(|(stage, engine)| profile::problems(stage, |tensor| backend.tensor_profile(engine, tensor)))
        .collect();
    match graph {
        Err(Error::Graph { problems: mut all }) => {
            all.append(&mut problems);
            Err(Error::Graph { problems: all })
        }
        Ok(_) if !problems.is_empty() => Err(Error::Graph { problems }),
        graph => graph.map(|mut graph| {
            for (stage, verified) in graph.stages.iter_mut().zip(verified) {
                stage.verified = match verified {
                    ProvenanceStatus::NotApplicable => None,
                    ProvenanceStatus::Verified(_) => Some(true),
                    ProvenanceStatus::Unverified => Some(false),
                };
            }
            graph
        }),
    }
}

/// Adds the report of the plan to a failed allocation.
pub(super) fn judge<B: Backend>(error: Error, backend: &B, plan: &MemoryPlan, admission: Admission) -> Error {
    match error {
        Error::OutOfMemory { action, source } => {
            let limit = Limit::Runtime { action, source };
            Error::DoesNotFit(plan.shortage(limit, admission, Some(backend.pool())))
        }
        error => error,
    }
}

/// Memory of this process and of the machine at one time.
struct MemorySnapshot {
    process: MemoryUse,
    pool: Pool,
}

impl MemorySnapshot {
    fn of<B: Backend>(backend: &B) -> Self {
        Self { process: MemoryUse::now(), pool: backend.pool() }
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
    let fail = |problem: LoadOrderProblem| Error::LoadOrder {
        problem,
        stages: stages.iter().map(|stage| stage.name.clone()).collect(),
    };
    let mut order = Vec::with_capacity(stages.len());
    for name in wanted {
        let Some(index) = stages.iter().position(|stage| stage.name == *name) else {
            return Err(fail(LoadOrderProblem::Unknown(name.clone())));
        };
        if order.contains(&index) {
            return Err(fail(LoadOrderProblem::Repeated(name.clone())));
        }
        order.push(index);
    }
    match stages.iter().enumerate().find(|(index, _)| !order.contains(index)) {
        Some((_, missing)) => Err(fail(LoadOrderProblem::Missing(missing.name.clone()))),
        None => Ok(order),
    }
}
