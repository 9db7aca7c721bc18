//! Tests of reading the state by joint name.

use proptest::prelude::*;

use super::*;
use crate::observation::JointReading;
use vla_base::time::Stamp;

fn sample(joints: &[(&str, f64)]) -> JointSample {
    let (names, positions): (Vec<String>, Vec<f64>) = joints.iter().map(|(name, at)| ((*name).to_owned(), *at)).unzip();
    JointSample::new("joints", Stamp::from_nanos(1), names.into(), &positions)
}

fn arm_and_gripper() -> StateReader {
    let arm = JointMap::identity("arm", vec!["waist".into(), "elbow".into()]);
    let gripper =
        JointMap { key: "gripper".into(), joints: vec!["finger".into()], scale: vec![-2.0], offset: vec![1.0] };
    StateReader::new(&[arm, gripper]).expect("valid maps")
}

fn read(reader: &mut StateReader, joints: &[(&str, f64)]) -> Result<Vec<f32>, Error> {
    let mut state = vec![0.0; reader.width()];
    reader.read(&sample(joints), &mut state).map(|()| state)
}

#[test]
fn joints_are_found_by_name_in_any_order_scaled_and_extra_ones_ignored() {
    let mut reader = arm_and_gripper();
    let state = read(&mut reader, &[("finger", 0.25), ("wheel", 9.0), ("elbow", 2.0), ("waist", 1.0)]);
    assert_eq!(state.expect("all joints"), [1.0, 2.0, 0.5]);
}

#[test]
fn samples_of_other_names_are_followed() {
    let mut reader = arm_and_gripper();
    let first = read(&mut reader, &[("waist", 1.0), ("elbow", 2.0), ("finger", 0.0)]).expect("all joints");
    let second = read(&mut reader, &[("elbow", 2.0), ("waist", 1.0), ("finger", 0.0)]).expect("all joints");
    let third = read(&mut reader, &[("x", 5.0), ("waist", 1.0), ("elbow", 2.0), ("finger", 0.0)]).expect("all joints");
    assert_eq!((&first, &first), (&second, &third));
}

#[test]
fn every_joint_without_a_position_is_named() {
    let mut reader = arm_and_gripper();
    let error = read(&mut reader, &[("waist", 1.0), ("wheel", 2.0)]).expect_err("two missing");
    assert_eq!(error.to_string(), "no position of `elbow`, `finger` in the joint states");
    let mut unseen = sample(&[("waist", 1.0), ("elbow", 2.0), ("finger", 0.5)]);
    unseen.readings[1] = None::<JointReading>;
    let error = reader.read(&unseen, &mut [0.0; 3]).expect_err("one not seen");
    assert!(matches!(error, Error::MissingJoints { ref missing } if *missing == ["elbow"]), "{error}");
}

#[test]
fn values_that_single_precision_cannot_hold_are_refused_by_joint() {
    for bad in [1e300, -1e300] {
        let error = read(&mut arm_and_gripper(), &[("waist", 1.0), ("elbow", bad), ("finger", 0.5)]);
        assert!(matches!(error, Err(Error::StateNotFinite { ref joint, .. }) if joint == "elbow"), "{error:?}");
    }
}

#[test]
fn positions_are_read_unscaled_for_a_stop() {
    let mut reader = arm_and_gripper();
    let mut positions = [0.0; 3];
    let sample = sample(&[("finger", 0.25), ("elbow", 2.0), ("waist", 1.0)]);
    reader.read_positions(&sample, &mut positions).expect("all joints");
    assert_eq!(positions, [1.0, 2.0, 0.25]);
    assert!(matches!(reader.read_positions(&sample, &mut [0.0; 2]), Err(Error::StateWidth { expected: 3, found: 2 })));
}

#[test]
fn one_joint_may_serve_two_elements() {
    let shared = |key: &str| JointMap::identity(key, vec!["waist".into()]);
    let mut reader = StateReader::new(&[shared("a"), shared("b")]).expect("valid maps");
    assert_eq!(read(&mut reader, &[("waist", 0.5)]).expect("the joint"), [0.5, 0.5]);
}

#[test]
fn a_map_that_cannot_be_undone_or_does_not_fit_is_refused() {
    let good = JointMap::identity("arm", vec!["waist".into()]);
    for (scale, offset) in
        [(vec![0.0], vec![0.0]), (vec![f64::NAN], vec![0.0]), (vec![1.0], vec![]), (vec![], vec![0.0])]
    {
        let bad = JointMap { scale, offset, ..good.clone() };
        assert!(matches!(StateReader::new(&[bad]), Err(Error::BadMap { joints: 1, .. })));
    }
}

proptest! {
    /// Any permutation of the joints among any extras gives the same state.
    #[test]
    fn order_and_extras_never_matter(order in Just([0usize, 1, 2, 3, 4, 5]).prop_shuffle(), warm in any::<bool>()) {
        let joints = [("waist", 1.5), ("elbow", -2.5), ("finger", 0.25), ("x", 7.0), ("y", 8.0), ("z", 9.0)];
        let mut reader = arm_and_gripper();
        if warm {
            read(&mut reader, &joints).expect("all joints");
        }
        let shuffled: Vec<_> = order.iter().map(|&i| joints[i]).collect();
        prop_assert_eq!(read(&mut reader, &shuffled).expect("all joints"), vec![1.5, -2.5, 0.5]);
    }

    /// Model value and joint value are each other's inverse.
    #[test]
    fn maps_are_invertible(joint in -10.0f64..10.0, scale in prop_oneof![-10.0f64..-0.1, 0.1f64..10.0], offset in -5.0f64..5.0) {
        let map = JointMap { key: "k".into(), joints: vec!["j".into()], scale: vec![scale], offset: vec![offset] };
        let back = map.to_model(0, joint).and_then(|model| map.to_joint(0, model)).expect("one joint");
        prop_assert!((back - joint).abs() < 1e-9);
        prop_assert_eq!(map.to_model(1, joint), None);
    }
}
