//! Warns once about a state far outside the training data: degrees instead of radians, millimetres instead of metres, a wrong
//! scale.

use std::f64::consts::PI;
use std::ops::Range;

use super::processor::{Processor, StateEncoding};

/// Tolerance outside the training range, in widths of the key's widest range. Robots exceed the 99th percentile of their
/// training data; degrees are 57 times the radians.
const FAR: f64 = 3.0;
/// Standard deviations on either side that count as the range of a key without one.
const SPREAD: f64 = 3.0;

/// The ranges of the training data, key by key.
#[derive(Debug)]
pub(super) struct UnitCheck {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    name: String,
    columns: Range<usize>,
    low: Vec<f64>,
    high: Vec<f64>,
    /// Tolerance outside the range.
    margin: f64,
    reported: bool,
}

impl UnitCheck {
    pub(crate) fn new(processor: &Processor) -> Self {
        let mut start = 0;
        let mut keys = Vec::with_capacity(processor.state.len());
        for key in &processor.state {
            let columns = start..start + key.width;
            start = columns.end;
            let spread = |sign: f64, mean: &[f64], std: &[f64]| -> Vec<f64> {
                mean.iter().zip(std).map(|(mean, std)| mean + sign * SPREAD * std).collect()
            };
            let (low, high) = match &key.encoding {
                // An angle.
                StateEncoding::SinCos => (vec![-PI; key.width], vec![PI; key.width]),
                StateEncoding::MeanStd { mean, std } => (spread(-1.0, mean, std), spread(1.0, mean, std)),
                StateEncoding::Range { low, high } => (low.clone(), high.clone()),
            };
            let widths = low.iter().zip(&high).map(|(low, high)| high - low).filter(|width| width.is_finite());
            let margin = FAR * widths.fold(0.0, f64::max);
            // A key that was constant in training has no range to compare with.
            if margin > 0.0 {
                keys.push(Key { name: key.name.clone(), columns, low, high, margin, reported: false });
            }
        }
        Self { keys }
    }

    /// A warning about the first key far outside its range, once a key. `raw`: the state in model units and order.
    pub(crate) fn check(&mut self, raw: &[f32]) -> Option<String> {
        let Self { keys } = self;
        for key in keys.iter_mut().filter(|key| !key.reported) {
            let values = raw.get(key.columns.clone()).unwrap_or_default();
            let ranges = key.low.iter().zip(&key.high);
            let far = |(value, (low, high)): (&f32, (&f64, &f64))| {
                let value = f64::from(*value);
                value < low - key.margin || value > high + key.margin
            };
            let Some(at) = values.iter().zip(ranges).position(far) else { continue };
            key.reported = true;
            let (name, value) = (&key.name, values.get(at).copied().unwrap_or_default());
            let (low, high) = (key.low.get(at).copied()?, key.high.get(at).copied()?);
            return Some(format!(
                "state '{name}': value {at} is {value}, far outside the training data ({low:.3} to {high:.3}); expected the units of \
                 the training data; check for degrees instead of radians, and state.{name}.scale and .offset (reported once)"
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::N1D6;
    use crate::processor::StateKey;

    fn units() -> UnitCheck {
        let key = |name: &str, encoding| StateKey { name: name.into(), width: 2, encoding };
        let state = vec![
            key("arm", StateEncoding::Range { low: vec![-1.0, 0.0], high: vec![1.0, 0.0] }),
            key("hand", StateEncoding::MeanStd { mean: vec![0.02, 0.02], std: vec![0.01, 0.01] }),
            key("base", StateEncoding::SinCos),
            key("idle", StateEncoding::Range { low: vec![0.5; 2], high: vec![0.5; 2] }),
        ];
        UnitCheck::new(&Processor {
            family: &N1D6,
            embodiment: "robot".into(),
            cameras: Vec::new(),
            state,
            state_deltas: vec![0],
            video_deltas: vec![0],
            exclude_state: false,
            clip_state: true,
            action: Vec::new(),
            action_deltas: Vec::new(),
            max_state_dim: 16,
            max_action_dim: 16,
            max_action_horizon: 16,
            image: N1D6.image(256, 0.95),
            normalise_text: true,
        })
    }

    #[test]
    fn degrees_for_radians_are_reported_once_by_key() {
        let mut units = units();
        let degrees = [30.0, 0.0, 0.02, 0.02, 0.1, 0.1, 9.0, 9.0];
        let warning = units.check(&degrees).expect("a warning");
        assert!(
            warning.starts_with("state 'arm': value 0 is 30,") && warning.contains("(-1.000 to 1.000)"),
            "{warning}"
        );
        assert_eq!(units.check(&degrees), None);
        let millimetres = [0.0, 0.0, 0.02, 20.0, 90.0, 0.0, 9.0, 9.0];
        assert!(units.check(&millimetres).is_some_and(|text| text.starts_with("state 'hand': value 1 is 20,")));
        assert!(units.check(&millimetres).is_some_and(|text| text.starts_with("state 'base': value 0 is 90,")));
        assert_eq!(units.check(&millimetres), None);
    }

    #[test]
    fn a_state_near_its_training_data_is_not_reported() {
        assert_eq!(units().check(&[3.5, -2.0, 0.1, -0.1, 6.2, -6.2, -3.0, 3.0]), None);
    }
}
