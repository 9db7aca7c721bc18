//! tmp
use super::encode::EncodeError;
use super::processor::{ActionScaling, Conversion, Processor};

/// tmp
pub struct ActionDecoder {
    processor: Processor,
}

impl ActionDecoder {
    /// tmp
    pub fn new(processor: &Processor) -> Self {
        Self { processor: processor.clone() }
    }

    /// tmp
    pub fn decode(&mut self, actions: &[f32], raw: &[f32], out: &mut [f32]) -> Result<(), EncodeError> {
        let p = &self.processor;
        let (dims, width) = (p.max_action_dim, p.action_width());
        let mut col = 0;
        for key in &p.action {
            for r in 0..p.rows() {
                for i in 0..key.width {
                    let ActionScaling::Range { low, high } = &key.scaling else { unimplemented!() };
                    let at = if low.len() == key.width { i } else { r * key.width + i };
                    let n = (actions[r * dims + col + i].clamp(-1.0, 1.0) + 1.0) / 2.0;
                    let mut y = f64::from(n) * (high[at] - low[at]) + low[at];
                    if let Conversion::AddState { state } = key.conversion {
                        let start: usize = p.state[..state].iter().map(|k| k.width).sum();
                        y += f64::from(raw[start + i]);
                    }
                    out[r * width + col + i] = y as f32;
                }
            }
            col += key.width;
        }
        Ok(())
    }
}
