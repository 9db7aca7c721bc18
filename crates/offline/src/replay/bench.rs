//! The latency of a policy: one observation of a recording, inferred again and again.

use std::time::Duration;

use super::Source;
use super::complaints::Complaints;
use super::source::{Recording, TimedMessage};
use crate::Error;
use vla_base::time::Span;
use vla_policy::Timings;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{CycleOutcome, Session};

/// Where the time of every counted inference went.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// In the order in which they ran.
    pub inferences: Vec<Timings>,
}

impl Latencies {
    /// The `quantile` (0 to 1) of what `pick` takes of an inference, nearest rank; `None` without inferences.
    pub fn quantile(&self, quantile: f64, pick: impl Fn(&Timings) -> Duration) -> Option<Duration> {
        let mut times: Vec<Duration> = self.inferences.iter().map(pick).collect();
        times.sort_unstable();
        let rank = (quantile.clamp(0.0, 1.0) * times.len() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).copied()
    }

    /// Names of the stages, in run order.
    pub fn stages(&self) -> Vec<&str> {
        let first = self.inferences.first().map(|timings| timings.stages.as_slice()).unwrap_or_default();
        first.iter().map(|stage| stage.stage.as_str()).collect()
    }
}

/// Infers the first whole observation of the bag or of the data set's first episode `warm_up` times uncounted, then `count` times.
///
/// # Errors
/// [`Error::NoObservation`] when no moment of the bag has every input; [`Error::Refused`] when an inference is.
pub fn run(
    session: &mut Session,
    settings: &Settings,
    source: &Source,
    warm_up: usize,
    count: usize,
) -> Result<Latencies, Error> {
    let recording = Recording::open(source, session.policy().spec(), settings)?;
    let inputs = Inputs::new(settings.inputs.clone());
    if !settings.instruction.is_empty() {
        inputs.set_instruction(&settings.instruction);
    }
    session.apply(settings);
    let (mut now, mut reason, mut complaints) = (None, "no message of an input".to_owned(), Complaints::default());
    let messages = recording.segments().next().map(|segment| segment.messages()).transpose()?;
    for message in messages.into_iter().flatten() {
        let TimedMessage { time, message } = message?;
        for input in recording.inputs(message.topic) {
            if let Err(error) = inputs.offer(input, message.data.clone(), time) {
                complaints.take(input, &error);
            }
        }
        match session.cycle(time, &inputs, settings, true, &mut || time) {
            CycleOutcome::Published(_) => {
                now = Some(time);
                break;
            }
            CycleOutcome::Refused { refusal, .. } => return Err(Error::Refused(refusal.to_string())),
            CycleOutcome::Waiting(violation) | CycleOutcome::Violation { violation, .. } => {
                reason = violation.to_string()
            }
            CycleOutcome::Unchanged | CycleOutcome::Stopped => {}
        }
    }
    complaints.lines().for_each(|line| tracing::warn!("{line}"));
    let now = now.ok_or_else(|| Error::NoObservation { bag: source.path().to_owned(), reasons: vec![reason] })?;
    let mut latencies = Latencies { inferences: Vec::with_capacity(count) };
    for index in 0..warm_up + count {
        match session.cycle(now, &inputs, settings, true, &mut || now) {
            CycleOutcome::Published(published) if index >= warm_up => {
                latencies.inferences.push(published.timings.clone())
            }
            CycleOutcome::Published(_) => {}
            other => return Err(Error::Refused(format!("{other:?}"))),
        }
    }
    Ok(latencies)
}

/// Inferences of [`measure`], and those before the first that counts.
const MEASURED: (usize, usize) = (5, 2);
/// Latency where the bag has no observation to measure it on: that of the default rate.
const UNMEASURED: Span = Span::from_nanos(200_000_000);

/// The latency of an inference on this machine, rounded up to a millisecond: the median of a few on the first whole observation of the
/// bag. The session is returned as one that has published nothing.
///
/// # Errors
/// A bag that cannot be read.
pub fn measure(mut session: Session, settings: &Settings, source: &Source) -> Result<(Session, Span), Error> {
    let latency = match run(&mut session, settings, source, MEASURED.1, MEASURED.0) {
        Ok(latencies) => {
            let median = latencies.quantile(0.5, |timings| timings.total).unwrap_or_default();
            Span::from_millis((median.as_secs_f64() * 1e3).ceil())
        }
        // The replay says why.
        Err(error) if error.is_empty() => UNMEASURED,
        Err(error) => return Err(error),
    };
    Ok((session.renewed()?, latency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let timings = |ms| Timings { total: Duration::from_millis(ms), ..Timings::default() };
        let latencies = Latencies { inferences: [5, 1, 4, 2, 3].map(timings).to_vec() };
        let total = |quantile| latencies.quantile(quantile, |timings| timings.total).map(|time| time.as_millis());
        assert_eq!([total(0.0), total(0.5), total(0.99), total(1.0)], [Some(1), Some(3), Some(5), Some(5)]);
        assert_eq!(Latencies::default().quantile(0.5, |timings| timings.total), None);
    }
}
