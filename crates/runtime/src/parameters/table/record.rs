//! Parameters of recordings.

use super::{Allowed, Param};
use vla_base::time::Span;

/// One PB, beyond any disk of a robot.
const MOST_BYTES: i64 = 1_000_000_000_000_000;

pub(crate) const PATH: Param<String> = Param::text(
    "record.path",
    "",
    Allowed::Any,
    "Folder for recordings, absolute or relative to the working directory: the inputs as they come, chunks and motion, as MCAP bags that \
     `vla-trt replay` reads. Empty: nothing is recorded.",
)
.fixed();

pub(crate) const MAX_BYTES: Param<u64> = Param::integer(
    "record.max_bytes",
    20_000_000_000,
    (1_000_000, MOST_BYTES),
    "Greatest size of all recordings of this node in record.path, in bytes. Above it the oldest recordings are removed, then the oldest \
     files of the running one.",
)
.fixed();

pub(crate) const MAX_FILE_BYTES: Param<u64> = Param::integer(
    "record.max_file_bytes",
    1_000_000_000,
    (100_000, MOST_BYTES),
    "Size after which a recording goes on in a new file, in bytes. At most half of record.max_bytes.",
)
.fixed();

pub(crate) const MAX_FILE: Param<Span> = Param::seconds(
    "record.max_file_s",
    600.0,
    (1.0, 86_400.0),
    "Time after which a recording goes on in a new file, in s of ROS time.",
)
.fixed();

pub(crate) const QUEUE_BYTES: Param<usize> = Param::integer(
    "record.queue_bytes",
    64 << 20,
    (1 << 20, 1 << 34),
    "Messages that may wait for the disk, in bytes. Messages beyond it are not recorded, and counted in the diagnostics.",
)
.fixed();
