//! The frames of a camera.

use std::fmt;
use std::str::FromStr;

use crate::images::Images;
use crate::{Dataset, Error, Row, Storage};

/// A frame in RGB, row by row without padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'f> {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width, 3]`.
    pub rgb: &'f [u8],
}

/// How YUV becomes RGB where a video is tagged with another matrix than BT.601.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ColorSpace {
    /// By the video's tag, as PyAV 18 and torchcodec do; BT.601 without one.
    #[default]
    Tagged,
    /// BT.601 whatever the tag says, as PyAV 15 and OpenCV do.
    Bt601,
}

impl FromStr for ColorSpace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tagged" => Ok(Self::Tagged),
            "bt601" => Ok(Self::Bt601),
            _ => Err(format!("expected tagged or bt601, found '{text}'")),
        }
    }
}

/// The frames of a camera in one episode, read forward. See [`Dataset::frames`].
pub struct Frames {
    kind: Kind,
}

enum Kind {
    Images(Box<Images>),
    #[cfg(feature = "video")]
    Video(Box<crate::video::Video>),
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}

impl Frames {
    pub(crate) fn open(dataset: &Dataset, episode: usize, camera: &str, color: ColorSpace) -> Result<Self, Error> {
        let described = dataset.episode(episode)?;
        let storage = dataset.features().get(camera).map(|feature| feature.storage);
        match storage {
            Some(Storage::Images) => {
                Ok(Self { kind: Kind::Images(Box::new(Images::open(&dataset.table(described)?, described, camera)?)) })
            }
            Some(Storage::Video) => {
                let path = dataset.video_file(described, camera)?;
                if !path.exists() {
                    return Err(Error::MissingFile { path, episode });
                }
                Self::video(path, described, camera, dataset.fps(), color)
            }
            _ => Err(Error::NoCamera {
                path: dataset.path().to_owned(),
                camera: camera.to_owned(),
                cameras: dataset.cameras().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    #[cfg(feature = "video")]
    fn video(
        path: std::path::PathBuf,
        episode: &crate::Episode,
        camera: &str,
        fps: f64,
        color: ColorSpace,
    ) -> Result<Self, Error> {
        let video = crate::video::Video::open(path, episode, camera, fps, color)?;
        Ok(Self { kind: Kind::Video(Box::new(video)) })
    }

    #[cfg(not(feature = "video"))]
    fn video(path: std::path::PathBuf, _: &crate::Episode, camera: &str, _: f64, _: ColorSpace) -> Result<Self, Error> {
        Err(Error::NoVideo { camera: camera.to_owned(), path })
    }

    /// The matrix that a video is tagged with, where it is another than BT.601's: its colours depend on [`ColorSpace`].
    pub fn other_matrix(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Images(_) => None,
            #[cfg(feature = "video")]
            Kind::Video(video) => video.other_matrix(),
        }
    }

    /// The frame of a row: the image of its number, or the frame of the video that is nearest to its timestamp.
    ///
    /// Rows must come in their order; rows between them may be left out.
    ///
    /// # Errors
    /// [`Error::Frame`] for a frame that is missing, damaged or too far from the timestamp; [`Error::Parquet`].
    pub fn at(&mut self, row: &Row) -> Result<Frame<'_>, Error> {
        match &mut self.kind {
            Kind::Images(images) => images.at(row.frame),
            #[cfg(feature = "video")]
            Kind::Video(video) => video.at(row.timestamp),
        }
    }
}
