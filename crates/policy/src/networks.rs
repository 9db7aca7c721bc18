//! The networks of a policy: prepared for the shapes of the inputs, given pixels, and run. Each step returns the value that
//! the next one needs, so they cannot be called in another order.

use vla_base::tensor::{Dim, HostTensor, TensorSpec, display_dims, without_batch};
use vla_engines::{BoundInput, Inference, StageTime, Symbols};
use vla_messages::Pixels;

use super::Error;
use super::encode::frames::TracedImage;
use super::host::Encoded;
use super::observation::Observation;
use super::views::Views;

/// The inference pipeline and the views that feed it.
pub(super) struct Networks {
    pub(super) pipeline: Box<dyn Inference>,
    /// The host tensors that the pipeline reads, in its order.
    pub(super) host_inputs: Vec<TensorSpec>,
    pub(super) views: Views,
    /// Tensor of the predicted actions.
    pub(super) output: String,
    /// Step counts that have constants.
    pub(super) steps: Vec<u32>,
    pub(super) symbols: Symbols,
    pub(super) log_shapes: bool,
}

/// Networks prepared for the shapes of the host tensors and a step count. Pixels are missing.
pub(super) struct Prepared<'n> {
    networks: &'n mut Networks,
    inputs: Encoded<'n>,
}

/// Networks with all inputs.
pub(super) struct Ready<'n>(Prepared<'n>);

impl Networks {
    /// Selects the execution plan for a step count and the shapes of the host tensors.
    ///
    /// # Errors
    /// [`Error::Steps`], [`Error::HostTensor`], [`Error::HostShape`], and those of the pipeline.
    pub(super) fn prepare<'n>(&'n mut self, inputs: Encoded<'n>, steps: u32) -> Result<Prepared<'n>, Error> {
        if !self.steps.contains(&steps) {
            return Err(Error::Steps { found: steps, exported: self.steps.clone() });
        }
        let Self { host_inputs, symbols, views, .. } = self;
        for spec in host_inputs.iter() {
            let dims = views.dims(&spec.name).or_else(|| inputs.tensor(&spec.name).map(HostTensor::dims));
            let dims = dims.ok_or_else(|| Error::HostTensor { name: spec.name.clone() })?;
            unify(symbols, spec, dims)?;
        }
        self.pipeline.prepare(&self.symbols, steps)?;
        if self.log_shapes {
            self.pipeline.shapes(&mut |input| {
                let BoundInput { stage, tensor, dtype, dims } = input;
                tracing::info!(stage, tensor, %dtype, ?dims, "input");
            });
        }
        Ok(Prepared { networks: self, inputs })
    }
}

impl<'n> Prepared<'n> {
    /// Decodes and resamples the frames of every camera, in the policy's order.
    pub(super) fn with_frames(self, observed: &Observation) -> Result<Ready<'n>, Error> {
        self.networks.views.encode(observed, &mut *self.networks.pipeline)?;
        Ok(Ready(self))
    }

    /// Sets every pixel to zero.
    pub(super) fn with_zeros(self) -> Result<Ready<'n>, Error> {
        self.networks.views.encode_zeros(&mut *self.networks.pipeline)?;
        Ok(Ready(self))
    }

    /// As [`Self::with_frames`] from decoded frames.
    pub(super) fn with_pixels(self, frames: &[Pixels<'_>]) -> Result<Ready<'n>, Error> {
        self.networks.views.encode_pixels(frames, &mut *self.networks.pipeline)?;
        Ok(Ready(self))
    }

    /// As [`Self::with_pixels`], with the intermediate images of each frame. Allocates.
    pub(super) fn with_traced_pixels(self, frames: &[Pixels<'_>]) -> Result<(Ready<'n>, Vec<TracedImage>), Error> {
        let traced = self.networks.views.trace(frames, &mut *self.networks.pipeline)?;
        Ok((Ready(self), traced))
    }
}

impl Ready<'_> {
    /// Runs every stage, and reads the predicted actions.
    pub(super) fn run(self, times: &mut [StageTime], predicted: &mut HostTensor) -> Result<(), Error> {
        let Prepared { networks, inputs } = self.0;
        networks.write(inputs)?;
        networks.pipeline.execute(times)?;
        Ok(networks.pipeline.read(&networks.output, predicted)?)
    }

    /// As [`Self::run`], and passes every input and every stage's outputs to `see`. Allocates.
    pub(super) fn trace(
        self,
        predicted: &mut HostTensor,
        see: &mut dyn FnMut(&str, Option<usize>, &HostTensor),
    ) -> Result<(), Error> {
        let Prepared { networks, inputs } = self.0;
        networks.write(inputs)?;
        for (name, tensor) in networks.views.copies(&mut *networks.pipeline)? {
            see(&name, None, &tensor);
        }
        for spec in &networks.host_inputs {
            let of_text = inputs.text().any(|(name, _)| name == spec.name);
            if let Some(tensor) = inputs.tensor(&spec.name).filter(|_| !of_text) {
                see(&spec.name, None, tensor);
            }
        }
        networks.pipeline.inspect(&mut |made| see(made.name, made.iteration, &made.tensor))?;
        Ok(networks.pipeline.read(&networks.output, predicted)?)
    }
}

impl Networks {
    /// Writes the host tensors. Pixels are in the pipeline's memory already.
    fn write(&mut self, inputs: Encoded<'_>) -> Result<(), Error> {
        for (at, spec) in self.host_inputs.iter().enumerate() {
            // A name that is read in several types is written to all of them at once.
            let first = self.host_inputs.iter().take(at).all(|earlier| earlier.name != spec.name);
            if let Some(tensor) = inputs.tensor(&spec.name).filter(|_| first) {
                self.pipeline.write(&spec.name, tensor)?;
            }
        }
        Ok(())
    }
}

/// Gives the symbols of `spec` the values of `dims`.
fn unify(symbols: &mut Symbols, spec: &TensorSpec, dims: &[usize]) -> Result<(), Error> {
    let mismatch =
        || Error::HostShape { name: spec.name.clone(), expected: display_dims(&spec.dims), found: display_dims(dims) };
    let rank = spec.dims.len().min(dims.len());
    let expected = without_batch(&spec.dims, rank).ok_or_else(mismatch)?;
    for (dim, &n) in expected.iter().zip(without_batch(dims, rank).ok_or_else(mismatch)?) {
        match dim {
            Dim::Fixed(expected) if *expected != n => return Err(mismatch()),
            Dim::Fixed(_) => {}
            Dim::Symbol(name) => match symbols.get_mut(name) {
                Some(value) => *value = n,
                None => {
                    symbols.insert(name.clone(), n);
                }
            },
        }
    }
    Ok(())
}
