//! When the policy is run: at the start of a segment, and each time the used rows of the last chunk are over.

use std::collections::VecDeque;

use super::layout::Layout;
use crate::replay::ticks::Ticks;
use vla_base::time::Stamp;

/// Inference times of one segment.
pub(super) enum Schedule {
    /// Of a bag, by its clock: even distances from the time when every input had come.
    Clock {
        /// The times.
        ticks: Ticks,
        /// Inferences so far.
        count: usize,
    },
    /// Of a data set: at rows 0, `used`, 2 `used`, ... of the episode.
    Rows {
        /// Rows between two inferences.
        used: usize,
        /// Rows so far, and the time of the last.
        rows: usize,
        last: Option<Stamp>,
        /// Rows that are complete and have an inference.
        due: VecDeque<Due>,
    },
}

/// One inference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) now: Stamp,
    /// Row of the data set; of a bag, control steps since the first inference.
    pub(super) frame: usize,
}

impl Schedule {
    pub(super) fn of_clock(layout: &Layout) -> Self {
        let rate_hz = 1.0 / (layout.step.seconds() * layout.used as f64);
        Self::Clock { ticks: Ticks::new(rate_hz), count: 0 }
    }

    pub(super) fn of_rows(layout: &Layout) -> Self {
        Self::Rows { used: layout.used, rows: 0, last: None, due: VecDeque::new() }
    }

    /// The next inference before a message of this time, then the next one, until there is none.
    pub(super) fn next_before(&mut self, message: Stamp, layout: &Layout) -> Option<Due> {
        match self {
            Self::Clock { ticks, count } => ticks.next_before(message).map(|now| clock_due(now, count, layout)),
            Self::Rows { rows, last, due, used } => {
                if last.is_some_and(|last| last != message) {
                    complete(rows, last, due, *used);
                }
                due.pop_front()
            }
        }
    }

    /// A message has come.
    pub(super) fn message(&mut self, time: Stamp, stamped: bool) {
        match self {
            Self::Clock { ticks, .. } => ticks.message(time, stamped),
            Self::Rows { last, .. } => *last = Some(time),
        }
    }

    /// Whether the first inference waits for inputs that have not come.
    pub(super) fn waits_for_inputs(&self) -> bool {
        if let Self::Clock { ticks, .. } = self { ticks.waits_for_inputs() } else { false }
    }

    /// Every input has had a message by now.
    pub(super) fn complete(&mut self, now: Stamp) {
        if let Self::Clock { ticks, .. } = self {
            ticks.complete(now);
        }
    }

    /// The last inference, when it is due by the end.
    pub(super) fn last_by(&mut self, end: Stamp, layout: &Layout) -> Option<Due> {
        match self {
            Self::Clock { ticks, count } => ticks.last_by(end).map(|now| clock_due(now, count, layout)),
            Self::Rows { rows, last, due, used } => {
                complete(rows, last, due, *used);
                due.pop_front()
            }
        }
    }
}

fn clock_due(now: Stamp, count: &mut usize, layout: &Layout) -> Due {
    let frame = *count * layout.used;
    *count += 1;
    Due { now, frame }
}

/// The row of the last messages is complete.
fn complete(rows: &mut usize, last: &mut Option<Stamp>, due: &mut VecDeque<Due>, used: usize) {
    if let Some(now) = last.take() {
        if rows.is_multiple_of(used.max(1)) {
            due.push_back(Due { now, frame: *rows });
        }
        *rows += 1;
    }
}
