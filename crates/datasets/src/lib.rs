//! LeRobot data sets, versions 2.1 and 3.0: metadata, columns of the parquet files, and the frames of the cameras.
//!
//! [`Dataset::open`] reads the metadata of a folder. [`Dataset::rows`] streams the rows of one episode, [`Dataset::frames`] the
//! frames of one camera at the rows' timestamps. Both read batch by batch and go forward only, so memory does not grow with the
//! length of an episode or of a file. [`Join`] finds the columns of a policy's keys.
//!
//! Cameras are stored as video (mp4 with AV1 or H.264; needs the feature `video`) or as PNG and JPEG images inside the parquet
//! files. The formats are described in docs/datasets.md.
//!
//! ```no_run
//! use std::path::Path;
//! use vla_datasets::{Dataset, Piece};
//!
//! let dataset = Dataset::open(Path::new("my_dataset"))?;
//! let state: Piece = "observation.state[0:7]".parse()?;
//! for row in dataset.rows(0, &[state])? {
//!     let row = row?;
//!     println!("{} s: {:?}, task {:?}", row.timestamp, row.values, dataset.task(row.task));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dataset;
mod episodes;
mod error;
mod frames;
mod images;
mod info;
mod join;
mod modality;
mod piece;
mod rows;
mod selection;
mod table;
mod tasks;
mod template;
#[cfg(feature = "video")]
mod video;
pub mod writer;

pub use dataset::{Dataset, Version};
pub use episodes::Episode;
pub use error::Error;
pub use frames::{ColorSpace, Frame, Frames};
pub use info::{Feature, Storage};
pub use join::{Assignment, Join, Joined, Key, PolicyKeys};
pub use piece::Piece;
pub use rows::{Row, Rows};
pub use selection::Selection;
