//! Merges the limits of the parameters with those of a robot description.

use std::collections::BTreeMap;

use super::{JointLimits, MotionLimits};
use crate::error::Error;
use crate::urdf::{Description, Finding};

/// The limits in force.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MergedLimits {
    /// The tighter of both sources for every moved joint.
    pub limits: MotionLimits,
    /// Joints for which only the parameters' limits hold: the description lacks them, or has placeholders.
    pub warnings: Vec<String>,
}

/// Merges the limits of every moved joint by the parameters, `given`, with those of a description; the tighter of each holds. A
/// placeholder of the description is no limit; it is replaced by the parameters' own, with a warning.
///
/// # Errors
/// [`Error::Limits`] naming every joint whose limits contradict each other, and with a description every one that it locks, that
/// it has a placeholder for, or that neither source limits; also a description that has none of the joints.
pub fn merge_limits(given: &[(String, JointLimits)], description: Option<&Description>) -> Result<MergedLimits, Error> {
    let mut found = Findings::default();
    let mut names = Vec::with_capacity(given.len());
    let mut all = Vec::with_capacity(given.len());
    for (joint, own) in given {
        names.push(joint.clone());
        all.push(match description {
            Some(description) => described(joint, own, description, &mut found),
            None => {
                own.problem().into_iter().for_each(|problem| found.add(joint, Finding::Problem(problem)));
                *own
            }
        });
    }
    let lacks = |description: &Description| given.iter().all(|(joint, _)| description.joints(joint).next().is_none());
    let (mut problems, warnings) = found.sentences();
    if !given.is_empty() && problems.is_empty() && description.is_some_and(lacks) {
        let joints: Vec<&str> = given.iter().map(|(joint, _)| joint.as_str()).collect();
        problems.push(format!(
            "the robot description has none of the joints {}; check that it is this robot's description",
            joints.join(", ")
        ));
    }
    if problems.is_empty() {
        let all = all.into_iter().map(JointLimits::without_whole_turns).collect();
        Ok(MergedLimits { limits: MotionLimits::of_all(names.into(), all), warnings })
    } else {
        Err(Error::Limits { problems })
    }
}

fn described(joint: &str, own: &JointLimits, description: &Description, found: &mut Findings) -> JointLimits {
    let mut entries = description.joints(joint);
    let (Some(entry), second) = (entries.next(), entries.next()) else {
        found.add(joint, if own.is_unlimited() {
            let what = "not in the robot description, and without limits.<joint>.min, max or velocity; check that it is this robot's description";
            Finding::Problem(what.to_owned())
        } else {
            Finding::Warning("not in the robot description: only limits.<joint> hold".to_owned())
        });
        return *own;
    };
    if let Some(second) = second {
        let what =
            format!("lines {} and {}: the robot description has the joint twice; keep one", entry.line, second.line);
        found.add(joint, Finding::Problem(what));
    }
    let before = found.problems();
    let its = entry.limits(own, &mut |finding| found.add(joint, finding));
    let both = own.tighter(&its);
    // After another problem of this joint a contradiction would only repeat it.
    if found.problems() == before && both.min >= both.max {
        let what = format!(
            "limits.<joint> {} to {} and the robot description's {} to {} do not overlap; set limits.<joint>.min and \
             limits.<joint>.max inside the description's",
            own.min, own.max, its.min, its.max
        );
        found.add(joint, Finding::Problem(what));
    }
    both
}

/// Findings with the joints that each is true of, in the order in which they came up.
#[derive(Default)]
struct Findings {
    joints: BTreeMap<Finding, (usize, Vec<String>)>,
    problems: usize,
}

impl Findings {
    fn add(&mut self, joint: &str, finding: Finding) {
        self.problems += usize::from(matches!(finding, Finding::Problem(_)));
        let order = self.joints.len();
        self.joints.entry(finding).or_insert_with(|| (order, Vec::new())).1.push(joint.to_owned());
    }

    fn problems(&self) -> usize {
        self.problems
    }

    /// Problems and warnings, each with its joints.
    fn sentences(self) -> (Vec<String>, Vec<String>) {
        let mut all: Vec<_> = self.joints.into_iter().collect();
        all.sort_by_key(|(_, (order, _))| *order);
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        for (finding, (_, joints)) in all {
            let word = if joints.len() == 1 { "joint" } else { "joints" };
            let (list, what) = match &finding {
                Finding::Problem(what) => (&mut problems, what),
                Finding::Warning(what) => (&mut warnings, what),
            };
            list.push(format!("{word} `{}`: {what}", joints.join("`, `")));
        }
        (problems, warnings)
    }
}
