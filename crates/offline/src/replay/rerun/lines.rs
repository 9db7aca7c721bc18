//! Values over time: one entity for each joint.

use std::collections::BTreeMap;
use std::iter;

use re_chunk::{Chunk, ChunkId, TimeColumn, TimePoint};
use re_log_types::{EntityPath, EntityPathPart};
use re_sdk_types::archetypes::{Scalars, SeriesPoints};

use super::file::{RrdStream, TIMELINE};
use crate::Error;
use vla_base::time::Stamp;

/// Values of one joint that are written together.
const BATCH: usize = 4096;

/// How the viewer draws values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// Joined by a line.
    Line,
    /// Single points: rows of successive chunks are due at the same times, and a line would jump between them.
    Points,
}

/// The joints of one kind.
pub(super) struct Lines {
    kind: &'static str,
    style: Style,
    lines: BTreeMap<String, Line>,
}

/// Times in ns, and values.
#[derive(Default)]
struct Line(Vec<(i64, f64)>);

impl Lines {
    pub(super) const fn new(kind: &'static str, style: Style) -> Self {
        Self { kind, style, lines: BTreeMap::new() }
    }

    /// Adds the value of a joint. Values that are not finite are left out.
    pub(super) fn push(&mut self, file: &mut RrdStream, joint: &str, at: Stamp, value: f64) -> Result<(), Error> {
        if !value.is_finite() {
            return Ok(());
        }
        if !self.lines.contains_key(joint) {
            self.lines.insert(joint.to_owned(), Line::default());
            if self.style == Style::Points {
                let points = SeriesPoints::new().with_marker_sizes([1.5_f32]);
                let entity = Chunk::builder(entity(self.kind, joint));
                file.write(entity.with_archetype_auto_row(TimePoint::STATIC, &points))?;
            }
        }
        let Some(line) = self.lines.get_mut(joint) else { return Ok(()) };
        line.0.push((at.nanos(), value));
        if line.0.len() >= BATCH { line.write(file, entity(self.kind, joint)) } else { Ok(()) }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self, file: &mut RrdStream) -> Result<(), Error> {
        let kind = self.kind;
        self.lines.iter_mut().try_for_each(|(joint, line)| line.write(file, entity(kind, joint)))
    }
}

impl Line {
    fn write(&mut self, file: &mut RrdStream, entity: EntityPath) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        // As Rerun wants them; rows of one time stay in their order.
        self.0.sort_by_key(|(time, _)| *time);
        let (times, values): (Vec<_>, Vec<_>) = self.0.drain(..).unzip();
        let times = TimeColumn::new_timestamp_nanos_since_epoch(TIMELINE, times);
        let columns = Scalars::new(values).columns_of_unit_batches().map_err(file.failed())?;
        let components = columns.map(|column| (column.descriptor, column.list_array)).collect();
        let timelines = iter::once((*times.timeline().name(), times)).collect();
        let chunk = Chunk::from_auto_row_ids(ChunkId::new(), entity, timelines, components).map_err(file.failed())?;
        file.write_chunk(&chunk)
    }
}

/// `joints/<kind>/<joint>`.
fn entity(kind: &str, joint: &str) -> EntityPath {
    EntityPath::new(vec![EntityPathPart::new("joints"), EntityPathPart::new(kind), EntityPathPart::new(joint)])
}
