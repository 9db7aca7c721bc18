//! The whole policy on an engine kind: messages in, chunk out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use std::sync::Arc;

use bytes::Bytes;
use vla_base::time::Stamp;
use vla_engines::{Admission, EngineKind, Launch};
use vla_messages::{HeaderView, write};
use vla_policy::observation::{CameraSample, JointMap, JointSample, Observation, Transport};
use vla_policy::{ActionPrefix, EncodeDevice, Error, LoadOptions, Policy, PolicySpec, Timings};

use super::bench::Bench;
use super::given::{STAGES, assert_close, assert_same_bits, distance};

const SEED: u64 = 11;

/// Names of the elements of a key.
fn elements((key, width): &(String, usize)) -> JointMap {
    JointMap::identity(key.clone(), (0..*width).map(|index| format!("{key}[{index}]")).collect())
}

pub(super) fn load(spec: &PolicySpec, engine: EngineKind) -> Policy {
    load_with(spec, engine, |_| ())
}

/// With options that `change` sets.
pub(super) fn load_with(spec: &PolicySpec, engine: EngineKind, change: impl FnOnce(&mut LoadOptions)) -> Policy {
    let mut options = LoadOptions {
        engine,
        load_order: None,
        stage_files: BTreeMap::new(),
        // Lists of operations are verified on no device here.
        allow_unverified: spec
            .stages
            .iter()
            .map(|stage| stage.name.clone())
            .filter(|_| engine == EngineKind::Cuda)
            .collect(),
        allow_inaccurate: BTreeSet::new(),
        blank_views: Vec::new(),
        state: spec.state.iter().map(elements).collect(),
        poses: Vec::new(),
        action: spec.action.keys.iter().map(elements).collect(),
        columns: Default::default(),
        deltas: BTreeMap::new(),
        denoise_steps: spec.denoise.default,
        threads: 1,
        integer_kernels: false,
        encode_threads: 1,
        encode_device: EncodeDevice::Auto,
        launch: Launch::Graph,
        release_host_copy: true,
        admission: Admission::default(),
    };
    change(&mut options);
    vla_runtime::devices::load_policy(spec.clone(), options, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// A frame of every camera and every joint, all of one stamp.
pub(super) fn observation(spec: &PolicySpec, instruction: &str, shade: usize) -> Observation {
    let stamp = Stamp::from_nanos(1_760_000_000_000_000_000 + shade as i64);
    let header = HeaderView { stamp, frame_id: "base_link" };
    let (width, height) = (64, 48);
    let camera = |(at, name): (usize, &String)| {
        let value = |i: usize| (i * (7 + at) / 3 + shade * 13) as u8;
        let data: Vec<u8> = (0..width * height * 3).map(value).collect();
        let bytes = Bytes::from(write::image(header, width as u32, height as u32, "rgb8", width as u32 * 3, &data));
        CameraSample {
            name: name.as_str().into(),
            stamp,
            transport: Transport::Raw,
            options: Default::default(),
            bytes,
        }
    };
    let maps: Vec<JointMap> = spec.state.iter().map(elements).collect();
    let names: Arc<[String]> = maps.iter().flat_map(|map| &map.joints).cloned().collect();
    let positions: Vec<f64> = (0..names.len()).map(|at| ((at + shade) as f64 * 0.37).sin()).collect();
    Observation {
        stamp,
        cameras: spec.cameras.iter().enumerate().map(camera).collect(),
        earlier_frames: Vec::new(),
        joints: Some(JointSample::new("joints", stamp, names, &positions)),
        poses: Vec::new(),
        history: Vec::new(),
        instruction: instruction.into(),
        assembled_at: stamp,
        tolerated: Vec::new(),
    }
}

fn infer(policy: &mut Policy, observation: &Observation, seed: u64, steps: u32) -> Result<Vec<f32>, Error> {
    let (mut made, mut timings) = (policy.new_chunk(), Timings::default());
    policy.infer(observation, seed, steps, &mut made, &mut timings)?;
    made.check_finite().expect("finite values");
    assert_eq!(timings.stages.iter().map(|time| time.stage.as_str()).collect::<Vec<_>>(), STAGES);
    assert!(timings.stages.iter().all(|time| !time.time.is_zero()) && timings.run <= timings.total, "{timings:?}");
    Ok(made.values)
}

pub(super) fn chunk_of(policy: &mut Policy, observation: &Observation, seed: u64, steps: u32) -> Vec<f32> {
    infer(policy, observation, seed, steps).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn a_policy_gives_the_chunk_of_the_reference_and_the_same_bits_again(bench: &Bench) {
    let spec = bench.spec();
    let (mut policy, mut reference) = (load(&spec, bench.kind.engine()), load(&spec, EngineKind::Onnx));
    let expected = match bench.kind.engine() {
        EngineKind::Onnx => "onnx",
        EngineKind::Tensorrt => "tensorrt",
        EngineKind::Cuda => "cuda",
    };
    assert_eq!(policy.engine_kind(), expected);
    assert_eq!(policy.load_reports().len(), STAGES.len());
    let red = observation(&spec, "pick up the red cube", 0);
    let blue = observation(&spec, "put the blue cube on the red one, slowly, and let go of it", 1);
    let first = chunk_of(&mut policy, &red, SEED, 4);
    assert_close(bench, &first, &chunk_of(&mut reference, &red, SEED, 4), "the first chunk");
    let between = chunk_of(&mut policy, &blue, SEED, 4);
    assert_close(bench, &between, &chunk_of(&mut reference, &blue, SEED, 4), "the second chunk");
    assert!(distance(&between, &first) > 1e-3, "another observation gives the same chunk");
    for round in 1..=3 {
        assert_same_bits(&chunk_of(&mut policy, &red, SEED, 4), &first, &format!("the first, again, round {round}"));
        assert_same_bits(&chunk_of(&mut policy, &blue, SEED, 4), &between, &format!("the second, round {round}"));
    }
    for steps in spec.denoise.steps.clone() {
        let found = chunk_of(&mut policy, &red, SEED + 1, steps);
        let expected = chunk_of(&mut reference, &red, SEED + 1, steps);
        assert_close(bench, &found, &expected, &format!("another seed, {steps} steps"));
        assert!(distance(&found, &first) > 1e-3, "another seed gives the same chunk");
    }
    assert_same_bits(&chunk_of(&mut load(&spec, bench.kind.engine()), &red, SEED, 4), &first, "loaded again");
}

pub(super) fn a_guided_chunk_is_that_of_the_reference_and_leaves_the_next_unguided(bench: &Bench) {
    let spec = bench.spec();
    let (mut policy, mut reference) = (load(&spec, bench.kind.engine()), load(&spec, EngineKind::Onnx));
    let seen = observation(&spec, "pick up the red cube", 0);
    let first = chunk_of(&mut policy, &seen, SEED, 4);
    let width = first.len() / spec.action.rows;
    let previous = first[3 * width..].to_vec();
    let continued = |policy: &mut Policy| {
        let prefix = ActionPrefix { previous: &previous, frozen: 4, overlap: 10 };
        let (mut made, mut timings) = (policy.new_chunk(), Timings::default());
        let inferred = policy.infer_with_prefix(&seen, SEED, 4, Some(&prefix), &mut made, &mut timings);
        inferred.unwrap_or_else(|error| panic!("{error}"));
        made.values
    };
    let found = continued(&mut policy);
    assert_same_bits(&found[..4 * width], &previous[..4 * width], "frozen rows");
    assert_close(bench, &found, &continued(&mut reference), "continued");
    assert!(distance(&found, &first) > 1e-3, "the prefix changes nothing");
    assert_same_bits(&chunk_of(&mut policy, &seen, SEED, 4), &first, "without a prefix, again");
}

pub(super) fn what_a_policy_refuses_leaves_it_as_it_was(bench: &Bench) {
    let spec = bench.spec();
    let mut policy = load(&spec, bench.kind.engine());
    let good = observation(&spec, "pick up the red cube", 0);
    let first = chunk_of(&mut policy, &good, SEED, 4);
    let most = spec.largest("T").expect("a profile of the text");
    let long = observation(&spec, &"cube ".repeat(most), 0);
    let error = infer(&mut policy, &long, SEED, 4).expect_err("longer than the engines take");
    assert!(matches!(error, Error::InstructionTooLong { max, found } if max == most && found > most), "{error}");
    assert_same_bits(&chunk_of(&mut policy, &good, SEED, 4), &first, "after an instruction that is too long");
    let error = infer(&mut policy, &good, SEED, 3).expect_err("not exported");
    assert!(matches!(&error, Error::Steps { found: 3, exported } if *exported == [1, 2, 4, 8]), "{error}");
    let mut blind = good.clone();
    blind.cameras.pop();
    let error = infer(&mut policy, &blind, SEED, 4).expect_err("a camera is missing").to_string();
    assert!(error.contains("3 frames") && error.contains("found 2"), "{error}");
    assert_same_bits(&chunk_of(&mut policy, &good, SEED, 4), &first, "after all refusals");
}

/// Writes other bytes over a file, in place and of the same length: as a program does that holds it open.
fn overwrite(path: &Path, change: impl Fn(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    change(&mut bytes);
    let file = File::options().write(true).open(path).expect("opened");
    file.write_all_at(&bytes, 0).expect("written in place");
}

/// Every file of the bundle, and of its folder of engines.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

pub(super) fn what_becomes_of_the_files_of_a_loaded_policy_does_not_reach_it(bench: &Bench) {
    let original = bench.spec();
    // What its first chunk keeps beside the files, measured algorithms, is copied, too.
    let mut reference = load(&original, bench.kind.engine());
    chunk_of(&mut reference, &observation(&original, "pick up the red cube", 0), SEED, 4);
    let scratch = tempfile::tempdir().expect("a folder");
    for file in files_below(&original.dir) {
        let copy = scratch.path().join(file.strip_prefix(&original.dir).expect("below"));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
        fs::copy(&file, copy).expect("copied");
    }
    let spec = PolicySpec::load(scratch.path()).expect("a policy");
    let mut policy = load(&spec, bench.kind.engine());
    let red = observation(&spec, "pick up the red cube", 0);
    let blue = observation(&spec, "put the blue cube on the red one, slowly, and let go of it", 1);
    let first = chunk_of(&mut policy, &red, SEED, 4);
    assert_eq!(policy.files().changed(), Vec::<&Path>::new());
    let folder = scratch.path().display().to_string();
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let mapped: Vec<&str> =
        maps.lines().filter(|line| line.contains(&folder) && !line.ends_with("(deleted)")).collect();
    assert!(mapped.is_empty(), "nothing of the folder is mapped by a name: {mapped:#?}");
    let inverted = |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = !*byte);
    let emptied = |file: &Path| File::options().write(true).open(file).expect("opened").set_len(0).expect("cut short");
    for what in ["overwritten", "cut short"] {
        for file in files_below(scratch.path()) {
            if what == "overwritten" { overwrite(&file, inverted) } else { emptied(&file) }
        }
        assert_same_bits(&chunk_of(&mut policy, &red, SEED, 4), &first, what);
        // Another instruction, whose rows and buffers are new, and other tables of constants.
        let expected = chunk_of(&mut reference, &blue, SEED, 4);
        assert_same_bits(&chunk_of(&mut policy, &blue, SEED, 4), &expected, &format!("another instruction, {what}"));
        for steps in spec.denoise.steps.clone() {
            let expected = chunk_of(&mut reference, &red, SEED, steps);
            let found = chunk_of(&mut policy, &red, SEED, steps);
            assert_same_bits(&found, &expected, &format!("{steps} steps, {what}"));
        }
    }
    let changed = policy.files().changed();
    for name in ["policy.yaml", "vision.onnx", "vision.onnx.data", "statistics.json", "tokenizer.json"] {
        assert!(changed.iter().any(|file| file.ends_with(name)), "{name} in {changed:?}");
    }
    assert_eq!(policy.spec().fingerprint, reference.spec().fingerprint, "the fingerprint is of what runs");
}

pub(super) fn a_policy_that_is_loaded_again_has_the_weights_and_the_fingerprint_of_the_disk(bench: &Bench) {
    if bench.kind.engine() == EngineKind::Tensorrt {
        return; // An engine of other weights than its network's is refused: that is another test.
    }
    let original = bench.spec();
    let scratch = tempfile::tempdir().expect("a folder");
    for file in files_below(&original.dir) {
        fs::copy(&file, scratch.path().join(file.file_name().expect("a name"))).expect("copied");
    }
    let spec = PolicySpec::load(scratch.path()).expect("a policy");
    let mut policy = load(&spec, bench.kind.engine());
    let red = observation(&spec, "pick up the red cube", 0);
    let first = chunk_of(&mut policy, &red, SEED, 4);
    // The sign of every weight of the last stage.
    overwrite(&scratch.path().join("step.onnx.data"), |bytes| {
        bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 0x80);
    });
    let mut again = load(&spec, bench.kind.engine());
    assert!(distance(&chunk_of(&mut again, &red, SEED, 4), &first) > 1e-3, "the new weights count");
    assert_ne!(again.spec().fingerprint, policy.spec().fingerprint);
    assert_same_bits(&chunk_of(&mut policy, &red, SEED, 4), &first, "the policy that was loaded before");
}
