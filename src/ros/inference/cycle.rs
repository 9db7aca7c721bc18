//! One cycle: run the session, publish what it made, say how it went.

use std::time::Instant;

use super::Worker;
use crate::engine::StageTime;
use crate::observation::OnViolation;
use crate::parameters::Settings;
use crate::policy::Timings;
use crate::ros::graph;
use crate::ros::phase::Phase;
use crate::ros::report::{LastChunk, Trouble, TroubleKind};
use crate::session::{Outcome, Published, Session};
use crate::time::Span;

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
                self.recovered_from(TroubleKind::Violation);
                Answer::yes("nothing changed since the last chunk")
            }
            Outcome::Stopped => Answer::no("stopped; call ~/resume"),
            Outcome::Refused(refusal) => {
                let reason = refusal.to_string();
                shared.report.update(|report| report.refused += 1);
                self.trouble(Trouble::new(TroubleKind::Refused, &reason));
                Answer { lost: refusal.is_sticky(), ..Answer::no(reason) }
            }
            Outcome::Violation { violation, action, stop, plan } => {
                let sent = stop.map(|trajectory| self.publishers.trajectory(plan, trajectory));
                let mut reason = graph::explained(&violation, &shared.found.get());
                if let Some(Err(error)) = &sent {
                    reason =
                        format!("{reason}; the robot was NOT told to stop: the middleware did not take it: {error}");
                    shared.report.update(|report| report.unpublished += 1);
                    tracing::error!("{action}: {reason}");
                }
                shared.report.update(|report| report.violations += 1);
                if action == OnViolation::Stop {
                    let robot = match &sent {
                        Some(Ok(())) => "told to come to rest",
                        Some(Err(_)) => "NOT told to stop: the middleware did not take the message",
                        None => "not told to stop: its joint positions are not known, or the policy moves no joint",
                    };
                    tracing::error!("stopped, robot {robot}: {reason}; call ~/resume");
                    shared.phase.set(Phase::Stopped { reason: reason.clone() });
                }
                let about = violation.breaches.iter().map(|breach| (breach.input.clone(), breach.word())).collect();
                self.trouble(Trouble { about, ..Trouble::new(TroubleKind::Violation, &reason) });
                Answer::no(format!("{action}: {reason}"))
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
                    report.clamped += last.clamped;
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
                        self.trouble(Trouble::new(TroubleKind::Unpublished, &error.to_string()));
                        Answer::no(reason)
                    }
                }
            }
        }
    }

    /// Remembers what is wrong and logs it when it is new; the figures in the text change with every cycle.
    fn trouble(&self, trouble: Trouble) {
        let mut is_new = false;
        self.shared.report.update(|report| {
            is_new = report.trouble.as_ref().is_none_or(|before| !before.is_like(&trouble));
            report.trouble = Some(trouble.clone());
        });
        if is_new {
            let reason = &trouble.reason;
            match trouble.kind {
                TroubleKind::Violation => tracing::warn!("no inference: {reason}"),
                TroubleKind::Refused => tracing::error!("chunk refused: {reason}"),
                TroubleKind::Unpublished => tracing::error!("chunk not published: {reason}"),
            }
        }
    }

    fn recovered(&self) {
        self.end_trouble(|_| true);
    }

    fn recovered_from(&self, kind: TroubleKind) {
        self.end_trouble(|trouble| trouble.kind == kind);
    }

    fn end_trouble(&self, is_over: impl Fn(&Trouble) -> bool) {
        let mut over = None;
        self.shared.report.update(|report| over = report.trouble.take_if(|trouble| is_over(trouble)));
        if let Some(trouble) = over {
            tracing::info!("going on after: {}", trouble.reason);
        }
    }
}

fn last_chunk(published: &Published<'_>, latency: Span) -> LastChunk {
    let Published { chunk, trajectory: _, plan: _, timings, clamped, observation: _ } = published;
    LastChunk {
        observation: chunk.stamp,
        rows: chunk.horizon as usize,
        late_rows: chunk.late_rows,
        clamped: *clamped,
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
