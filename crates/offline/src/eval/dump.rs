//! Every chunk as arrays, for other programs.

use std::path::Path;

use super::{Episode, Layout, Moment, Observer};
use crate::Error;
use vla_base::tensor::HostTensor;

/// Writes each chunk to a `.npz` as `NNNNNN/predicted` and `NNNNNN/recorded` `[rows, columns]`,
/// `NNNNNN/normalised_predicted` and `NNNNNN/normalised_recorded`, `NNNNNN/state` (of the observation, in the model's units),
/// `NNNNNN/known` (leading rows with a recorded action), `NNNNNN/episode` and `NNNNNN/start_ns`. `NNNNNN` counts the chunks from 000000.
pub struct Dump {
    writer: vla_npz::Writer,
}

impl Dump {
    /// Starts a file, which appears under its name when [`Self::finish`] returns.
    ///
    /// # Errors
    /// [`Error::Npz`] when it cannot be created.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self { writer: vla_npz::Writer::create(path)? })
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`Error::Npz`] when it cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        Ok(self.writer.finish()?)
    }

    fn add(&mut self, name: &str, tensor: Option<HostTensor>) -> Result<(), Error> {
        let tensor = tensor.ok_or_else(|| Error::Internal(format!("array {name} has another size than its rows")))?;
        Ok(self.writer.add(name, &tensor)?)
    }
}

impl Observer for Dump {
    fn moment(&mut self, layout: &Layout, moment: &Moment) -> Result<(), Error> {
        let (dims, normalised) = ([layout.rows, layout.width()], [layout.rows, layout.normalised_width()]);
        let arrays = [
            ("predicted", &moment.predicted, dims),
            ("recorded", &moment.recorded, dims),
            ("normalised_predicted", &moment.normalised_predicted, normalised),
            ("normalised_recorded", &moment.normalised_recorded, normalised),
        ];
        for (name, values, dims) in arrays {
            self.add(&format!("{:06}/{name}", moment.index), HostTensor::from_f32(&dims, values.clone()))?;
        }
        let state = HostTensor::from_f32(&[moment.state.len()], moment.state.clone());
        self.add(&format!("{:06}/state", moment.index), state)?;
        let numbers =
            [("known", moment.known as i64), ("episode", moment.episode as i64), ("start_ns", moment.start.nanos())];
        for (name, value) in numbers {
            self.add(&format!("{:06}/{name}", moment.index), HostTensor::from_i64(&[1], vec![value]))?;
        }
        Ok(())
    }

    fn episode(&mut self, _layout: &Layout, _episode: &Episode) -> Result<(), Error> {
        Ok(())
    }
}
