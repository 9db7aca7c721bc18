//! The recorded actions of a segment, for the rows of a chunk.

use super::layout::Layout;
use super::{ActionsFrom, Options};
use crate::Error;
use crate::commands::timeline::Timeline;
use crate::replay::source::{RecordedActions, Segment};
use vla_base::time::{Span, Stamp};
use vla_policy::observation::{Inputs, JointSample};

/// Time after the last row of a chunk at which a measured position is no longer waited for.
const LONGEST_WAIT: Span = Span::from_nanos(1_000_000_000);
/// Time of recorded actions that is kept at most while no chunk comes.
const LONGEST_TIMELINE: Span = Span::from_nanos(60_000_000_000);

/// The recorded actions of the segment so far.
pub(super) enum Recorded {
    /// Of a data set, all of the episode.
    Rows(RecordedActions),
    /// Commands of topics.
    Commands(Timeline),
    /// Positions of joint states.
    Measured(Measured),
}

/// Positions of joint states.
pub(super) struct Measured {
    timeline: Timeline,
    joints: JointSample,
    /// Column and last stamp of each joint of `joints`.
    columns: Vec<(Option<usize>, Stamp)>,
    checked: bool,
}

/// What the rows of one chunk are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Row of the data set that the observation is of; 0 of a bag.
    pub(super) frame: usize,
    /// Due time of row 0.
    pub(super) start: Stamp,
}

impl Recorded {
    /// Nothing yet, or all actions of an episode.
    ///
    /// # Errors
    /// Actions of a data set that are missing or have other columns than the chunks; columns that joint states do not give.
    pub(super) fn new(segment: &Segment<'_>, layout: &Layout, options: &Options) -> Result<Self, Error> {
        let refused = |reason: String| Error::RecordedActions { recording: options.source.path().to_owned(), reason };
        let timeline = |holds| Timeline::new(layout.columns.iter().map(|column| column.continuous), layout.step, holds);
        match &options.actions {
            ActionsFrom::Dataset => {
                let actions = segment.actions()?;
                let actions = actions.ok_or_else(|| refused("expected a data set, found a bag".to_owned()))?;
                if actions.columns != layout.width() {
                    let (expected, found) = (layout.width(), actions.columns);
                    return Err(refused(format!(
                        "expected actions of {expected} values, as the policy's chunks have, found {found}; record poses in the \
                         format that the policy gives"
                    )));
                }
                Ok(Self::Rows(actions))
            }
            ActionsFrom::Topics { .. } => Ok(Self::Commands(timeline(true))),
            ActionsFrom::JointStates => {
                let others = layout.columns.iter().filter(|column| !column.is_joint);
                let others: Vec<&str> = others.map(|column| column.name.as_str()).collect();
                if !others.is_empty() {
                    return Err(refused(format!(
                        "columns {} are no joints, so joint states do not give them; name a topic with recorded chunks \
                         (--actions-from)",
                        others.join(", ")
                    )));
                }
                let (joints, columns) = (JointSample::default(), Vec::new());
                Ok(Self::Measured(Measured { timeline: timeline(false), joints, columns, checked: false }))
            }
        }
    }

    /// The timeline of commands.
    pub(super) fn commands(&mut self) -> Option<&mut Timeline> {
        if let Self::Commands(timeline) = self { Some(timeline) } else { None }
    }

    /// Takes the positions that the inputs have received.
    pub(super) fn read_joints(&mut self, inputs: &Inputs, layout: &Layout) {
        let Self::Measured(Measured { timeline, joints, columns, .. }) = self else { return };
        if !inputs.read_joints(joints) {
            return;
        }
        if columns.len() != joints.joints.len() {
            let column = |joint: &String| layout.columns.iter().position(|column| column.name == *joint);
            *columns = joints.joints.iter().map(|joint| (column(joint), Stamp::default())).collect();
        }
        for ((column, last), reading) in columns.iter_mut().zip(&joints.readings) {
            if let (Some(column), Some(reading)) = (*column, reading)
                && reading.stamp != *last
            {
                timeline.push(column, reading.stamp, reading.position);
                *last = reading.stamp;
            }
        }
    }

    /// Whether nothing that comes after `now` changes the rows of a chunk.
    pub(super) fn knows(&self, wanted: Wanted, now: Stamp, layout: &Layout) -> bool {
        let last = wanted.start + layout.step.times(layout.rows as i64 - 1);
        // The clock was set back: what follows is of another time.
        let jumped = wanted.start > now + layout.step + LONGEST_WAIT;
        match self {
            _ if jumped => true,
            Self::Rows(_) => true,
            Self::Commands(_) => now > last + layout.step,
            Self::Measured(measured) => {
                now > last + LONGEST_WAIT || measured.timeline.covered().is_some_and(|covered| covered > last)
            }
        }
    }

    /// Every joint must have been measured once by the time of the first comparison.
    ///
    /// # Errors
    /// [`Error::RecordedActions`] naming those that were not.
    pub(super) fn check(&mut self, layout: &Layout, options: &Options) -> Result<(), Error> {
        let Self::Measured(Measured { timeline, checked, .. }) = self else { return Ok(()) };
        if std::mem::replace(checked, true) {
            return Ok(());
        }
        let missing = timeline.empty().filter_map(|column| layout.columns.get(column));
        let missing: Vec<&str> = missing.map(|column| column.name.as_str()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "expected joint states of {}, found none; name a topic with the recorded commands (--actions-from)",
            missing.join(", ")
        );
        Err(Error::RecordedActions { recording: options.source.path().to_owned(), reason })
    }

    /// Writes the recorded action of one row of a chunk; false when there is none. `end`: the last time of the recording.
    pub(super) fn row(&self, wanted: Wanted, row: usize, layout: &Layout, end: Stamp, out: &mut [f32]) -> bool {
        let timeline = match self {
            Self::Rows(actions) => {
                let from = (wanted.frame + row).saturating_mul(actions.columns);
                let Some(values) = actions.values.get(from..from + actions.columns) else { return false };
                out.copy_from_slice(values);
                return values.iter().all(|value| value.is_finite());
            }
            Self::Commands(timeline) => timeline,
            Self::Measured(measured) => &measured.timeline,
        };
        timeline.row(wanted.start + layout.step.times(row as i64), end, out)
    }

    /// Forgets what no chunk from `needed` on needs.
    pub(super) fn forget_before(&mut self, needed: Stamp, now: Stamp) {
        let longest = now + Span::from_nanos(-LONGEST_TIMELINE.nanos());
        match self {
            Self::Rows(_) => {}
            Self::Commands(timeline) | Self::Measured(Measured { timeline, .. }) => {
                timeline.forget_before(needed.max(longest));
            }
        }
    }
}
