//! The robot description as a source of limits besides the parameters.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::settings::LimitsFrom;
use vla_motion::urdf::{Description, JointType};
use vla_motion::{JointKind, JointLimits, MergedLimits, merge_limits};

/// A robot description of this size is a mistake (a mesh, a bag).
const MAX_BYTES: u64 = 64 << 20;

/// State of the robot description.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum RobotDescription {
    /// Limits come from the parameters alone.
    NotUsed,
    /// It has not arrived.
    Awaited { from: String },
    /// The last one.
    Known(Arc<Description>),
    /// The last one cannot be used.
    Unusable(vla_motion::Error),
}

impl RobotDescription {
    /// Before anything was read.
    pub(crate) fn awaited(source: &LimitsFrom) -> Self {
        match source {
            LimitsFrom::Nowhere => Self::NotUsed,
            LimitsFrom::File(path) => Self::Awaited { from: format!("limits_file ({})", path.display()) },
            LimitsFrom::Topic(topic) => Self::Awaited { from: format!("limits_topic ({topic})") },
        }
    }

    /// Parses a URDF.
    pub(crate) fn parse(text: &str) -> Self {
        Description::parse(text).map_or_else(Self::Unusable, |description| Self::Known(Arc::new(description)))
    }

    /// The same, in which joints that it lacks are those without one of the prefixes: of each of several equal arms, whose drivers and
    /// description use the same names.
    pub(crate) fn with_prefixes<'n>(&self, prefixes: &[String], joints: impl Iterator<Item = &'n String>) -> Self {
        let Self::Known(description) = self else { return self.clone() };
        let mut prefixed = Description::clone(description);
        for joint in joints {
            let own = prefixes
                .iter()
                .filter(|prefix| !prefix.is_empty())
                .find_map(|prefix| joint.strip_prefix(prefix.as_str()));
            if let Some(own) = own.filter(|_| prefixed.joints(joint).next().is_none()) {
                prefixed.add_alias(own, joint);
            }
        }
        Self::Known(Arc::new(prefixed))
    }

    /// Whether it has this joint as one that turns without end.
    pub(crate) fn is_continuous(&self, joint: &str) -> bool {
        let Self::Known(description) = self else { return false };
        description.joints(joint).any(|joint| joint.kind == JointType::Moves(JointKind::Continuous))
    }

    /// Merges the limits of the parameters, `given`, with those of the description.
    ///
    /// # Errors
    /// Why there are none: the description has not arrived, cannot be used, or contradicts the parameters.
    pub(crate) fn merge(&self, given: &[(String, JointLimits)]) -> Result<MergedLimits, vla_motion::Error> {
        match self {
            Self::NotUsed => merge_limits(given, None),
            Self::Awaited { from } => Err(vla_motion::Error::NoDescription { from: from.clone() }),
            Self::Known(description) => merge_limits(given, Some(description)),
            Self::Unusable(error) => Err(error.clone()),
        }
    }
}

/// The text of a URDF file. Names of joints are ASCII in practice, so that a comment in another encoding is no reason to refuse it.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    // One byte beyond the limit is enough to know that there is more; a device never ends.
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("more than {} MiB; check that it is a URDF", MAX_BYTES >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
