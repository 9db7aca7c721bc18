//! MCAP bags, written.
//!
//! [`BagWriter`] writes one file that `ros2 bag`, Foxglove and the Python readers open. [`Recording`] is a bag of many files that
//! grows beside a running robot: files rotate by size and duration, the oldest are removed above a total size, and each can be read
//! without the others, also after the process was killed. [`Recorder`] puts a thread and a bounded queue before it: who gives it a
//! message never waits and allocates nothing.
//!
//! Reading is `vla_bags`' part. This crate is small, so that the node links neither SQLite nor a parser of metadata.yaml.

mod error;
mod folder;
mod metadata;
mod recorder;
mod recording;
mod writer;

pub use error::Error;
pub use recorder::{OutputRecorder, Recorder, RecorderThread, Status};
pub use recording::{Options, RecordedTopic, Recording};
pub use writer::{BagWriter, Qos, TopicId};
