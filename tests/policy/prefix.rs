//! Real-time chunking through a whole policy on ONNX Runtime: joints and an end effector, relative and absolute, the joints
//! in units of their own.

use vla_trt_tests::demo;
use vla_trt_tests::eef;

use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use vla_base::time::Stamp;
use vla_motion::Chunk;
use vla_policy::observation::{Inputs, Observation};
use vla_policy::{ActionPrefix, Error, Policy, PolicySpec, Timings};
use vla_runtime::parameters::Settings;
use vla_runtime::session;

const NOW: i64 = 1_760_000_000_000_000_000;
const POSITIONS: [f64; 8] = [0.5, 0.1, -0.4, 1.1, 0.2, -0.7, -0.1, 0.25];
/// Of a row: position and 6D rotation, then the joints.
const POSE: usize = 9;

struct Bench {
    _folder: tempfile::TempDir,
    policy: Policy,
    settings: Arc<Settings>,
}

impl Bench {
    fn new(change: impl FnOnce(&std::path::Path)) -> Self {
        demo::point_at_onnx_runtime();
        let (_folder, folder) = eef::policy(|_, _| {});
        change(&folder);
        let scaled =
            ["action.right_arm.scale:=[2.0, 1.0, -1.0, 0.5, 1.0, 1.0]", "action.right_gripper.offset:=[0.125]"];
        let settings = eef::settings(&folder, &scaled).unwrap_or_else(|problems| panic!("{problems}"));
        let spec = PolicySpec::load(&folder).expect("the policy");
        let policy = vla_runtime::devices::load_policy(spec, session::load_options(&settings), &mut |_| {});
        Self { _folder, policy: policy.unwrap_or_else(|error| panic!("{error}")), settings }
    }

    /// What the robot senses with its gripper at `x` and its joints `off` from where they were.
    fn observe(&self, x: f64, off: f64) -> Observation {
        let inputs = Inputs::new(self.settings.inputs.clone());
        inputs.set_instruction(&self.settings.instruction);
        let (stamp, pose) = (Stamp::from_nanos(NOW), ([x, -0.2, 0.3], [0.0, 0.0, 0.6, 0.8]));
        for (index, input) in self.settings.inputs.iter().enumerate() {
            if let Some(bytes) = eef::message(input, stamp, pose, &POSITIONS.map(|position| position + off)) {
                inputs.offer(index, bytes, stamp).expect("a good message");
            }
        }
        let mut observation = Observation::default();
        inputs.assemble_into(stamp, &self.settings.rules, &mut observation).unwrap_or_else(|v| panic!("{v:?}"));
        observation
    }

    fn try_infer(&mut self, seen: &Observation, steps: u32, prefix: Option<&ActionPrefix<'_>>) -> Result<Chunk, Error> {
        let mut chunk = self.policy.new_chunk();
        self.policy.infer_with_prefix(seen, 7, steps, prefix, &mut chunk, &mut Timings::default())?;
        Ok(chunk)
    }

    fn infer(&mut self, seen: &Observation, steps: u32, prefix: Option<&ActionPrefix<'_>>) -> Chunk {
        self.try_infer(seen, steps, prefix).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn row(chunk: &[f32], width: usize, row: usize) -> &[f32] {
    &chunk[row * width..][..width]
}

#[test]
fn without_a_guide_a_chunk_is_the_same_bit_by_bit_before_and_after_guided_ones() {
    let mut bench = Bench::new(|_| {});
    assert!(bench.policy.accepts_prefix());
    let seen = bench.observe(0.4, 0.0);
    let mut before = bench.policy.new_chunk();
    bench.policy.infer(&seen, 7, 4, &mut before, &mut Timings::default()).expect("infers");
    let prefix = ActionPrefix { previous: &before.values[2 * before.width()..], frozen: 3, overlap: 9 };
    let continued = bench.infer(&seen, 4, Some(&prefix));
    assert_ne!(continued.values, before.values);
    assert_eq!(bench.infer(&seen, 4, None).values, before.values);
    let nothing = ActionPrefix { previous: &[], frozen: 0, overlap: 0 };
    assert_eq!(bench.infer(&seen, 4, Some(&nothing)).values, before.values);
}

#[test]
fn frozen_rows_are_those_of_the_chunk_before_and_the_rest_is_new() {
    let mut bench = Bench::new(|_| {});
    let seen = bench.observe(0.4, 0.0);
    let previous = bench.infer(&seen, 4, None);
    let (width, later) = (previous.width(), bench.observe(0.401, 0.002));
    let shifted = &previous.values[4 * width..];
    let free = bench.infer(&later, 4, None);
    let continued = bench.infer(&later, 4, Some(&ActionPrefix { previous: shifted, frozen: 5, overlap: 12 }));
    assert_eq!(continued.values[..5 * width], shifted[..5 * width]);
    for at in 5..continued.rows {
        assert_ne!(row(&continued.values, width, at), row(&free.values, width, at), "rows see each other, row {at}");
    }
    assert_ne!(row(&continued.values, width, 5), row(shifted, width, 5));
}

#[test]
fn rows_of_the_ramp_start_where_the_chunk_before_was_and_take_their_part_of_the_way() {
    let mut bench = Bench::new(|_| {});
    let seen = bench.observe(0.4, 0.0);
    let previous = bench.infer(&seen, 4, None);
    // Another state: relative rows are expressed against it first. In one step every row goes straight.
    let (width, later) = (previous.width(), bench.observe(0.402, 0.0005));
    let shifted = &previous.values[4 * width..];
    let continued = |bench: &mut Bench, frozen| {
        bench.infer(&later, 1, Some(&ActionPrefix { previous: shifted, frozen, overlap: 12 }))
    };
    let (small, large) = (continued(&mut bench, 6), continued(&mut bench, 0));
    let part = |row: usize, frozen: usize| 1.0 - (-6.0 * (row + 1 - frozen) as f32 / (13 - frozen) as f32).exp();
    let mut straight = 0;
    for at in 6..12 {
        let [from, near, far] = [shifted, &small.values, &large.values].map(|values| row(values, width, at));
        for column in POSE..width {
            let (near, far) = (near[column] - from[column], far[column] - from[column]);
            assert!(near.abs() <= far.abs() + 1e-5 && near * far >= 0.0, "row {at}, column {column}: {near} of {far}");
            // Values at an end of their range went less far than they were sent.
            straight += usize::from((near / far * part(at, 0) / part(at, 6) - 1.0).abs() < 1e-4);
        }
    }
    assert!(straight >= 36, "{straight} of 48");
}

#[test]
fn a_policy_whose_networks_take_no_strength_says_so_and_runs_unguided() {
    // As one that was exported with strength in a table.
    let mut bench = Bench::new(|folder| {
        let file = folder.join("policy.yaml");
        let text = std::fs::read_to_string(&file).expect("policy.yaml");
        let host = "strength: {dtype: f32, dims: [50]}";
        assert!(text.contains(host), "{text}");
        let table = "strength: {dtype: f32, dims: [50], constants: strength.safetensors}";
        std::fs::write(&file, text.replace(host, table)).expect("written");
        let ones: Vec<u8> = [1.0f32; 8 * 50].iter().flat_map(|one| one.to_le_bytes()).collect();
        let tables = [1, 2, 4, 8].map(|steps| {
            let view = TensorView::new(Dtype::F32, vec![steps, 50], &ones[..4 * steps * 50]).expect("a table");
            (format!("strength.{steps}"), view)
        });
        safetensors::serialize_to_file(tables, None, &folder.join("strength.safetensors")).expect("written");
    });
    let seen = bench.observe(0.4, 0.0);
    assert!(!bench.policy.accepts_prefix());
    let chunk = bench.infer(&seen, 4, None);
    let prefix = ActionPrefix { previous: &chunk.values, frozen: 1, overlap: 2 };
    let refused = bench.try_infer(&seen, 4, Some(&prefix)).expect_err("no strength").to_string();
    assert!(refused.contains("reads 'strength'") && refused.contains("export"), "{refused}");
    // All of the velocity is what strength 1 is.
    assert_eq!(chunk.values, Bench::new(|_| {}).infer(&seen, 4, None).values);
}
