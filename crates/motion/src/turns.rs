//! Positions of continuous joints, which repeat every turn.

use std::f64::consts::TAU;

use super::Chunk;
use super::limits::{JointKind, JointLimits, MotionLimits};

/// `position`, moved by whole turns to within half a turn of `reference`; itself when it is there already, or when `reference`
/// is not finite.
pub(super) fn nearest_turn(position: f64, reference: f64) -> f64 {
    let turns = ((reference - position) / TAU).round();
    if turns == 0.0 || !turns.is_finite() { position } else { position + turns * TAU }
}

/// Unwraps the columns of continuous joints: each row to within half a turn of the row before, the first one to within half a
/// turn of `from(joint)`. So a target on the other side of half a turn is reached by the short way.
pub(super) fn unwrap_rows(chunk: &mut Chunk, limits: &MotionLimits, from: impl Fn(usize) -> Option<f64>) {
    let (width, mut joint) = (chunk.width(), 0);
    for column in 0..width {
        if chunk.poses.iter().any(|range| range.contains(&column)) {
            continue;
        }
        if limits.of(joint).kind == JointKind::Continuous {
            let JointLimits { min, max, .. } = limits.of(joint);
            let fits = |position: f64| (min..=max).contains(&position);
            let mut before = from(joint);
            for value in chunk.values.iter_mut().skip(column).step_by(width) {
                let position = f64::from(*value);
                let nearest = nearest_turn(position, before.unwrap_or(position));
                // The short way may lead through a position limit, where a cable ends: then there is only the long one.
                let unwrapped = if fits(position) && !fits(nearest) { position } else { nearest };
                // Rounded once, and only where it is moved.
                if unwrapped != position {
                    *value = unwrapped as f32;
                }
                before = Some(unwrapped);
            }
        }
        joint += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::super::tests::chunk;
    use super::*;

    #[test]
    fn a_position_moves_by_whole_turns_and_stays_to_the_bit_where_it_is_near() {
        assert_eq!(nearest_turn(0.1, 3.2), 0.1);
        assert_eq!(nearest_turn(-3.1, 3.1), -3.1 + TAU);
        assert_eq!(nearest_turn(20.0, 1.0), 20.0 - 3.0 * TAU);
        assert_eq!(nearest_turn(1.0, f64::NAN), 1.0);
    }

    #[test]
    fn a_target_that_the_short_way_cannot_reach_within_the_limits_is_left_to_the_long_one() {
        let mut chunk = chunk(&["wrist"], &[-2.8, -2.9, -3.0, 2.9]);
        let wrist = JointLimits { min: -2.95, max: 2.95, kind: JointKind::Continuous, ..JointLimits::default() };
        let limits = MotionLimits::new(&["wrist".to_owned()], [("wrist", wrist)]).expect("valid");
        unwrap_rows(&mut chunk, &limits, |_| Some(2.8));
        assert_eq!(chunk.values, [-2.8, -2.9, -3.0, 2.9], "{:?}", chunk.values);
    }

    #[test]
    fn rows_of_a_continuous_joint_go_on_from_the_measured_position_and_others_stay() {
        let mut chunk = chunk(&["wheel", "x", "arm"], &[-3.1, 9.0, 3.1, -3.0, 9.0, -3.1, 3.0, 9.0, 3.1]);
        chunk.poses = std::iter::once(1..2).collect();
        let names = ["wheel".to_owned(), "arm".to_owned()];
        let wheel = JointLimits { kind: JointKind::Continuous, ..JointLimits::default() };
        let limits = MotionLimits::new(&names, [("wheel", wheel)]).expect("valid");
        unwrap_rows(&mut chunk, &limits, |joint| [Some(PI), Some(PI)][joint]);
        let wheel: Vec<f32> = chunk.values.iter().step_by(3).copied().collect();
        let expected = [-3.1f32, -3.0, 3.0].map(f64::from);
        let expected = [expected[0] + TAU, expected[1] + TAU, expected[2]].map(|value| value as f32);
        assert_eq!(wheel, expected);
        assert_eq!(chunk.values[2], 3.1, "not continuous");
        assert_eq!(chunk.values[5], -3.1, "not continuous");
        assert_eq!(chunk.values[1], 9.0, "no joint");
    }
}
