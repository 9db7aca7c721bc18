//! The file: Rerun's chunks (rows of one entity), written one after the other and put in place as a whole.

use std::path::{Path, PathBuf};

use re_chunk::{Chunk, ChunkBuilder, RowId, TimePoint};
use re_log_encoding::{CrateVersion, Encoder, EncodingOptions};
use re_log_types::{EntityPath, LogMsg, SetStoreInfo, StoreId, StoreInfo, StoreKind, StoreSource, TimeCell};
use re_sdk_types::archetypes::RecordingInfo;

use crate::Error;
use vla_base::sys::fs::Replacement;
use vla_base::time::Stamp;

/// The timeline of everything: the replay's clock, as ROS time.
pub(super) const TIMELINE: &str = "time";

/// A time on the timeline.
pub(super) fn time_point(at: Stamp) -> TimePoint {
    TimePoint::from([(TIMELINE, TimeCell::from_timestamp_nanos_since_epoch(at.nanos()))])
}

/// An open file. It replaces an earlier one when it is finished, and is deleted when dropped before.
pub(super) struct RrdStream {
    encoder: Encoder<Replacement>,
    store: StoreId,
    path: PathBuf,
}

impl RrdStream {
    /// Starts a file with a recording that the viewer shows as `name`. Its identity is new, because the viewer joins recordings of
    /// the same identity.
    pub(super) fn create(path: &Path, name: &str) -> Result<Self, Error> {
        let target = Replacement::create(path).map_err(vla_recorder::Error::from)?;
        let store = StoreId::random(StoreKind::Recording, "vla_trt");
        let info = StoreInfo::new(store.clone(), StoreSource::Other("vla-trt replay".to_owned()));
        let version = info.store_version.unwrap_or_else(|| CrateVersion::new(0, 34, 0));
        let encoder =
            Encoder::new_eager(version, EncodingOptions::PROTOBUF_COMPRESSED, target).map_err(failed(path))?;
        let mut file = Self { encoder, store, path: path.to_owned() };
        file.append(&LogMsg::SetStoreInfo(SetStoreInfo { row_id: *RowId::new(), info }))?;
        let info = RecordingInfo::new().with_name(name);
        file.write(Chunk::builder(EntityPath::properties()).with_archetype_auto_row(TimePoint::STATIC, &info))?;
        Ok(file)
    }

    /// Appends the rows of one entity.
    pub(super) fn write(&mut self, rows: ChunkBuilder) -> Result<(), Error> {
        let chunk = rows.build().map_err(failed(&self.path))?;
        self.write_chunk(&chunk)
    }

    /// As [`Self::write`].
    pub(super) fn write_chunk(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let message = chunk.to_arrow_msg().map_err(failed(&self.path))?;
        self.append(&LogMsg::ArrowMsg(self.store.clone(), message))
    }

    fn append(&mut self, message: &LogMsg) -> Result<(), Error> {
        self.encoder.append(message).map_err(failed(&self.path))?;
        Ok(())
    }

    /// The error of this file.
    pub(super) fn failed<E: std::fmt::Display>(&self) -> impl FnOnce(E) -> Error {
        failed(&self.path)
    }

    /// Writes the index, and puts the file in place.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Self { mut encoder, store: _, path } = self;
        encoder.finish().map_err(failed(&path))?;
        let target = encoder.into_inner().map_err(failed(&path))?;
        Ok(target.commit().map_err(vla_recorder::Error::from)?)
    }
}

fn failed<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |error| Error::Rerun { path, reason: error.to_string() }
}
