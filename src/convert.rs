//! Our values as fields of ROS messages.

use r2r::builtin_interfaces::msg::Time;

use vla_base::time::Stamp;

/// `builtin_interfaces/Time`.
pub(crate) fn time(stamp: Stamp) -> Time {
    let (sec, nanosec) = stamp.parts();
    Time { sec, nanosec }
}

/// `text` without NUL characters: a string field ends at the first one, and r2r panics over it.
pub(crate) fn clean(text: impl Into<String>) -> String {
    let text = text.into();
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_does_not_reach_r2r() {
        assert_eq!(clean("pick\0 the cup"), "pick\u{fffd} the cup");
        assert_eq!(clean("pick the cup"), "pick the cup");
    }
}
