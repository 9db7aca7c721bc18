//! One cycle: run the session, publish the result, report it.

use std::time::Instant;

use super::InferenceWorker;
use crate::graph;
use crate::outputs::stop_not_published;
use crate::report::{CycleFault, CycleFaultKind, LastChunk, Report};
use vla_base::time::Span;
use vla_engines::StageTime;
use vla_policy::Timings;
use vla_policy::observation::Violation;
use vla_runtime::parameters::Settings;
use vla_runtime::remedies;
use vla_runtime::session::{BrakeResponse, Braked, CycleOutcome, PublishedChunk, Refusal, RefusalKind, Session};

/// Answer of a cycle to the caller of `~/infer_once`.
pub(super) struct Answer {
    /// Whether a chunk is out (or would be the same as the last).
    pub success: bool,
    /// For the caller.
    pub message: String,
    /// The device is lost: every later cycle would fail too.
    pub lost: bool,
}

impl Answer {
    fn yes(message: impl Into<String>) -> Self {
        Self { success: true, message: message.into(), lost: false }
    }

    fn no(message: impl Into<String>) -> Self {
        Self { success: false, message: message.into(), lost: false }
    }
}

impl InferenceWorker {
    /// Runs one cycle; `force` infers even when nothing changed.
    pub(super) fn cycle(&mut self, session: &mut Session, settings: &Settings, force: bool) -> Answer {
        let started = Instant::now();
        self.publishers.outputs().apply_readiness(session.control());
        let shared = &self.shared;
        let clock = &shared.clock;
        let now = clock.now();
        let outcome = session.cycle(now, &shared.inputs, settings, force, &mut || clock.now());
        match outcome {
            CycleOutcome::Unchanged => {
                shared.report.update(|report| report.unchanged += 1);
                self.recovered_from(&[CycleFaultKind::Waiting, CycleFaultKind::Violation]);
                Answer::yes("nothing changed since the last chunk")
            }
            CycleOutcome::Stopped => Answer::no("stopped; call ~/resume"),
            CycleOutcome::Waiting(violation) => {
                shared.report.update(|report| report.waiting += 1);
                let reason = graph::explained(&violation, &shared.found.get());
                self.report_fault(of_inputs(CycleFaultKind::Waiting, &violation, &reason), Braked::NotNeeded);
                Answer::no(format!("waiting: {reason}"))
            }
            CycleOutcome::Violation { violation, brake } => {
                shared.report.update(|report| report.violations += 1);
                let reason = graph::explained(&violation, &shared.found.get());
                let (action, braked) = (brake.action, self.brake(&brake));
                self.report_fault(of_inputs(CycleFaultKind::Violation, &violation, &reason), braked);
                Answer::no(format!("{action}: {reason}"))
            }
            CycleOutcome::Refused { refusal, brake } => {
                let (reason, kind, lost) = (remedies::described(&refusal), refusal.kind(), refusal.is_sticky());
                let (action, braked) = (brake.action, self.brake(&brake));
                self.refused(&refusal, &reason, braked);
                match kind {
                    RefusalKind::Violation => Answer::no(format!("{action}: {reason}")),
                    RefusalKind::Superseded | RefusalKind::Failure => Answer { lost, ..Answer::no(reason) },
                }
            }
            CycleOutcome::Published(published) => {
                let sent = self.publishers.chunk(now, published.chunk, &published.observation.instruction);
                let sent = match published.trajectory {
                    Some(trajectory) => sent.and(self.publishers.outputs().plan(published.plan_sequence, trajectory)),
                    None => sent,
                };
                let last = last_chunk(&published, started.elapsed().into());
                let text = describe(&published, &last);
                shared.report.update(|report| {
                    report.clamped.add(published.clamped);
                    match sent {
                        Ok(()) => report.published += 1,
                        Err(_) => report.unpublished += 1,
                    }
                    report.last = Some(last);
                });
                match sent {
                    Ok(()) => {
                        self.recovered();
                        tracing::debug!("{text}");
                        Answer::yes(text)
                    }
                    Err(error) => {
                        let reason = format!("the middleware refused the chunk: {error}");
                        self.report_fault(
                            CycleFault::new(CycleFaultKind::Unpublished, &error.to_string()),
                            Braked::NotNeeded,
                        );
                        Answer::no(reason)
                    }
                }
            }
        }
    }

    /// Counts a refusal and says what it was.
    pub(super) fn refused(&self, refusal: &Refusal, reason: &str, braked: Braked) {
        let (kind, class) = (refusal.kind(), remedies::class(refusal));
        let count = |report: &mut Report| match kind {
            RefusalKind::Superseded => report.superseded += 1,
            RefusalKind::Violation | RefusalKind::Failure => report.refused += 1,
        };
        self.shared.report.update(count);
        match kind {
            RefusalKind::Superseded => tracing::debug!("chunk not used: {reason}"),
            RefusalKind::Violation => self.report_fault(CycleFault::new(CycleFaultKind::Unfit, reason), braked),
            RefusalKind::Failure => {
                self.report_fault(CycleFault { class, ..CycleFault::new(CycleFaultKind::Refused, reason) }, braked)
            }
        }
    }

    /// Publishes the stop.
    fn brake(&self, brake: &BrakeResponse<'_>) -> Braked {
        let stop = brake.stop.map(|stop| (brake.plan_sequence, stop));
        if let Err(error) = self.publishers.outputs().brake_with(brake.braked, stop) {
            self.shared.report.update(|report| report.unpublished += 1);
            tracing::error!("{}", stop_not_published(&error));
        }
        brake.braked
    }

    /// Stores a fault and logs it when it is new; the figures in its text change with every cycle. The watchdog logs a fault that has
    /// just held or stopped the motion.
    fn report_fault(&self, fault: CycleFault, braked: Braked) {
        let mut is_new = false;
        self.shared.report.update(|report| {
            is_new = report.fault.as_ref().is_none_or(|before| !before.is_like(&fault));
            report.fault = Some(fault.clone());
        });
        if !is_new || braked.entered() {
            return;
        }
        let reason = &fault.reason;
        match fault.kind {
            CycleFaultKind::Waiting => tracing::info!("waiting for inputs: {reason}"),
            CycleFaultKind::Violation => tracing::warn!("no inference: {reason}"),
            CycleFaultKind::Unfit => tracing::error!("inference refused: {reason}"),
            CycleFaultKind::Refused => tracing::error!("chunk refused: {reason}"),
            CycleFaultKind::Unpublished => tracing::error!("chunk not published: {reason}"),
        }
    }

    pub(super) fn recovered(&self) {
        self.end_fault(|_| true);
    }

    /// Forgets the fault of the last cycle without a log message: nothing is inferred any more.
    pub(super) fn forget_fault(&self) {
        self.shared.report.update(|report| report.fault = None);
    }

    fn recovered_from(&self, kinds: &[CycleFaultKind]) {
        self.end_fault(|fault| kinds.contains(&fault.kind));
    }

    fn end_fault(&self, is_over: impl Fn(&CycleFault) -> bool) {
        let mut over = None;
        self.shared.report.update(|report| over = report.fault.take_if(|fault| is_over(fault)));
        if let Some(fault) = over {
            match fault.kind {
                CycleFaultKind::Waiting => tracing::info!("every input has arrived"),
                _ => tracing::info!("recovered from: {}", fault.reason),
            }
        }
    }
}

/// A violation as a fault: the same inputs with the same faults are one fault, whatever the figures.
fn of_inputs(kind: CycleFaultKind, violation: &Violation, reason: &str) -> CycleFault {
    let about = violation.breaches.iter().map(|breach| (breach.input.clone(), breach.word())).collect();
    CycleFault { about, ..CycleFault::new(kind, reason) }
}

fn last_chunk(published: &PublishedChunk<'_>, latency: Span) -> LastChunk {
    let PublishedChunk { chunk, trajectory: _, plan_sequence: _, timings, clamped, observation: _ } = published;
    LastChunk {
        observation: chunk.stamp,
        rows: chunk.horizon as usize,
        late_rows: chunk.late_rows,
        clamped: clamped.total,
        latency,
        parts: parts(timings),
    }
}

fn parts(timings: &Timings) -> Vec<StageTime> {
    let part = |name: &str, time| StageTime { stage: name.to_owned(), time };
    let encode = std::iter::once(part("encode", timings.encode));
    encode.chain(timings.stages.iter().cloned()).chain([part("decode", timings.decode)]).collect()
}

fn describe(published: &PublishedChunk<'_>, last: &LastChunk) -> String {
    let chunk = published.chunk;
    format!(
        "chunk {}: observation {}, {} rows of {} columns, {} late, {} values clamped, {:.1} ms",
        chunk.sequence,
        chunk.stamp,
        chunk.horizon,
        chunk.names.len(),
        last.late_rows,
        last.clamped,
        last.latency.millis()
    )
}
