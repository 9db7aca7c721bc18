//! tmp
use super::EncodeError;
use crate::policy::processor::{Processor, StateEncoding};

/// tmp
pub struct StateEncoder {
    processor: Processor,
}

impl StateEncoder {
    /// tmp
    pub fn new(processor: &Processor) -> Self {
        Self { processor: processor.clone() }
    }

    /// tmp
    pub fn encode(&mut self, raw: &[f32], out: &mut [f32]) -> Result<(), EncodeError> {
        out.fill(0.0);
        let (mut at, mut to) = (0, 0);
        for key in &self.processor.state {
            let x = &raw[at..at + key.width];
            at += key.width;
            match &key.encoding {
                StateEncoding::Range { low, high } => {
                    for i in 0..key.width {
                        let n = ((f64::from(x[i]) - low[i]) / (high[i] - low[i])) as f32;
                        out[to + i] = (2.0 * n - 1.0).clamp(-1.0, 1.0);
                    }
                }
                _ => unimplemented!(),
            }
            to += key.encoded_width();
        }
        Ok(())
    }
}
