//! Why an observation was refused, breach by breach.

use std::fmt;
use std::sync::Arc;

use super::spec::{OnViolation, Rules};
use crate::time::{Span, Stamp};

/// What is wrong with one input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No usable message since the start, or since the clock went back.
    Missing,
    /// No instruction was given, by parameter or topic.
    NoInstruction,
    /// The operator's enable switch does not let the robot move.
    Off(Off),
    /// The freshest sample is too old, and nothing newer came.
    Stale {
        /// Its age by header stamp.
        age: Span,
        /// Oldest age allowed.
        max_age: Span,
    },
    /// Messages arrive but their stamp does not advance, and it is too old: a camera that repeats its last frame.
    Frozen {
        /// Age by header stamp.
        age: Span,
        /// Oldest age allowed.
        max_age: Span,
        /// Messages with this same stamp since the first.
        repeats: u64,
    },
    /// The last message's stamp lies ahead of now, so it is not trusted: the clock of its source is wrong, or with
    /// `use_sim_time` nobody publishes /clock.
    Future {
        /// How far ahead of now.
        ahead: Span,
        /// How far it may be.
        tolerance: Span,
    },
    /// The stamp lies too far behind (or, for an optional input, away from) that of another required input.
    Skewed {
        /// Distance to the farthest required input's stamp.
        skew: Span,
        /// Largest distance allowed.
        max_skew: Span,
    },
    /// ROS time went back. Reported once; samples of the old run are gone.
    ClockWentBack {
        /// How far.
        back: Span,
        /// How far it may step back unnoticed.
        tolerance: Span,
    },
}

/// Why the enable switch (`inputs.enable.topic`) does not let the robot move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Off {
    /// No message since the start.
    Never,
    /// The last message says false.
    Released,
    /// The last message says true, but it came too long ago.
    Old {
        /// Time since its arrival.
        age: Span,
        /// Longest time allowed.
        max_age: Span,
    },
}

/// One broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// Input, or `clock`.
    pub input: Arc<str>,
    /// What is wrong.
    pub fault: Fault,
    /// Why messages newer than the sample in question were refused, when they were.
    pub refusal: Option<Arc<str>>,
}

impl Breach {
    /// The bound that was broken; `None` where there is none (missing).
    pub fn expected(&self) -> Option<Span> {
        match self.fault {
            Fault::Missing | Fault::NoInstruction | Fault::Off(Off::Never | Off::Released) => None,
            Fault::Off(Off::Old { max_age, .. }) => Some(max_age),
            Fault::Stale { max_age, .. } | Fault::Frozen { max_age, .. } => Some(max_age),
            Fault::Future { tolerance, .. } | Fault::ClockWentBack { tolerance, .. } => Some(tolerance),
            Fault::Skewed { max_skew, .. } => Some(max_skew),
        }
    }

    /// What was found in its place; `None` where nothing was (missing).
    pub fn found(&self) -> Option<Span> {
        match self.fault {
            Fault::Missing | Fault::NoInstruction | Fault::Off(Off::Never | Off::Released) => None,
            Fault::Off(Off::Old { age, .. }) => Some(age),
            Fault::Stale { age, .. } | Fault::Frozen { age, .. } => Some(age),
            Fault::Future { ahead, .. } => Some(ahead),
            Fault::Skewed { skew, .. } => Some(skew),
            Fault::ClockWentBack { back, .. } => Some(back),
        }
    }

    /// The word that names the fault in diagnostics and reports.
    pub const fn word(&self) -> &'static str {
        match self.fault {
            Fault::Missing | Fault::NoInstruction => "missing",
            Fault::Off(_) => "off",
            Fault::Stale { .. } => "stale",
            Fault::Frozen { .. } => "frozen",
            Fault::Future { .. } => "future",
            Fault::Skewed { .. } => "skewed",
            Fault::ClockWentBack { .. } => "went back",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.input, self.word())
            .and_then(|()| match self.fault {
                Fault::Missing => write!(f, " (no usable message yet)"),
                Fault::NoInstruction => {
                    write!(f, " (set the parameter `instruction`, or publish it on inputs.instruction.topic)")
                }
                Fault::Off(Off::Never) => write!(f, " (no message yet on inputs.enable.topic)"),
                Fault::Off(Off::Released) => write!(f, " (the last message on inputs.enable.topic is false)"),
                Fault::Off(Off::Old { age, max_age }) => {
                    write!(f, " (the last message came {} ago, at most {})", Ms(age), Ms(max_age))
                }
                Fault::Stale { age, max_age } => write!(f, " ({} old, at most {})", Ms(age), Ms(max_age)),
                Fault::Frozen { age, max_age, repeats } => {
                    write!(f, " ({repeats} repeats of a stamp {} old, at most {})", Ms(age), Ms(max_age))
                }
                Fault::Future { ahead, tolerance } => {
                    write!(f, " (stamp {} ahead of now, at most {})", Ms(ahead), Ms(tolerance))
                }
                Fault::Skewed { skew, max_skew } => write!(f, " ({} apart, at most {})", Ms(skew), Ms(max_skew)),
                Fault::ClockWentBack { back, tolerance } => write!(f, " (by {}, at most {})", Ms(back), Ms(tolerance)),
            })
            .and_then(|()| match &self.refusal {
                Some(reason) => write!(f, " [last message refused: {reason}]"),
                None => Ok(()),
            })
    }
}

/// Every rule that an observation broke. Displays as one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{}", Joined(.breaches), no_clock(*.at))]
pub struct Violation {
    /// ROS time at which the observation was asked for.
    pub at: Stamp,
    /// Never empty: first the clock's, then in the order of the inputs.
    pub breaches: Vec<Breach>,
}

impl Violation {
    /// What the rules ask for: the settings' action, and a stop whatever they say where the operator does not let the robot move.
    pub fn action(&self, rules: &Rules) -> OnViolation {
        let off = self.breaches.iter().any(|breach| matches!(breach.fault, Fault::Off(_)));
        if off { OnViolation::Stop } else { rules.on_violation }
    }

    /// Whether an input has not come yet, or the operator has not enabled the robot: before the first motion that is no fault. One that
    /// came and could not be used is.
    pub fn is_of_start(&self) -> bool {
        let not_here = |fault| matches!(fault, Fault::Missing | Fault::NoInstruction | Fault::Off(_));
        let unusable = |breach: &Breach| breach.refusal.is_some() || matches!(breach.fault, Fault::Future { .. });
        self.breaches.iter().any(|breach| not_here(breach.fault)) && !self.breaches.iter().any(unusable)
    }

    /// Whether nothing is wrong but the operator's enable switch.
    pub fn is_of_switch(&self) -> bool {
        self.breaches.iter().all(|breach| matches!(breach.fault, Fault::Off(_)))
    }
}

/// Simulated time that nobody publishes stays at zero.
fn no_clock(at: Stamp) -> &'static str {
    if at == Stamp::default() { "; ROS time is zero: with use_sim_time something must publish /clock" } else { "" }
}

struct Joined<'a>(&'a [Breach]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, breach) in self.0.iter().enumerate() {
            write!(f, "{}{breach}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

struct Ms(Span);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_every_breach_with_expected_and_found_on_one_line() {
        let ms = |ms| Span::from_millis(ms);
        let breach = |input: &str, fault| Breach { input: input.into(), fault, refusal: None };
        let mut joints = breach("joints", Fault::Missing);
        joints.refusal = Some("no joints".into());
        let violation = Violation {
            at: Stamp::from_nanos(1),
            breaches: vec![
                breach("top", Fault::Frozen { age: ms(350.0), max_age: ms(100.0), repeats: 7 }),
                breach("left_wrist", Fault::Future { ahead: ms(2000.0), tolerance: ms(20.0) }),
                joints,
            ],
        };
        assert_eq!(
            violation.to_string(),
            "top frozen (7 repeats of a stamp 350.0 ms old, at most 100.0 ms); \
             left_wrist future (stamp 2000.0 ms ahead of now, at most 20.0 ms); \
             joints missing (no usable message yet) [last message refused: no joints]"
        );
        let unset = Violation { at: Stamp::default(), ..violation.clone() };
        assert!(unset.to_string().ends_with("something must publish /clock"));
        assert_eq!(violation.breaches[0].expected(), Some(ms(100.0)));
        assert_eq!(violation.breaches[0].found(), Some(ms(350.0)));
    }
}
