//! Position limits of each joint.

use super::Chunk;
use super::error::Error;

/// Position limits, one entry a column of the chunk; `None` where a joint is not limited.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Limits {
    per_joint: Vec<Option<(f32, f32)>>,
}

/// The limits of one joint as configured, rad or m; a side that is `None` is open.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit<'a> {
    /// Joint.
    pub joint: &'a str,
    /// Least position.
    pub min: Option<f64>,
    /// Greatest position.
    pub max: Option<f64>,
}

/// How many values were clamped, since it was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClampReport {
    /// Values clamped in all: the sum of `per_joint`.
    pub count: u64,
    /// Values clamped of each joint, in the chunk's column order.
    pub per_joint: Vec<u64>,
    /// Chunks in which at least one value was clamped.
    pub chunks: u64,
}

impl Limits {
    /// Limits for the joints of a chunk, in its order. Refuses a joint that the chunk has not, one that is limited
    /// twice, and a bound that is NaN or above its opposite; every problem at once.
    pub fn new<'a>(names: &[String], limits: impl IntoIterator<Item = Limit<'a>>) -> Result<Self, Error> {
        let mut per_joint = vec![None; names.len()];
        let mut problems = Vec::new();
        for Limit { joint, min, max } in limits {
            let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
            let mut entries = names.iter().zip(&mut per_joint).filter(|(name, _)| *name == joint).map(|(_, e)| e);
            match entries.next() {
                None => problems.push(format!("unknown joint `{joint}`, expected one of {names:?}")),
                Some(Some(_)) => problems.push(format!("joint `{joint}` is limited twice")),
                Some(_) if min.is_nan() || max.is_nan() || min > max => {
                    problems.push(format!("joint `{joint}`: expected min <= max, found min {min} and max {max}"));
                }
                Some(entry) => *entry = Some(inward(min, max)),
            }
        }
        if problems.is_empty() { Ok(Self { per_joint }) } else { Err(Error::Limits { problems }) }
    }

    /// The limits in single precision, one entry a joint.
    pub fn per_joint(&self) -> &[Option<(f32, f32)>] {
        &self.per_joint
    }

    /// Brings every value inside its joint's limits and adds what it changed to the report. Returns the number of
    /// values changed in this chunk. NaN stays NaN: check [`super::finite`] first.
    pub fn clamp(&self, chunk: &mut Chunk, report: &mut ClampReport) -> Result<u64, Error> {
        chunk.check()?;
        let joints = chunk.width();
        if self.per_joint.len() != joints {
            return Err(Error::LimitWidth { limits: self.per_joint.len(), joints });
        }
        report.per_joint.resize(joints, 0);
        let mut changed = 0;
        for row in chunk.values.chunks_exact_mut(joints) {
            for ((value, limit), count) in row.iter_mut().zip(&self.per_joint).zip(&mut report.per_joint) {
                let Some((min, max)) = *limit else { continue };
                let clamped = value.max(min).min(max);
                if !value.is_nan() && clamped != *value {
                    *value = clamped;
                    *count += 1;
                    changed += 1;
                }
            }
        }
        report.count += changed;
        report.chunks += u64::from(changed > 0);
        Ok(changed)
    }
}

/// Rounded so that no single-precision value inside lies outside the limits as configured; to nearest when the limits
/// leave no such value.
fn inward(min: f64, max: f64) -> (f32, f32) {
    let (near_min, near_max) = (min as f32, max as f32);
    let low = if f64::from(near_min) < min { near_min.next_up() } else { near_min };
    let high = if f64::from(near_max) > max { near_max.next_down() } else { near_max };
    if low <= high { (low, high) } else { (near_min, near_max) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::chunk;
    use super::*;
    use proptest::prelude::*;

    fn limit(joint: &str, min: f64, max: f64) -> Limit<'_> {
        Limit { joint, min: Some(min), max: Some(max) }
    }

    #[test]
    fn values_outside_are_clamped_and_counted_by_joint_and_the_rest_is_untouched() {
        let mut chunk = chunk(&["a", "b"], &[0.5, 9.0, 2.0, -9.0, -2.0, 0.0]);
        let limits = Limits::new(&chunk.names, [limit("a", -1.0, 1.0)]).expect("valid limits");
        let mut report = ClampReport::default();
        assert_eq!(limits.clamp(&mut chunk, &mut report), Ok(2));
        assert_eq!(limits.clamp(&mut chunk, &mut report), Ok(0));
        assert_eq!(chunk.values, [0.5, 9.0, 1.0, -9.0, -1.0, 0.0]);
        assert_eq!(report, ClampReport { count: 2, per_joint: vec![2, 0], chunks: 1 });
    }

    #[test]
    fn one_side_may_stay_open() {
        let mut chunk = chunk(&["a"], &[-5.0, 5.0]);
        let limits = Limits::new(&chunk.names, [Limit { joint: "a", min: Some(0.0), max: None }]).expect("valid");
        assert_eq!(limits.clamp(&mut chunk, &mut ClampReport::default()), Ok(1));
        assert_eq!(chunk.values, [0.0, 5.0]);
    }

    #[test]
    fn every_problem_of_the_limits_is_reported_at_once() {
        let names = ["a".to_owned(), "b".to_owned()];
        let error = Limits::new(&names, [limit("a", 1.0, -1.0), limit("c", 0.0, 1.0), limit("b", f64::NAN, 1.0)])
            .expect_err("three problems");
        assert_eq!(
            error.to_string(),
            "limits: joint `a`: expected min <= max, found min 1 and max -1; unknown joint `c`, expected one of \
             [\"a\", \"b\"]; joint `b`: expected min <= max, found min NaN and max 1"
        );
    }

    #[test]
    fn limits_of_another_robot_are_refused() {
        let limits = Limits::new(&["a".to_owned()], []).expect("valid");
        let error = limits.clamp(&mut chunk(&["a", "b"], &[0.0, 0.0]), &mut ClampReport::default());
        assert_eq!(error, Err(Error::LimitWidth { limits: 1, joints: 2 }));
    }

    proptest! {
        /// Nothing ends outside the limits as configured in double precision, and the counts are the changes made.
        #[test]
        fn clamped_values_lie_inside_and_counts_are_the_changes(
            values in prop::collection::vec(-4.0f32..4.0, 12),
            bounds in prop::collection::vec((-3.0f64..0.0, 1e-6f64..3.0), 3),
        ) {
            let mut chunk = chunk(&["a", "b", "c"], &values);
            let names = chunk.names.clone();
            let given = names.iter().zip(&bounds).map(|(joint, (min, width))| limit(joint, *min, min + width));
            let limits = Limits::new(&names, given).expect("valid limits");
            let mut report = ClampReport::default();
            limits.clamp(&mut chunk, &mut report).expect("same joints");
            let mut changed = [0u64; 3];
            for (i, (before, after)) in values.iter().zip(&chunk.values).enumerate() {
                let (min, width) = bounds[i % 3];
                prop_assert!((min..=min + width).contains(&f64::from(*after)));
                changed[i % 3] += u64::from(before != after);
            }
            prop_assert_eq!(report.count, report.per_joint.iter().sum::<u64>());
            prop_assert_eq!(report.per_joint, changed.to_vec());
        }
    }
}
