//! One cycle: run the session, publish what it made, say how it went.

use std::time::Instant;

use super::Worker;
use crate::graph;
use crate::report::{LastChunk, Report, Trouble, TroubleKind};
use crate::trajectory::untold;
use vla_base::time::Span;
use vla_engines::StageTime;
use vla_policy::Timings;
use vla_policy::observation::Violation;
use vla_runtime::parameters::Settings;
use vla_runtime::remedies;
use vla_runtime::session::{Brake, Braked, Outcome, Published, Refusal, RefusalKind, Session};

/// What came of a cycle, for whoever called for it.
pub(super) struct Answer {
    /// Whether a chunk is out (or would be the same as the last).
    pub success: bool,
    /// In words.
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

impl Worker {
    /// Runs one cycle; `force` infers even when nothing changed.
    pub(super) fn cycle(&mut self, session: &mut Session, settings: &Settings, force: bool) -> Answer {
        let started = Instant::now();
        let shared = &self.shared;
        let clock = &shared.clock;
        let outcome = session.cycle(clock.now(), &shared.inputs, settings, force, &mut || clock.now());
        match outcome {
            Outcome::Unchanged => {
                shared.report.update(|report| report.unchanged += 1);
                self.recovered_from(&[TroubleKind::Waiting, TroubleKind::Violation]);
                Answer::yes("nothing changed since the last chunk")
            }
            Outcome::Stopped => Answer::no("stopped; call ~/resume"),
            Outcome::Waiting(violation) => {
                shared.report.update(|report| report.waiting += 1);
                let reason = graph::explained(&violation, &shared.found.get());
                self.trouble(of_inputs(TroubleKind::Waiting, &violation, &reason), Braked::NotNeeded);
                Answer::no(format!("waiting: {reason}"))
            }
            Outcome::Violation { violation, brake } => {
                shared.report.update(|report| report.violations += 1);
                let reason = graph::explained(&violation, &shared.found.get());
                let (action, braked) = (brake.action, self.brake(&brake));
                self.trouble(of_inputs(TroubleKind::Violation, &violation, &reason), braked);
                Answer::no(format!("{action}: {reason}"))
            }
            Outcome::Refused { refusal, brake } => {
                let (reason, kind, lost) = (remedies::described(&refusal), refusal.kind(), refusal.is_sticky());
                let (action, braked) = (brake.action, self.brake(&brake));
                self.refused(&refusal, &reason, braked);
                match kind {
                    RefusalKind::Violation => Answer::no(format!("{action}: {reason}")),
                    RefusalKind::Superseded | RefusalKind::Failure => Answer { lost, ..Answer::no(reason) },
                }
            }
            Outcome::Published(published) => {
                let sent = self.publishers.chunk(published.chunk);
                let sent = match published.trajectory {
                    Some(trajectory) => sent.and(self.publishers.trajectory(published.plan, trajectory)),
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
                        let reason = format!("the middleware did not take the chunk: {error}");
                        self.trouble(Trouble::new(TroubleKind::Unpublished, &error.to_string()), Braked::NotNeeded);
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
            RefusalKind::Violation => self.trouble(Trouble::new(TroubleKind::Unfit, reason), braked),
            RefusalKind::Failure => {
                self.trouble(Trouble { class, ..Trouble::new(TroubleKind::Refused, reason) }, braked)
            }
        }
    }

    /// Publishes the way to rest.
    fn brake(&self, brake: &Brake<'_>) -> Braked {
        if let Some(Err(error)) = brake.stop.map(|stop| self.publishers.trajectory(brake.plan, stop)) {
            self.shared.report.update(|report| report.unpublished += 1);
            tracing::error!("{}", untold(&error));
        }
        brake.braked
    }

    /// Remembers what is wrong and logs it when it is new; the figures in the text change with every cycle. What has just held or
    /// stopped the motion is logged by the watchdog as its reason.
    fn trouble(&self, trouble: Trouble, braked: Braked) {
        let mut is_new = false;
        self.shared.report.update(|report| {
            is_new = report.trouble.as_ref().is_none_or(|before| !before.is_like(&trouble));
            report.trouble = Some(trouble.clone());
        });
        if !is_new || braked.entered() {
            return;
        }
        let reason = &trouble.reason;
        match trouble.kind {
            TroubleKind::Waiting => tracing::info!("waiting for inputs: {reason}"),
            TroubleKind::Violation => tracing::warn!("no inference: {reason}"),
            TroubleKind::Unfit => tracing::error!("inference refused: {reason}"),
            TroubleKind::Refused => tracing::error!("chunk refused: {reason}"),
            TroubleKind::Unpublished => tracing::error!("chunk not published: {reason}"),
        }
    }

    pub(super) fn recovered(&self) {
        self.end_trouble(|_| true);
    }

    fn recovered_from(&self, kinds: &[TroubleKind]) {
        self.end_trouble(|trouble| kinds.contains(&trouble.kind));
    }

    fn end_trouble(&self, is_over: impl Fn(&Trouble) -> bool) {
        let mut over = None;
        self.shared.report.update(|report| over = report.trouble.take_if(|trouble| is_over(trouble)));
        if let Some(trouble) = over {
            match trouble.kind {
                TroubleKind::Waiting => tracing::info!("every input has come"),
                _ => tracing::info!("going on after: {}", trouble.reason),
            }
        }
    }
}

/// A violation as what went wrong: the same inputs with the same faults are the same trouble, whatever the figures.
fn of_inputs(kind: TroubleKind, violation: &Violation, reason: &str) -> Trouble {
    let about = violation.breaches.iter().map(|breach| (breach.input.clone(), breach.word())).collect();
    Trouble { about, ..Trouble::new(kind, reason) }
}

fn last_chunk(published: &Published<'_>, latency: Span) -> LastChunk {
    let Published { chunk, trajectory: _, plan: _, timings, clamped, observation: _ } = published;
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

fn describe(published: &Published<'_>, last: &LastChunk) -> String {
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
