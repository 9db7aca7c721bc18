//! Position limits of each joint.

/// Position limits, one entry a column of the chunk; `None` where a joint is not limited.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Limits {
    /// Least and greatest position, rad or m.
    per_joint: Vec<Option<(f32, f32)>>,
}

/// How many values were clamped, since it was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClampReport {
    /// Values clamped in all.
    pub count: u64,
    /// Values clamped of each joint, in the chunk's column order.
    pub per_joint: Vec<u64>,
}

impl Limits {
    /// The limits, one entry a joint.
    pub fn per_joint(&self) -> &[Option<(f32, f32)>] {
        &self.per_joint
    }
}
