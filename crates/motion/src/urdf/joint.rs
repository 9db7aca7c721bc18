//! One joint of a robot description, and the limits that follow from it for a joint that is moved.
//!
//! The specification (<https://wiki.ros.org/urdf/XML/joint>): `<limit>` is required for revolute and prismatic joints, `lower`
//! and `upper` are 0 where they are left out. Exporters write zeros for limits that they do not know. Such a placeholder is
//! no limit, and above all no position to drive to.

use crate::limits::{JointKind, JointLimits};

/// Numbers of an element inside `<joint>`.
pub(super) fn attributes(element: &str) -> &'static [&'static str] {
    match element {
        "limit" => &["lower", "upper", "velocity"],
        "safety_controller" => &["soft_lower_limit", "soft_upper_limit"],
        _ => &[],
    }
}

/// The type of a joint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JointType {
    /// One that can be moved.
    Moves(JointKind),
    /// Fixed, floating, planar, or an unknown word: no policy can command it.
    Other(String),
}

impl JointType {
    /// Of the attribute `type`.
    pub(super) fn of(word: &str) -> Self {
        match word.trim() {
            "revolute" => Self::Moves(JointKind::Revolute),
            "prismatic" => Self::Moves(JointKind::Prismatic),
            "continuous" => Self::Moves(JointKind::Continuous),
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Numbers of one element as they are written; `None` where an attribute is left out.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Stated {
    lower: Option<f64>,
    upper: Option<f64>,
    velocity: Option<f64>,
}

/// A joint of a robot description.
#[derive(Clone, PartialEq, Debug)]
pub struct Joint {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: JointType,
    /// Line of the description, counted from one.
    pub line: usize,
    /// `<limit>`.
    limit: Option<Stated>,
    /// `<safety_controller>`: its soft limits.
    soft: Option<Stated>,
    /// Attributes that are no numbers.
    faults: Vec<String>,
}

/// What is wrong with a moved joint, or which placeholder was replaced. The same text for every joint that it is true of, so that
/// one message can name them all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Finding {
    /// The joint must not be moved with this description.
    Problem(String),
    /// It may, with a limit of the parameters in place of a placeholder.
    Warning(String),
}

impl Joint {
    pub(super) fn new(name: String, kind: JointType, line: usize) -> Self {
        Self { name, kind, line, limit: None, soft: None, faults: Vec::new() }
    }

    /// Takes down that the joint has this element.
    pub(super) fn open(&mut self, element: &str) {
        match element {
            "limit" => self.limit = Some(Stated::default()),
            "safety_controller" => self.soft = Some(Stated::default()),
            _ => {}
        }
    }

    /// Takes down one of the element's [`attributes`].
    pub(super) fn state(&mut self, element: &str, attribute: &str, text: &str, line: usize) {
        let value = match text.trim().parse::<f64>() {
            Ok(value) if !value.is_nan() => Some(value),
            _ => {
                let hint = if text.contains("${") { "; expand the file with xacro first" } else { "" };
                self.faults.push(format!("line {line}: {attribute} is '{text}', expected a number{hint}"));
                None
            }
        };
        let stated = if element == "limit" { &mut self.limit } else { &mut self.soft };
        let stated = stated.get_or_insert_default();
        match attribute {
            "lower" | "soft_lower_limit" => stated.lower = value,
            "upper" | "soft_upper_limit" => stated.upper = value,
            _ => stated.velocity = value,
        }
    }

    /// The limits that hold for the moved joint by this description, beside `own`, those of the parameters. Findings go to `found`.
    pub(crate) fn limits(&self, own: &JointLimits, found: &mut impl FnMut(Finding)) -> JointLimits {
        let mut limits = JointLimits::default();
        self.faults.iter().for_each(|fault| found(Finding::Problem(fault.clone())));
        match &self.kind {
            // A number that cannot be read is no zero.
            _ if !self.faults.is_empty() => return limits,
            JointType::Other(word) => {
                found(Finding::Problem(format!(
                    "type is '{word}' in the robot description, expected revolute, prismatic or continuous: a joint of another type \
                     cannot be moved; correct the description, or take the joint out of action.<key>.joints"
                )));
            }
            JointType::Moves(kind) => {
                limits.kind = *kind;
                if *kind != JointKind::Continuous {
                    (limits.min, limits.max) = self.position(own, found);
                }
            }
        }
        if let Some(velocity) = self.limit.and_then(|limit| limit.velocity) {
            if velocity > 0.0 {
                limits.velocity = velocity;
            } else {
                let what = format!("velocity = {velocity} in the robot description is a placeholder, not a limit");
                replaced(own.velocity.is_finite(), &what, "limits.<joint>.velocity", found);
            }
        }
        limits
    }

    /// Least and greatest position of a joint that has both by the specification.
    fn position(&self, own: &JointLimits, found: &mut impl FnMut(Finding)) -> (f64, f64) {
        let open = (f64::NEG_INFINITY, f64::INFINITY);
        let given = own.kind == JointKind::Continuous || (own.min.is_finite() && own.max.is_finite());
        let needed = "limits.<joint>.min and limits.<joint>.max (or limits.<joint>.continuous)";
        let Some(limit) = self.limit else {
            replaced(given, "no <limit> in the robot description", needed, found);
            return open;
        };
        let (lower, upper) = (limit.lower.unwrap_or(0.0), limit.upper.unwrap_or(0.0));
        if lower > upper {
            let what = format!("lower {lower} is above upper {upper} in the robot description; correct it");
            found(Finding::Problem(what));
            return open;
        }
        if lower == upper && lower != 0.0 {
            found(Finding::Problem(format!(
                "lower and upper are both {lower} in the robot description, so the joint is locked; correct them, or take the joint \
                 out of action.<key>.joints"
            )));
            return open;
        }
        if lower == upper {
            let what = "lower = upper = 0 in the robot description is a placeholder, not a limit";
            replaced(given, what, needed, found);
            return self.soft(open, found);
        }
        self.soft((lower, upper), found)
    }

    /// Inside the soft limits as well, where there are any. Both zero, or left out: none.
    fn soft(&self, (lower, upper): (f64, f64), found: &mut impl FnMut(Finding)) -> (f64, f64) {
        let soft = self.soft.unwrap_or_default();
        if soft.lower.unwrap_or(0.0) == 0.0 && soft.upper.unwrap_or(0.0) == 0.0 {
            return (lower, upper);
        }
        let (low, high) =
            (soft.lower.map_or(lower, |low| low.max(lower)), soft.upper.map_or(upper, |high| high.min(upper)));
        if low < high {
            return (low, high);
        }
        let what =
            "the soft limits of <safety_controller> in the robot description do not overlap the limits; correct them"
                .to_owned();
        found(Finding::Problem(what));
        (lower, upper)
    }
}

/// A placeholder: replaced by the parameters' own limit, or a problem.
fn replaced(given: bool, what: &str, needed: &str, found: &mut impl FnMut(Finding)) {
    found(if given {
        Finding::Warning(format!("{what}: {needed} of the parameters holds in its place"))
    } else {
        Finding::Problem(format!("{what}; set {needed}, or correct the robot description"))
    });
}
