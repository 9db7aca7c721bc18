//! Which stamps of one stream are followed: the freshest wins, late deliveries are dropped, and a source whose own
//! clock was set back is followed again.

use vla_base::time::Stamp;

/// Consecutive samples, each older than the held one but newer than the one before, after which the source's own
/// clock is taken to have been set back (driver restart) and its new stamps are followed. Fewer are late deliveries.
pub(super) const RESTART_AFTER: u32 = 5;

/// What a stamp is to the one that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// Newer, or the first: the sample is to be held.
    Newer,
    /// Older, but the source's clock was set back: the sample is to be held.
    Restarted,
    /// The held stamp again.
    Repeat,
    /// A late delivery.
    Older,
}

/// The stamps of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Order {
    held: Option<Stamp>,
    /// Samples since the held one that carried its stamp.
    repeats: u64,
    /// Length and newest stamp of the current run of older samples.
    older: (u32, Stamp),
}

impl Order {
    /// Takes note of a stamp.
    pub(crate) fn arrive(&mut self, stamp: Stamp) -> Arrival {
        let arrival = match self.held {
            Some(held) if stamp == held => {
                self.repeats += 1;
                self.older = Default::default();
                return Arrival::Repeat;
            }
            Some(held) if stamp < held => {
                let (run, newest) = self.older;
                self.older = (if run > 0 && stamp > newest { run + 1 } else { 1 }, stamp);
                if self.older.0 < RESTART_AFTER {
                    return Arrival::Older;
                }
                Arrival::Restarted
            }
            _ => Arrival::Newer,
        };
        *self = Self { held: Some(stamp), ..Self::default() };
        arrival
    }

    /// The stamp that is held.
    pub(crate) fn held(&self) -> Option<Stamp> {
        self.held
    }

    /// Samples since the held one that carried its stamp.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }
}
