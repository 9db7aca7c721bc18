//! Raw joint values to the model's state row.

use super::EncodeError;
use crate::processor::{Processor, StateEncoding};

/// Ends of a range that are closer than this are one (`numpy.isclose` with its defaults).
const CLOSE: (f64, f64) = (1e-8, 1e-5);

/// How one value is normalised. The differences of single and double precision are upstream's, whose raw values are
/// f32 and whose statistics are f64.
#[derive(Clone, Copy)]
enum Channel {
    /// `(x - mean) / std`
    Spread {
        mean: f64,
        std: f64,
    },
    /// `2 (x - low) / width - 1`
    Range {
        low: f64,
        width: f64,
    },
    /// The value is constant in training: it says nothing.
    Zero,
    Unchanged,
}

impl Channel {
    fn spread(mean: f64, std: f64) -> Self {
        if std == 0.0 { Self::Unchanged } else { Self::Spread { mean, std } }
    }

    fn range(low: f64, high: f64) -> Self {
        let (absolute, relative) = CLOSE;
        let width = high - low;
        if width.abs() <= absolute + relative * low.abs() { Self::Zero } else { Self::Range { low, width } }
    }

    fn apply(self, x: f32, clip: bool) -> f32 {
        match self {
            Self::Spread { mean, std } => ((f64::from(x) - mean) / std) as f32,
            Self::Range { low, width } => {
                let part = ((f64::from(x) - low) / width) as f32;
                let scaled = 2.0 * part - 1.0;
                if clip { scaled.clamp(-1.0, 1.0) } else { scaled }
            }
            Self::Zero => 0.0,
            Self::Unchanged => x,
        }
    }
}

enum Key {
    /// `[sin(all), cos(all)]` of this many values.
    SinCos(usize),
    Each(Vec<Channel>),
}

/// Encodes the state of one time. Allocates nothing after [`Self::new`].
pub struct StateEncoder {
    keys: Vec<Key>,
    clip: bool,
    /// Every value is 0.
    exclude: bool,
    /// Values in, over all keys.
    raw: usize,
    /// Values out, with padding.
    columns: usize,
}

impl StateEncoder {
    /// The encoder of a policy's processor.
    ///
    /// # Errors
    /// [`EncodeError::Statistics`] when the processor's tables do not have its keys' widths.
    pub fn new(processor: &Processor) -> Result<Self, EncodeError> {
        let mut keys = Vec::with_capacity(processor.state.len());
        for key in &processor.state {
            let fits = |tables: [&Vec<f64>; 2]| match tables.iter().find(|table| table.len() != key.width) {
                None => Ok(()),
                Some(table) => {
                    let name = key.name.clone();
                    Err(EncodeError::Statistics { key: name, expected: key.width, found: table.len() })
                }
            };
            keys.push(match &key.encoding {
                StateEncoding::SinCos => Key::SinCos(key.width),
                StateEncoding::MeanStd { mean, std } => {
                    fits([mean, std])?;
                    Key::Each(mean.iter().zip(std).map(|(&mean, &std)| Channel::spread(mean, std)).collect())
                }
                StateEncoding::Range { low, high } => {
                    fits([low, high])?;
                    Key::Each(low.iter().zip(high).map(|(&low, &high)| Channel::range(low, high)).collect())
                }
            });
        }
        let (raw, columns) = (processor.state_width(), processor.max_state_dim);
        if processor.encoded_state_width() > columns {
            let expected = processor.encoded_state_width();
            return Err(EncodeError::Length { what: "max_state_dim", expected, found: columns });
        }
        Ok(Self { keys, clip: processor.clip_state, exclude: processor.exclude_state, raw, columns })
    }

    /// `raw`: the keys' values one after the other, in the model's units. `out`: `[1, max_state_dim]`, zero beyond the
    /// keys, and everywhere where the processor excludes the state. A value that is not finite leaves as NaN, or clipped when it is infinite.
    ///
    /// # Errors
    /// [`EncodeError::Length`] when a slice has another length.
    pub fn encode(&mut self, raw: &[f32], out: &mut [f32]) -> Result<(), EncodeError> {
        for (what, expected, found) in [("raw state", self.raw, raw.len()), ("state", self.columns, out.len())] {
            if expected != found {
                return Err(EncodeError::Length { what, expected, found });
            }
        }
        if self.exclude {
            out.fill(0.0);
            return Ok(());
        }
        let mut raw = raw.iter().copied();
        let mut slots = out.iter_mut();
        let mut write = |value: f32| {
            if let Some(slot) = slots.next() {
                *slot = value;
            }
        };
        for key in &self.keys {
            match key {
                Key::SinCos(width) => {
                    raw.clone().take(*width).for_each(|x| write(sin(x)));
                    raw.by_ref().take(*width).for_each(|x| write(cos(x)));
                }
                Key::Each(channels) => {
                    channels.iter().zip(raw.by_ref()).for_each(|(channel, x)| write(channel.apply(x, self.clip)));
                }
            }
        }
        slots.for_each(|slot| *slot = 0.0);
        Ok(())
    }
}

/// Through double precision: the nearest f32, whatever the platform's single-precision function gives.
fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}
