//! The operator's enable switch (dead-man switch): the robot may move while true messages keep arriving.
//!
//! `std_msgs/Bool` has no stamp, so a message ages from its arrival. It is on the clock of everything else: a clock that is set back by less
//! than the allowed age makes a message last longer by as much, at most twice as long in all; one set back further ends it.

use super::violation::{Breach, Fault, Off};
use vla_base::time::{Span, Stamp};

/// State of the enable switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EnableSwitch {
    /// Messages received.
    pub received: u64,
    /// Value and arrival time of the last message.
    pub last: Option<(bool, Stamp)>,
}

impl EnableSwitch {
    /// Accepts a message that arrived at `received`.
    pub(super) fn offer(&mut self, on: bool, received: Stamp) {
        self.received += 1;
        self.last = Some((on, received));
    }

    /// Whether the robot may move at `now`; the breach when it may not.
    pub fn check(&self, now: Stamp, max_age: Span) -> Option<Breach> {
        let off = match self.last {
            None => Off::Never,
            Some((false, _)) => Off::Released,
            Some((true, received)) => {
                let age = received.age_at(now);
                if age <= max_age && received - now <= max_age {
                    return None;
                }
                Off::Old { age, max_age }
            }
        };
        Some(Breach::new("enable", Fault::Off(off)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn off(switch: &EnableSwitch, now: i64) -> Option<String> {
        switch.check(at(now), Span::from_millis(200.0)).map(|breach| breach.to_string())
    }

    #[test]
    fn only_messages_that_say_true_and_keep_coming_let_the_robot_move() {
        let mut switch = EnableSwitch::default();
        assert_eq!(off(&switch, 1000).as_deref(), Some("enable off (no message yet on inputs.enable.topic)"));
        switch.offer(true, at(1000));
        assert_eq!((off(&switch, 1000), off(&switch, 1200)), (None, None));
        let old = "enable off (the last message came 201.0 ms ago, at most 200.0 ms)";
        assert_eq!(off(&switch, 1201).as_deref(), Some(old));
        switch.offer(false, at(1300));
        let released = "enable off (the last message on inputs.enable.topic is false)";
        assert_eq!(off(&switch, 1300).as_deref(), Some(released));
        switch.offer(true, at(1400));
        assert_eq!(off(&switch, 1410), None);
    }

    #[test]
    fn a_clock_set_back_does_not_make_a_message_last() {
        let mut switch = EnableSwitch::default();
        switch.offer(true, at(100_000));
        assert_eq!(off(&switch, 99_990), None, "another thread read the clock first");
        assert!(off(&switch, 50_000).is_some());
    }
}
