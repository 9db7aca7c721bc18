//! State encoder and action decoder on small processors that can be checked by hand.

use proptest::prelude::*;
use vla_policy::decode::{ActionDecoder, DecodeError};
use vla_policy::encode::EncodeError;
use vla_policy::encode::state::StateEncoder;
use vla_policy::family::N1D6;
use vla_policy::processor::{
    ActionKey, ActionScaling, Conversion, DeltaRows, PoseFormat, Processor, StateEncoding, StateKey,
};

const ROWS: usize = 3;

fn processor(state: Vec<StateKey>, action: Vec<ActionKey>) -> Processor {
    Processor {
        family: &N1D6,
        embodiment: "robot".into(),
        cameras: vec!["top".into()],
        state,
        state_deltas: vec![0],
        video_deltas: vec![0],
        exclude_state: false,
        clip_state: true,
        action,
        action_deltas: (0..ROWS as i64).collect(),
        max_state_dim: 24,
        max_action_dim: 16,
        max_action_horizon: 8,
        image: N1D6.image(256, 0.95),
        normalise_text: true,
    }
}

fn state(name: &str, width: usize, encoding: StateEncoding) -> StateKey {
    StateKey { name: name.into(), width, encoding }
}

fn range(low: f64, high: f64, width: usize) -> StateEncoding {
    StateEncoding::Range { low: vec![low; width], high: vec![high; width] }
}

fn action(name: &str, width: usize, scaling: ActionScaling, conversion: Conversion) -> ActionKey {
    ActionKey { name: name.into(), width, scaling, conversion, eef: None }
}

fn scale(low: f64, high: f64, width: usize) -> ActionScaling {
    ActionScaling::Range { low: vec![low; width], high: vec![high; width] }
}

/// A pose, an arm and a gripper; the pose is relative.
fn robot(format: PoseFormat) -> Processor {
    let keys = vec![state("grip", 1, range(0.0, 1.0, 1)), state("pose", 9, range(-1.0, 1.0, 9))];
    let actions = vec![
        action(
            "pose",
            9,
            scale(-1.0, 1.0, 9),
            Conversion::ComposePose { state: 1, predicted: PoseFormat::Rot6d, format },
        ),
        action("grip", 1, scale(-1.0, 1.0, 1), Conversion::AddState { state: 0 }),
    ];
    processor(keys, actions)
}

fn encode(processor: &Processor, raw: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; processor.max_state_dim];
    StateEncoder::new(processor).expect("an encoder").encode(raw, &mut out).expect("encodes");
    out
}

#[test]
fn keys_follow_each_other_and_the_rest_is_zero() {
    let keys = vec![
        state("angles", 2, StateEncoding::SinCos),
        state("offsets", 2, StateEncoding::MeanStd { mean: vec![1.0, 1.0], std: vec![0.5, 0.0] }),
        state("joints", 3, StateEncoding::Range { low: vec![0.0, 2.0, 2.0], high: vec![4.0, 2.0, 2.000_01] }),
    ];
    let out = encode(&processor(keys, vec![]), &[0.0, 1.0, 3.0, 3.0, 1.0, 7.0, 7.0]);
    let expected = [0.0, 1.0_f32.sin(), 1.0, 1.0_f32.cos(), 4.0, 3.0, -0.5, 0.0, 0.0];
    assert!(out.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-7), "{out:?}");
    assert!(out[expected.len()..].iter().all(|&padding| padding == 0.0));
}

#[test]
fn only_ranges_are_clipped_and_only_when_the_processor_says_so() {
    let mean_std = StateEncoding::MeanStd { mean: vec![0.0], std: vec![0.1] };
    let mut processor = processor(vec![state("a", 1, range(-1.0, 1.0, 1)), state("b", 1, mean_std)], vec![]);
    assert_eq!(encode(&processor, &[5.0, 5.0])[..2], [1.0, 50.0]);
    processor.clip_state = false;
    assert_eq!(encode(&processor, &[5.0, 5.0])[..2], [5.0, 50.0]);
}

#[test]
fn a_short_table_and_too_few_columns_are_refused_with_what_was_found() {
    let refusal = |change: &dyn Fn(&mut Processor)| {
        let mut processor = robot(PoseFormat::Rot6d);
        change(&mut processor);
        StateEncoder::new(&processor).err().expect("must be refused").to_string()
    };
    let error = refusal(&|p| p.state[1].encoding = range(0.0, 1.0, 4));
    assert!(error.contains("'pose': expected 9 values, found 4"), "{error}");
    assert!(refusal(&|p| p.max_state_dim = 9).contains("max_state_dim: expected 10 values"));
}

#[test]
fn absolute_values_are_scaled_relative_ones_added_to_the_state_of_the_observation_in_every_row() {
    let table = ActionScaling::Range {
        low: (0..6).map(f64::from).collect(),
        high: (0..6).map(|i| f64::from(i) + 2.0).collect(),
    };
    let keys = vec![state("x", 1, range(0.0, 1.0, 1)), state("arm", 2, range(0.0, 1.0, 2))];
    let mean_std = ActionScaling::MeanStd { mean: vec![10.0], std: vec![2.0] };
    let actions = vec![
        action("arm", 2, table, Conversion::AddState { state: 1 }),
        action("x", 1, mean_std, Conversion::Absolute),
    ];
    let processor = processor(keys, actions);
    let mut predicted = vec![f32::NAN; 8 * 16];
    predicted.chunks_exact_mut(16).for_each(|row| row[..3].copy_from_slice(&[0.0, 9.0, -1.5]));
    let mut out = vec![f32::NAN; ROWS * 3];
    let mut decoder = ActionDecoder::new(&processor).expect("a decoder");
    decoder.decode(&predicted, &[77.0, 100.0, 200.0], &mut out).expect("decodes");
    assert_eq!(out, [101.0, 203.0, 7.0, 103.0, 205.0, 7.0, 105.0, 207.0, 7.0]);
}

/// Deltas of an arm of two joints at (100, 200), behind an absolute value of the same scaling.
fn deltas(rows: DeltaRows) -> Processor {
    let keys = vec![state("x", 1, range(0.0, 1.0, 1)), state("arm", 2, range(0.0, 1.0, 2))];
    let actions = vec![
        action("x", 1, scale(-0.5, 0.5, 1), Conversion::Absolute),
        action("arm", 2, scale(-0.5, 0.5, 2), Conversion::Delta { state: 1, rows: Some(rows) }),
    ];
    processor(keys, actions)
}

/// Rows of 0.5, 0.25 and -0.125 in every column, normalised by [`deltas`].
fn halves() -> Vec<f32> {
    [1.0, 0.5, -0.25].iter().flat_map(|&value| [value; 16]).collect()
}

#[test]
fn each_row_of_cumulative_deltas_goes_on_from_the_row_before_and_the_first_from_the_state() {
    let mut decoder = ActionDecoder::new(&deltas(DeltaRows::Cumulative)).expect("a decoder");
    let mut out = vec![f32::NAN; ROWS * 3];
    // Twice: nothing of a chunk goes into the next.
    for state in [100.0, 300.0] {
        decoder.decode(&halves(), &[77.0, state, 200.0], &mut out).expect("decodes");
        let expected = [[0.5, 0.5, 200.5], [0.25, 0.75, 200.75], [-0.125, 0.625, 200.625]];
        assert_eq!(out, expected.map(|[x, first, second]| [x, state + first, second]).concat());
    }
}

#[test]
fn each_row_of_deltas_from_the_state_is_added_to_the_state_alone() {
    let mut decoder = ActionDecoder::new(&deltas(DeltaRows::FromState)).expect("a decoder");
    let mut out = vec![f32::NAN; ROWS * 3];
    decoder.decode(&halves(), &[77.0, 100.0, 200.0], &mut out).expect("decodes");
    assert_eq!(out, [0.5, 100.5, 200.5, 0.25, 100.25, 200.25, -0.125, 99.875, 199.875]);
}

#[test]
fn deltas_of_which_nothing_says_what_a_row_is_are_not_decoded() {
    let mut processor = deltas(DeltaRows::FromState);
    processor.action[1].conversion = Conversion::Delta { state: 1, rows: None };
    let error = ActionDecoder::new(&processor).err().expect("refused");
    assert_eq!(error, DecodeError::Delta { key: "arm".into() });
    assert!(error.to_string().contains("set action.arm.delta"), "{error}");
}

#[test]
fn rows_that_cumulative_deltas_cannot_reach_at_once_are_caught_up_with_by_the_rows_after() {
    let mut decoder = ActionDecoder::new(&deltas(DeltaRows::Cumulative)).expect("a decoder");
    let raw = [77.0, 100.0, 200.0];
    // The first column of the arm is 0.75 away at first: more than one row's 0.5.
    let rows = [[0.0, 100.75, 200.25], [0.0, 100.75, 200.5], [0.0, 100.5, 200.25]].concat();
    let mut predicted = vec![f32::NAN; ROWS * 16];
    decoder.encode(&rows, &raw, &mut predicted).expect("encodes");
    let mut found = vec![f32::NAN; ROWS * 3];
    decoder.decode(&predicted, &raw, &mut found).expect("decodes");
    assert_eq!(found, [[0.0, 100.5, 200.25], [0.0, 100.75, 200.5], [0.0, 100.5, 200.25]].concat());
}

#[test]
fn cumulative_deltas_after_rows_that_are_kept_go_on_from_the_last_of_those() {
    let mut decoder = ActionDecoder::new(&deltas(DeltaRows::Cumulative)).expect("a decoder");
    let raw = [77.0, 100.0, 200.0];
    // Promised before the arm was pushed: no delta of 0.5 gets there from its state.
    let rows = [[0.0, 103.0, 200.25], [0.0, 103.25, 200.25]].concat();
    let mut predicted = halves();
    decoder.encode_after(1, &rows, &raw, &mut predicted).expect("encodes");
    assert_eq!(predicted[16..19], [0.0, 0.5, 0.0], "the second row is a quarter from the first, which is kept");
    let mut out = vec![f32::NAN; ROWS * 3];
    decoder.decode_after(&rows[..3], &predicted, &raw, &mut out).expect("decodes");
    assert_eq!(out[3..], [0.0, 103.25, 200.25, -0.125, 103.125, 200.125]);
}

/// A quarter turn about z at (1, 2, 3), and the gripper before it.
const REFERENCE: [f32; 10] = [0.25, 1.0, 2.0, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0];

fn forward() -> Vec<f32> {
    let mut predicted = vec![0.0; ROWS * 16];
    for (row, values) in predicted.chunks_exact_mut(16).enumerate() {
        values[..10].copy_from_slice(&[0.1 * row as f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5]);
    }
    predicted
}

#[test]
fn a_relative_pose_is_in_the_frame_of_the_reference_and_leaves_in_the_format_asked_for() {
    for (format, width) in [(PoseFormat::Rot6d, 9), (PoseFormat::Rotvec, 6), (PoseFormat::Matrix, 16)] {
        let processor = robot(format);
        assert_eq!(processor.action_width(), width + 1);
        let mut out = vec![f32::NAN; ROWS * (width + 1)];
        let mut decoder = ActionDecoder::new(&processor).expect("a decoder");
        decoder.decode(&forward(), &REFERENCE, &mut out).expect("decodes");
        for (row, values) in out.chunks_exact(width + 1).enumerate() {
            // Forward of the turned gripper is along y.
            let y = 2.0 + 0.1 * row as f32;
            let quarter = std::f32::consts::FRAC_PI_2;
            let expected = match format {
                PoseFormat::Rot6d => vec![1.0, y, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0],
                PoseFormat::Rotvec => vec![1.0, y, 3.0, 0.0, 0.0, quarter],
                PoseFormat::Matrix => {
                    vec![0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 0.0, y, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0]
                }
            };
            assert!(values.iter().zip(&expected).all(|(v, e)| (v - e).abs() < 1e-6), "{format:?} {row}: {values:?}");
            assert_eq!(values[width], 0.75, "the gripper is relative to its own state");
        }
    }
}

#[test]
fn a_pose_without_rotation_is_refused_with_its_key_and_row() {
    let mut decoder = ActionDecoder::new(&robot(PoseFormat::Matrix)).expect("a decoder");
    let mut out = vec![0.0; ROWS * 17];
    let mut bent = forward();
    bent[16 + 3..16 + 9].fill(0.0);
    let error = decoder.decode(&bent, &REFERENCE, &mut out);
    assert_eq!(error, Err(DecodeError::Rotation { key: "pose".into(), row: 1 }));
    let error = decoder.decode(&forward(), &[0.0; 10], &mut out);
    assert_eq!(error, Err(DecodeError::Reference { key: "pose".into() }));
}

/// A pose that is turned by `angle` about z and stands at (x, 2, 3), and the gripper.
fn stands(x: f32, angle: f32) -> [f32; 10] {
    [0.25, x, 2.0, 3.0, angle.cos(), -angle.sin(), 0.0, angle.sin(), angle.cos(), 0.0]
}

#[test]
fn what_was_decoded_against_one_state_is_encoded_against_another_and_decodes_to_the_same_there() {
    for (format, width) in [(PoseFormat::Rot6d, 9), (PoseFormat::Rotvec, 6), (PoseFormat::Matrix, 16)] {
        let mut decoder = ActionDecoder::new(&robot(format)).expect("a decoder");
        let mut first = vec![f32::NAN; ROWS * (width + 1)];
        decoder.decode(&forward(), &stands(1.0, 0.3), &mut first).expect("decodes");
        let (other, mut predicted) = (stands(1.2, 0.8), vec![7.0; 8 * 16]);
        decoder.encode(&first, &other, &mut predicted).expect("encodes");
        assert!(predicted[..10].iter().zip(&forward()[..10]).any(|(a, b)| (a - b).abs() > 0.1), "another state");
        let untouched = predicted
            .chunks_exact(16)
            .enumerate()
            .flat_map(|(row, values)| if row < ROWS { &values[10..] } else { values });
        assert!(untouched.into_iter().all(|&value| value == 7.0), "columns and rows that no key has");
        let mut again = vec![f32::NAN; first.len()];
        decoder.decode(&predicted, &other, &mut again).expect("decodes");
        assert!(first.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5), "{format:?}: {first:?} {again:?}");
    }
}

#[test]
fn fewer_rows_are_encoded_alone_and_more_or_no_whole_ones_refused() {
    let mut decoder = ActionDecoder::new(&robot(PoseFormat::Rot6d)).expect("a decoder");
    let (row, mut predicted) = ([1.0, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.75], vec![7.0; 8 * 16]);
    decoder.encode(&row, &REFERENCE, &mut predicted).expect("encodes");
    // Where the reference itself is, turned back by a quarter.
    let expected = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.5];
    assert!(predicted.iter().zip(expected).all(|(x, e)| (x - e).abs() < 1e-6), "{predicted:?}");
    assert!(predicted[10..].iter().all(|&value| value == 7.0));
    for rows in [vec![0.0; 9], vec![0.0; (ROWS + 1) * 10]] {
        let refused = decoder.encode(&rows, &REFERENCE, &mut predicted);
        assert!(matches!(refused, Err(DecodeError::Length { expected: 30, .. })), "{refused:?}");
    }
    let refused = decoder.encode(&[0.0; 10], &REFERENCE, &mut predicted);
    assert_eq!(refused, Err(DecodeError::Rotation { key: "pose".into(), row: 0 }));
}

#[test]
fn a_processor_whose_parts_do_not_fit_is_refused_by_key() {
    let refusal = |change: &dyn Fn(&mut Processor)| {
        let mut processor = robot(PoseFormat::Rot6d);
        change(&mut processor);
        ActionDecoder::new(&processor).err().expect("must be refused").to_string()
    };
    let error = refusal(&|p| p.action[1].scaling = scale(0.0, 1.0, 2));
    assert!(error.contains("'grip': expected statistics of 1 or 3 x 1 values, found 2"), "{error}");
    let error = refusal(&|p| p.action[1].conversion = Conversion::AddState { state: 7 });
    assert!(error.contains("found grip: 1, pose: 9"), "{error}");
    assert!(refusal(&|p| p.action[1].conversion = Conversion::AddState { state: 1 }).contains("'grip'"));
    let error = refusal(&|p| {
        p.action[1].conversion =
            Conversion::ComposePose { state: 0, predicted: PoseFormat::Rot6d, format: PoseFormat::Rot6d }
    });
    assert!(error.contains("expected 9 values"), "{error}");
    assert!(refusal(&|p| p.max_action_dim = 9).contains("max_action_dim"));
    assert!(refusal(&|p| (p.max_action_dim, p.action) = (0, vec![])).contains("max_action_dim"));
}

fn lengths() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..200_usize, 0..20_usize, 0..60_usize)
}

proptest! {
    #[test]
    fn any_lengths_give_an_error_or_a_result((actions, raw, out) in lengths()) {
        let processor = robot(PoseFormat::Rot6d);
        let mut decoder = ActionDecoder::new(&processor).expect("a decoder");
        let fits = actions % 16 == 0 && actions >= ROWS * 16 && raw == 10 && out == ROWS * 10;
        let found = decoder.decode(&vec![0.5; actions], &vec![0.5; raw], &mut vec![0.0; out]);
        prop_assert_eq!(matches!(found, Err(DecodeError::Length { .. })), !fits, "{:?}", found);
        let mut encoder = StateEncoder::new(&processor).expect("an encoder");
        let found = encoder.encode(&vec![0.5; raw], &mut vec![0.0; out]);
        prop_assert_eq!(matches!(found, Err(EncodeError::Length { .. })), (raw, out) != (10, 24));
    }

    #[test]
    fn a_clipped_state_is_within_one_whatever_is_measured(raw in prop::collection::vec(any::<f32>(), 10)) {
        let out = encode(&robot(PoseFormat::Rot6d), &raw);
        for (value, raw) in out.iter().zip(raw.iter().map(Some).chain(std::iter::repeat(None))) {
            let expected_nan = raw.is_some_and(|raw| raw.is_nan());
            prop_assert!((-1.0..=1.0).contains(value) || expected_nan && value.is_nan(), "{value} of {raw:?}");
        }
    }

    #[test]
    fn encoding_finds_the_predictions_that_were_decoded_in_every_row_and_scaling(
        x in prop::collection::vec(-1.0..1.0f32, ROWS * 16), raw in prop::collection::vec(-1.0..1.0f32, 3)
    ) {
        let table = ActionScaling::Range { low: (0..6).map(|i| -f64::from(i) - 1.0).collect(), high: vec![1.5; 6] };
        let spread = ActionScaling::MeanStd { mean: vec![0.3], std: vec![2.0] };
        let keys = vec![state("g", 1, range(0.0, 1.0, 1)), state("arm", 2, range(0.0, 1.0, 2))];
        let actions = vec![
            action("arm", 2, table, Conversion::AddState { state: 1 }),
            action("g", 1, spread, Conversion::Absolute),
        ];
        let mut decoder = ActionDecoder::new(&processor(keys, actions)).expect("a decoder");
        let (mut decoded, mut found) = (vec![0.0; ROWS * 3], x.clone());
        decoder.decode(&x, &raw, &mut decoded).expect("decodes");
        found.chunks_exact_mut(16).for_each(|row| row[..3].fill(f32::NAN));
        decoder.encode(&decoded, &raw, &mut found).expect("encodes");
        prop_assert!(x.iter().zip(&found).all(|(x, found)| (x - found).abs() < 1e-5), "{:?} {:?}", x, found);
    }

    #[test]
    fn decoding_undoes_encoding_with_the_same_range(low in -5.0..5.0, width in 0.01..5.0, part in 0.0..1.0) {
        let x = (low + part * width) as f32;
        let processor = processor(
            vec![state("j", 1, range(low, low + width, 1))],
            vec![action("j", 1, scale(low, low + width, 1), Conversion::Absolute)],
        );
        let encoded = encode(&processor, &[x])[0];
        let mut out = [0.0; ROWS];
        let mut decoder = ActionDecoder::new(&processor).expect("a decoder");
        decoder.decode(&[encoded; ROWS * 16], &[x], &mut out).expect("decodes");
        prop_assert!(out.iter().all(|y| (y - x).abs() <= 2e-6), "{out:?} {x}");
    }
}
