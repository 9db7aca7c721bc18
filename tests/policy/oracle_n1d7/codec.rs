//! State and actions.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;
use vla_policy::processor::{Conversion, PoseFormat, ProcessorError, StateEncoding};
use vla_trt_tests::vectors::{json, oracle_n1d7};

use crate::oracle_codec::{Case, Tally, bits};

/// Every case with what its processor became.
fn for_each_case(mut check: impl FnMut(&Value, Result<Case<'_>, ProcessorError>)) -> usize {
    let Some(oracle) = oracle_n1d7() else { return 0 };
    let bytes = fs::read(oracle.join("transforms/state_action.safetensors")).expect("tensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let cases = json(&oracle.join("transforms/state_action.json"));
    let cases = cases.as_array().expect("cases");
    assert!(cases.len() >= 39);
    cases.iter().for_each(|case| check(case, Case::new(case, "Gr00tN1d7Processor", &tensors)));
    cases.len()
}

#[test]
fn what_the_vendor_refuses_is_refused_with_the_processor_and_nothing_else() {
    let mut refused = Vec::new();
    let cases = for_each_case(|case, found| match (case.get("error"), found) {
        (None, Ok(_)) => {}
        (Some(_), Err(ProcessorError::Invalid { problems, .. })) => {
            assert_eq!(problems.len(), 1, "{}: {problems:?}", case["name"]);
            refused.push(case["name"].to_string());
        }
        (error, found) => {
            panic!("{}: the vendor {error:?}, found {:?}", case["name"], found.map(|case| case.processor))
        }
    });
    assert!(cases == 0 || refused.len() >= 5, "{refused:?}");
}

#[test]
fn states_are_the_vendors_to_the_last_bit_and_sines_within_one() {
    let (mut plain, mut with_sines, mut excluded) = (Tally::default(), Tally::default(), 0);
    for_each_case(|_, case| {
        let Ok(case) = case else { return };
        let (expected, found) = (case.f32s("state_normalized_padded"), case.encoded());
        excluded += usize::from(case.processor.exclude_state);
        let sines = case.processor.state.iter().any(|key| key.encoding == StateEncoding::SinCos);
        if sines {
            // The vendor's single-precision sine is itself off by a bit now and then.
            assert!(with_sines.add(&expected, &found) <= f32::EPSILON / 2.0, "{}", case.name);
        } else {
            plain.add(&expected, &found);
            assert_eq!(bits(&expected), bits(&found), "{}", case.name);
        }
    });
    plain.print("states without sines");
    with_sines.print("states with sines");
    eprintln!("{excluded} cases exclude the state");
}

#[test]
fn decoded_actions_are_the_vendors_to_the_last_bit_and_6d_rotations_to_6e_8() {
    let (mut exact, mut rot6d) = (Tally::default(), Tally::default());
    for_each_case(|_, case| {
        let Ok(case) = case else { return };
        for (key, found) in case.decoded() {
            let expected = case.f32s(&format!("action_decoded.{key}"));
            let held = case.processor.action.iter().find(|held| held.name == key).expect("a key");
            if matches!(held.conversion, Conversion::ComposePose { predicted: PoseFormat::Rot6d, .. }) {
                let difference = rot6d.add(&expected, &found);
                assert!(difference <= 6e-8, "{} {key}: {difference}", case.name);
            } else {
                exact.add(&expected, &found);
                assert_eq!(bits(&expected), bits(&found), "{} {key}", case.name);
            }
        }
    });
    exact.print("joints, absolute values, poses as rotation vectors and matrices");
    rot6d.print("poses with 6D rotations");
}

#[test]
fn a_pose_of_every_format_is_encoded_to_the_predictions_that_decode_to_it() {
    use vla_policy::decode::ActionDecoder;
    for_each_case(|_, case| {
        let Ok(case) = case else { return };
        let relative =
            |key: &vla_policy::processor::ActionKey| matches!(key.conversion, Conversion::ComposePose { .. });
        if !case.processor.action.iter().any(relative) {
            return;
        }
        let decoded: Vec<(String, Vec<f32>)> = case.decoded();
        let (rows, dims, width) = (case.processor.rows(), case.processor.max_action_dim, case.processor.action_width());
        let mut flat = Vec::new();
        for row in 0..rows {
            for (key, values) in &decoded {
                let of = case.processor.action.iter().find(|held| held.name == *key).expect("a key").decoded_width();
                flat.extend_from_slice(&values[row * of..][..of]);
            }
        }
        assert_eq!(flat.len(), rows * width);
        let mut decoder = ActionDecoder::new(&case.processor).expect("a decoder");
        let raw = case.raw(case.samples - 1);
        let mut actions = vec![0.0; rows * dims];
        decoder.encode(&flat, &raw, &mut actions).expect("encodes");
        let mut again = vec![0.0; flat.len()];
        decoder.decode(&actions, &raw, &mut again).expect("decodes");
        // Normalised values are clipped to their range, which poses that were not clipped leave.
        if case.name.contains("meanstd") {
            assert!(flat.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-4), "{}", case.name);
        }
    });
}
