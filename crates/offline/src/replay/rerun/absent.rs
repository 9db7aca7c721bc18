//! In place of the file in a build without the feature `rerun`.

use std::path::Path;

use super::Pictures;
use crate::Error;
use crate::replay::Sink;
use vla_base::time::Stamp;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};
use vla_policy::observation::InputSpec;

/// A file that cannot be made.
pub(crate) enum Scene {}

impl Scene {
    /// # Errors
    /// [`Error::NoRerun`], always.
    pub(crate) fn create(_file: &Path, _name: &str, _inputs: &[InputSpec], _instruction: &str) -> Result<Self, Error> {
        Err(Error::NoRerun)
    }

    pub(crate) fn finish(self) -> Result<Pictures, Error> {
        match self {}
    }
}

impl Sink for Scene {
    fn chunk(&mut self, _at: Stamp, _chunk: &ActionChunkMessage) -> Result<(), Error> {
        match *self {}
    }

    fn trajectory(&mut self, _at: Stamp, _trajectory: &JointTrajectoryMessage) -> Result<(), Error> {
        match *self {}
    }
}
