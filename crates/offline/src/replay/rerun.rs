//! A replay for the Rerun viewer: pictures, measured joints, chunks and motion on one timeline.
//!
//! Needs the feature `rerun`. Rerun reads fewer encodings of pictures than the node (it takes `mono8` for depth, and reads neither
//! `uyvy`, `yuv422`, `nv21` nor Bayer mosaics), so raw pictures are converted to RGB here, as for the policy. JPEG and PNG pictures are
//! passed on as they are.

#[cfg(not(feature = "rerun"))]
mod absent;
#[cfg(feature = "rerun")]
mod file;
#[cfg(feature = "rerun")]
mod lines;
#[cfg(feature = "rerun")]
mod pictures;
#[cfg(feature = "rerun")]
mod scene;
#[cfg(all(test, feature = "rerun"))]
mod tests;

use crate::Error;

#[cfg(not(feature = "rerun"))]
pub(super) use absent::Scene;
#[cfg(feature = "rerun")]
pub(super) use scene::Scene;

/// Pictures of a file for Rerun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pictures {
    /// In the file.
    pub written: usize,
    /// Left out: the message is damaged, or its encoding unknown.
    pub refused: usize,
}

/// Checks that this build writes files for Rerun.
///
/// # Errors
/// [`Error::NoRerun`] without the feature `rerun`.
pub const fn check() -> Result<(), Error> {
    if cfg!(feature = "rerun") { Ok(()) } else { Err(Error::NoRerun) }
}
