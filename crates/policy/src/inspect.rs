//! One inference on arrays instead of messages, with every tensor on its way shown.

use super::{Error, Policy, host_tensor};
use vla_base::tensor::HostTensor;
use vla_messages::Pixels;

/// What a policy is run on, as arrays.
#[derive(Clone, Debug)]
pub struct Arrays<'a> {
    /// A frame of every camera, in the policy's order.
    pub frames: Vec<Pixels<'a>>,
    /// Raw state in the model's units, keys in model order.
    pub state: &'a [f32],
    /// The instruction.
    pub instruction: &'a str,
    /// Initial actions `[horizon, dims]`.
    pub noise: &'a [f32],
}

/// Names of [`Policy::inspect`]'s tensors that the policy's files make, whatever its stages are.
pub mod names {
    /// Joins the camera's name: the frame after resampling, 8-bit `[height, width, 3]`.
    pub const RESAMPLED: &str = "proc.";
    /// Joins the view's number: the frame as the model takes it, `[3, height, width]`.
    pub const PIXEL_VALUES: &str = "pixel_values_";
    /// State as the model takes it, `[1, columns]`.
    pub const STATE: &str = "state_normalized";
    /// Last actions `[horizon, columns]`.
    pub const ACTIONS: &str = "action_pred";
    /// Joins the key's name: values of the policy's own units, `[rows, width]`; `[rows, 4, 4]` for poses as matrices.
    pub const DECODED: &str = "action_decoded.";
}

impl Policy {
    /// Runs once on arrays and shows what encode, every stage and decode made, with the repetition that made it. Values
    /// are those of [`Policy::infer`] on messages of the same content; this copies and allocates, that does not.
    ///
    /// # Errors
    /// As [`Policy::infer`]; [`Error::Noise`] when the noise has another length.
    pub fn inspect(
        &mut self,
        arrays: &Arrays<'_>,
        steps: u32,
        see: &mut dyn FnMut(&str, Option<usize>, &HostTensor),
    ) -> Result<(), Error> {
        self.text.set(arrays.instruction)?;
        self.state.encode_raw(arrays.state)?;
        self.guide(None)?;
        self.prepare(steps)?;
        for (index, view) in self.views.inspect(&arrays.frames, &mut *self.pipeline)?.into_iter().enumerate() {
            see(&format!("{}{}", names::RESAMPLED, view.camera), None, &view.resampled);
            see(&format!("{}{index}", names::PIXEL_VALUES), None, &view.normalised);
        }
        see(names::STATE, None, self.state.tensor());
        for (name, tensor) in self.text.tensors() {
            see(name, None, tensor);
        }
        if let Some(embodiment) = self.given.tensor("embodiment_id") {
            see("embodiment_id", None, embodiment);
        }
        let actions = self.given.actions.as_f32_mut().unwrap_or_default();
        if actions.len() != arrays.noise.len() {
            return Err(Error::Noise { expected: actions.len(), found: arrays.noise.len() });
        }
        actions.copy_from_slice(arrays.noise);
        self.write_inputs()?;
        for (name, tensor) in self.views.copies(&mut *self.pipeline)? {
            see(&name, None, &tensor);
        }
        for spec in &self.host_inputs {
            let found = host_tensor(&self.text, &self.state, &self.given, &spec.name);
            if let Some(tensor) = found.filter(|_| self.text.tensor(&spec.name).is_none()) {
                see(&spec.name, None, tensor);
            }
        }
        self.pipeline.inspect(&mut |made| see(made.name, made.iteration, &made.tensor))?;
        self.pipeline.read(&self.output, &mut self.given.actions)?;
        see(names::ACTIONS, None, &self.given.actions);
        self.show_decoded(see)
    }

    /// Name of the tensor that holds the actions after each repetition.
    pub fn output(&self) -> &str {
        &self.output
    }

    fn show_decoded(&mut self, see: &mut dyn FnMut(&str, Option<usize>, &HostTensor)) -> Result<(), Error> {
        let action = &self.spec.action;
        let width: usize = action.keys.iter().map(|(_, width)| width).sum();
        let mut decoded = vec![0.0; action.rows * width];
        self.decoder.decode(self.given.actions.as_f32().unwrap_or_default(), self.state.raw(), &mut decoded)?;
        let mut start = 0;
        for (key, columns) in &action.keys {
            let of_key = decoded.chunks_exact(width.max(1)).flat_map(|row| row.iter().skip(start).take(*columns));
            let of_key = of_key.copied().collect();
            let values = if self.decoder.gives_matrices(key) {
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
