//! Why an observation was refused, breach by breach.

use std::fmt;
use std::sync::Arc;

use super::spec::{OnViolation, Rules};
use vla_base::time::{Span, Stamp};

/// What is wrong with one input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No usable message since the start, or since the clock went back.
    Missing,
    /// No chain of transforms joins the two frames of a pose.
    Disconnected,
    /// No instruction was given, by parameter or topic.
    NoInstruction,
    /// The operator's enable switch does not let the robot move.
    Off(Off),
    /// Messages have ceased to arrive.
    Stopped {
        /// Age of the last sample by header stamp.
        age: Span,
        /// The bound that it broke: the oldest age allowed, or the greatest distance between inputs.
        limit: Span,
    },
    /// Messages arrive, but their samples are too old already.
    Stale {
        /// Age of the freshest by header stamp.
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
    /// Frames arrive under fresh stamps and are all the same, bit by bit: a camera that is stuck. Or joint states are, while the plan
    /// moves the joints.
    Stuck {
        /// Since when, by header stamp.
        same: Span,
        /// How long is allowed.
        stuck_after: Span,
        /// Frames after the first that were the same.
        repeats: u64,
    },
    /// The last message's stamp lies ahead of now, so it is not trusted: the clock of its source is wrong, or with
    /// `use_sim_time` /clock is not published.
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
    /// The camera's frames do not reach back to a time of which the policy reads one, or have a gap there.
    NoHistory {
        /// How long before the newest frame.
        before: Span,
        /// Distance of the nearest frame from that time; `None` where there is no earlier frame.
        distance: Option<Span>,
        /// How far it may be.
        tolerance: Span,
    },
    /// ROS time went back. Reported once; samples of the old run are gone.
    ClockWentBack {
        /// How far.
        back: Span,
        /// How far it may step back unnoticed.
        tolerance: Span,
    },
    /// A joint comes on two topics, and no parameter says which one counts.
    TwoTopics,
    /// The input does not reach back to the time that the observation asks for.
    ShortHistory {
        /// Time before now that the observation asks for.
        asked: Span,
        /// Time before now of the oldest sample.
        reach: Span,
    },
    /// The samples around the time that the observation asks for are too far apart, or the newest is too far before it.
    Gap {
        /// Distance of the samples.
        gap: Span,
        /// Largest distance allowed: the input's `max_age_ms`.
        max_gap: Span,
        /// Time before now that the observation asks for.
        before: Span,
    },
    /// The position of a joint that is not continuous changed by about a turn between two samples.
    TurnJump,
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
    /// What one of its messages is called: frame, joint state, pose.
    pub sample: &'static str,
    /// What is wrong.
    pub fault: Fault,
    /// The joints that it is about, when it is about some of them.
    pub detail: Option<Arc<str>>,
    /// Why messages newer than the sample in question were refused, when they were.
    pub refusal: Option<Arc<str>>,
}

impl Breach {
    /// A breach that is not about single samples.
    pub fn new(input: &str, fault: Fault) -> Self {
        Self { input: input.into(), sample: "message", fault, detail: None, refusal: None }
    }

    /// The bound that was broken; `None` where there is none (missing).
    pub fn expected(&self) -> Option<Span> {
        match self.fault {
            Fault::Missing | Fault::Disconnected | Fault::NoInstruction | Fault::TurnJump | Fault::TwoTopics => None,
            Fault::Off(Off::Never | Off::Released) => None,
            Fault::ShortHistory { asked, .. } => Some(asked),
            Fault::Gap { max_gap, .. } => Some(max_gap),
            Fault::Off(Off::Old { max_age, .. }) => Some(max_age),
            Fault::Stopped { limit, .. } => Some(limit),
            Fault::Stale { max_age, .. } | Fault::Frozen { max_age, .. } => Some(max_age),
            Fault::Stuck { stuck_after, .. } => Some(stuck_after),
            Fault::Future { tolerance, .. } | Fault::ClockWentBack { tolerance, .. } => Some(tolerance),
            Fault::Skewed { max_skew, .. } => Some(max_skew),
            Fault::NoHistory { tolerance, .. } => Some(tolerance),
        }
    }

    /// What was found in its place; `None` where nothing was (missing).
    pub fn found(&self) -> Option<Span> {
        match self.fault {
            Fault::Missing | Fault::Disconnected | Fault::NoInstruction | Fault::TurnJump | Fault::TwoTopics => None,
            Fault::Off(Off::Never | Off::Released) => None,
            Fault::ShortHistory { reach, .. } => Some(reach),
            Fault::Gap { gap, .. } => Some(gap),
            Fault::Off(Off::Old { age, .. }) => Some(age),
            Fault::Stopped { age, .. } | Fault::Stale { age, .. } | Fault::Frozen { age, .. } => Some(age),
            Fault::Stuck { same, .. } => Some(same),
            Fault::Future { ahead, .. } => Some(ahead),
            Fault::Skewed { skew, .. } => Some(skew),
            Fault::ClockWentBack { back, .. } => Some(back),
            Fault::NoHistory { distance, .. } => distance,
        }
    }

    /// The word that names the fault in diagnostics and reports.
    pub const fn word(&self) -> &'static str {
        match self.fault {
            Fault::Missing | Fault::NoInstruction => "missing",
            Fault::Disconnected => "disconnected",
            Fault::Off(_) => "off",
            Fault::Stopped { .. } => "stopped",
            Fault::Stale { .. } => "stale",
            Fault::Stuck { .. } => "stuck",
            Fault::Frozen { .. } => "frozen",
            Fault::Future { .. } => "future",
            Fault::Skewed { .. } => "skewed",
            Fault::NoHistory { .. } => "without history",
            Fault::ClockWentBack { .. } => "went back",
            Fault::TwoTopics => "ambiguous",
            Fault::ShortHistory { .. } => "short",
            Fault::Gap { .. } => "gap",
            Fault::TurnJump => "jumped",
        }
    }
}

impl Breach {
    /// Nothing came yet: what to do about it depends on the input.
    fn write_missing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sample, &self.detail) {
            ("transform", Some(reason)) => write!(
                f,
                ": {reason}; publish it on inputs.tf.topic or inputs.tf.static_topic, or set inputs.poses.{0}.frame_id and \
                 inputs.poses.{0}.child_frame_id to frames of the robot",
                self.input
            ),
            (_, Some(joints)) => write!(
                f,
                ": no position of {joints}; publish them there, set inputs.joints.topics to the topics that have them, or set \
                 state.<key>.joints to the names that the robot publishes"
            ),
            (_, None) => f.write_str(" (no usable message yet)"),
        }
    }

    fn write_fault(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, sample, .. } = self;
        match self.fault {
            Fault::Missing | Fault::Disconnected => self.write_missing(f),
            Fault::NoInstruction => f.write_str(
                ": set the parameter `instruction`, or publish a std_msgs/String on inputs.instruction.topic",
            ),
            Fault::Off(Off::Never) => write!(f, " (no message yet on inputs.enable.topic)"),
            Fault::Off(Off::Released) => write!(f, " (the last message on inputs.enable.topic is false)"),
            Fault::Off(Off::Old { age, max_age }) => {
                write!(f, " (the last message came {} ago, at most {})", Ms(age), Ms(max_age))
            }
            Fault::TwoTopics => self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}")),
            Fault::ShortHistory { asked, reach } => {
                write!(f, " (its history reaches back {}, the observation asks for {} ago", Ms(reach), Ms(asked))?;
                self.detail.as_ref().map_or(Ok(()), |joints| write!(f, " of {joints}"))?;
                f.write_str(")")
            }
            Fault::Gap { gap, max_gap, before } => {
                write!(
                    f,
                    " ({} between samples around {} ago, at most {} (max_age_ms)",
                    Ms(gap),
                    Ms(before),
                    Ms(max_gap)
                )?;
                self.detail.as_ref().map_or(Ok(()), |joints| write!(f, ", of {joints}"))?;
                f.write_str(")")
            }
            Fault::TurnJump => self.detail.as_ref().map_or(Ok(()), |jump| write!(f, ": {jump}")),
            Fault::Stopped { age, limit } => {
                write!(f, ": no {sample} for {:.0} ms (at most {:.0} ms)", age.millis(), limit.millis())?;
                self.detail.as_ref().map_or(Ok(()), |joints| write!(f, " of {joints}"))
            }
            Fault::Stale { age, max_age } => {
                write!(f, " ({} old, at most {})", Ms(age), Ms(max_age))?;
                self.detail.as_ref().map_or(Ok(()), |joints| write!(f, " of {joints}"))
            }
            Fault::Frozen { age, max_age, repeats } => {
                write!(f, " ({repeats} repeats of a stamp {} old, at most {})", Ms(age), Ms(max_age))
            }
            Fault::Stuck { same, stuck_after, .. } if self.detail.is_some() => write!(
                f,
                ": the position of {} has been the same, bit by bit, for {:.0} ms while the plan moves it (at most {:.0} ms, \
                 inputs.joints.stuck_after_ms), and so has all that its driver sends: restart the driver, or move the arm by hand a little",
                self.detail.as_deref().unwrap_or_default(),
                same.millis(),
                stuck_after.millis()
            ),
            Fault::Stuck { same, stuck_after, repeats } => write!(
                f,
                ": {} frames in a row are the same, bit by bit, for {:.0} ms (at most {:.0} ms, \
                 inputs.cameras.{input}.stuck_after_ms): restart the camera",
                repeats + 1,
                same.millis(),
                stuck_after.millis()
            ),
            Fault::Future { ahead, tolerance } => write!(
                f,
                " (stamp {} ahead of now, at most {}, inputs.future_tolerance_ms): synchronise the clocks of the sender and \
                 this machine, or raise the tolerance",
                Ms(ahead),
                Ms(tolerance)
            ),
            Fault::Skewed { skew, max_skew } => write!(f, " ({} apart, at most {})", Ms(skew), Ms(max_skew)),
            Fault::NoHistory { before, distance, tolerance } => {
                let before = before.millis();
                write!(f, ": the policy reads a frame {before:.0} ms before the newest, ")?;
                match distance {
                    Some(nearest) => write!(f, "the nearest is {} from it (at most {})", Ms(nearest), Ms(tolerance)),
                    None => write!(f, "there is none before the newest (at most {} from that time)", Ms(tolerance)),
                }
            }
            Fault::ClockWentBack { back, tolerance } => write!(f, " (by {}, at most {})", Ms(back), Ms(tolerance)),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.input, self.word())?;
        self.write_fault(f)?;
        match &self.refusal {
            Some(reason) => write!(f, " [last message refused: {reason}]"),
            None => Ok(()),
        }
    }
}

/// Every rule that an observation broke. Displays as one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{}", Joined(.breaches), no_clock(*.at))]
pub struct Violation {
    /// ROS time at which the observation was asked for.
    pub at: Stamp,
    /// Never empty: first the clock's, then in the order of the inputs, those that are only out of step last.
    pub breaches: Vec<Breach>,
}

impl Violation {
    /// What the rules ask for: the settings' action, but a stop whatever they say where the operator does not let the robot move, and
    /// a hold at least where a joint is not where the plan has it.
    pub fn action(&self, rules: &Rules) -> OnViolation {
        let any = |is: fn(&Fault) -> bool| self.breaches.iter().any(|breach| is(&breach.fault));
        match rules.on_violation {
            _ if any(|fault| matches!(fault, Fault::Off(_))) => OnViolation::Stop,
            OnViolation::Skip if any(|fault| *fault == Fault::TurnJump) => OnViolation::Hold,
            action => action,
        }
    }

    /// Whether an input or a part of its history has not come yet, or the operator has not enabled the robot: before the first motion
    /// that is no fault. One that came and could not be used is.
    pub fn is_of_start(&self) -> bool {
        let not_here = |fault| {
            let absent = matches!(fault, Fault::Missing | Fault::Disconnected | Fault::NoInstruction | Fault::Off(_));
            absent || matches!(fault, Fault::NoHistory { .. } | Fault::ShortHistory { .. })
        };
        let unusable = |breach: &Breach| breach.refusal.is_some() || matches!(breach.fault, Fault::Future { .. });
        self.breaches.iter().any(|breach| not_here(breach.fault)) && !self.breaches.iter().any(unusable)
    }

    /// Whether nothing is wrong but the operator's enable switch.
    pub fn is_of_switch(&self) -> bool {
        self.breaches.iter().all(|breach| matches!(breach.fault, Fault::Off(_)))
    }
}

/// Simulated time is zero until /clock is published.
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
        let breach = Breach::new;
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
             left_wrist future (stamp 2000.0 ms ahead of now, at most 20.0 ms, inputs.future_tolerance_ms): synchronise the \
             clocks of the sender and this machine, or raise the tolerance; \
             joints missing (no usable message yet) [last message refused: no joints]"
        );
        let unset = Violation { at: Stamp::default(), ..violation.clone() };
        assert!(unset.to_string().ends_with("something must publish /clock"));
        assert_eq!(violation.breaches[0].expected(), Some(ms(100.0)));
        assert_eq!(violation.breaches[0].found(), Some(ms(350.0)));
    }
}
