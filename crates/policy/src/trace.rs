//! One inference on arrays instead of messages: the decoded actions alone, or with every intermediate tensor.

use std::time::Instant;

use super::{Error, Policy, Timings};
use vla_base::tensor::HostTensor;
use vla_messages::Pixels;

/// Inputs of a policy as arrays.
#[derive(Clone, Debug)]
pub struct ArrayInputs<'a> {
    /// The frames of every camera, in the policy's order; those of one camera are the oldest first.
    pub frames: Vec<Pixels<'a>>,
    /// Raw state in the model's units, keys in model order; with a history one row a time, the oldest first.
    pub state: &'a [f32],
    /// The instruction.
    pub instruction: &'a str,
    /// Initial actions `[horizon, dims]`.
    pub noise: &'a [f32],
}

/// Names of [`Policy::trace`]'s tensors that encode and decode make, whatever the stages are.
pub mod names {
    /// Prefix of the camera's name: the frame after resampling, 8-bit `[height, width, 3]`. With frames of several times the name
    /// ends in `.0` for the oldest, `.1`, ...
    pub const RESAMPLED: &str = "proc.";
    /// Prefix of the image's number in the prompt: the frame as the model reads it, `[3, height, width]`.
    pub const PIXEL_VALUES: &str = "pixel_values_";
    /// State as the model reads it, `[1, columns]`.
    pub const STATE: &str = "state_normalized";
    /// Predicted actions `[horizon, columns]`.
    pub const ACTIONS: &str = "action_pred";
    /// Prefix of the key's name: values in the policy's own units, `[rows, width]`; `[rows, 4, 4]` for poses as matrices.
    pub const DECODED: &str = "action_decoded.";
}

impl Policy {
    /// Runs one inference on arrays. `decoded` becomes the actions in the policy's own units, row by row, keys in model order;
    /// bit by bit those of [`Policy::trace`]. Copies no frame, and allocates as little as [`Policy::infer`].
    ///
    /// # Errors
    /// As [`Policy::infer`]; [`Error::Noise`] when the noise has another length. `decoded` is then meaningless.
    pub fn infer_arrays(
        &mut self,
        inputs: &ArrayInputs<'_>,
        steps: u32,
        decoded: &mut Vec<f32>,
        timings: &mut Timings,
    ) -> Result<(), Error> {
        let ArrayInputs { frames, state, instruction, noise } = inputs;
        let started = Instant::now();
        timings.resize(&self.spec.stages);
        let encoded = self.inputs.encode_values(instruction, state, noise, &mut self.codec)?;
        let ready = self.networks.prepare(encoded, steps)?.with_pixels(frames)?;
        timings.encode = started.elapsed();
        let running = Instant::now();
        ready.run(&mut timings.stages, &mut self.predicted)?;
        timings.run = running.elapsed();
        let decoding = Instant::now();
        self.decode_own(decoded)?;
        timings.decode = decoding.elapsed();
        timings.total = started.elapsed();
        Ok(())
    }

    /// Whether the values of an action key are poses as 4x4 matrices, row-major.
    pub fn gives_matrices(&self, key: &str) -> bool {
        self.codec.decoder.gives_matrices(key)
    }

    /// Decodes the last prediction into the policy's own units: `[rows, values of every key]`.
    fn decode_own(&mut self, decoded: &mut Vec<f32>) -> Result<(), Error> {
        let action = &self.spec.action;
        let width: usize = action.keys.iter().map(|(_, width)| width).sum();
        decoded.resize(action.rows * width, 0.0);
        let predicted = self.predicted.as_f32().unwrap_or_default();
        Ok(self.codec.decoder.decode(predicted, self.inputs.state.raw(), decoded)?)
    }

    /// Runs one inference on arrays and passes every tensor of encode, the stages and decode to `see`, with the denoising
    /// step of each. The values are those of [`Policy::infer`] on messages of the same content. Allocates.
    ///
    /// # Errors
    /// As [`Policy::infer`]; [`Error::Noise`] when the noise has another length.
    pub fn trace(
        &mut self,
        inputs: &ArrayInputs<'_>,
        steps: u32,
        see: &mut dyn FnMut(&str, Option<usize>, &HostTensor),
    ) -> Result<(), Error> {
        let ArrayInputs { frames, state, instruction, noise } = inputs;
        let encoded = self.inputs.encode_values(instruction, state, noise, &mut self.codec)?;
        let (ready, views) = self.networks.prepare(encoded, steps)?.with_traced_pixels(frames)?;
        for (index, view) in views.into_iter().enumerate() {
            see(&format!("{}{}", names::RESAMPLED, view.camera), None, &view.resampled);
            see(&format!("{}{index}", names::PIXEL_VALUES), None, &view.normalised);
        }
        see(names::STATE, None, encoded.tensor("state").ok_or(Error::Internal("the state is a host tensor"))?);
        for (name, tensor) in encoded.text() {
            see(name, None, tensor);
        }
        if let Some(embodiment) = encoded.tensor("embodiment_id") {
            see("embodiment_id", None, embodiment);
        }
        ready.trace(&mut self.predicted, see)?;
        see(names::ACTIONS, None, &self.predicted);
        self.trace_decoded(see)
    }

    /// Name of the tensor that holds the actions after each denoising step.
    pub fn output(&self) -> &str {
        &self.networks.output
    }

    fn trace_decoded(&mut self, see: &mut dyn FnMut(&str, Option<usize>, &HostTensor)) -> Result<(), Error> {
        let mut decoded = Vec::new();
        self.decode_own(&mut decoded)?;
        let action = &self.spec.action;
        let width: usize = action.keys.iter().map(|(_, width)| width).sum();
        let mut start = 0;
        for (key, columns) in &action.keys {
            let of_key = decoded.chunks_exact(width.max(1)).flat_map(|row| row.iter().skip(start).take(*columns));
            let of_key = of_key.copied().collect();
            let values = if self.gives_matrices(key) {
                HostTensor::from_f32(&[action.rows, 4, 4], of_key)
            } else {
                HostTensor::from_f32(&[action.rows, *columns], of_key)
            };
            let values = values.ok_or(Error::Internal("rows of the keys' widths"))?;
            see(&format!("{}{key}", names::DECODED), None, &values);
            start += columns;
        }
        Ok(())
    }
}
