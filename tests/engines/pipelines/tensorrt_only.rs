//! What only TensorRT has: engines that were built somewhere, optimisation profiles, memory that is read in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use vla_engines::Precision;
use vla_engines::profile::Fault;
use vla_engines::provenance::Provenance;
use vla_engines::{Error, Inference, Launch, Stage, Symbols};
use vla_export::demo;
use vla_policy::PolicySpec;
use vla_policy::spec::ENGINES;
use vla_runtime::remedies::described;

use super::bench::{Bench, Kind, Load};
use super::given::{Given, IMAGE_TOKENS, STAGES, assert_same_bits};

fn single() -> Option<Bench> {
    Bench::open(Kind::Tensorrt(Precision::FP32))
}

/// A copy of the bench's bundle, to be damaged.
struct Copied {
    folder: TempDir,
    stages: Vec<Stage>,
}

impl Copied {
    fn of(bench: &Bench) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(ENGINES)).expect("a folder");
        for part in ["", ENGINES] {
            for entry in fs::read_dir(bench.dir().join(part)).expect("the bundle").flatten() {
                if entry.path().is_file() {
                    fs::copy(entry.path(), folder.path().join(part).join(entry.file_name())).expect("a copy");
                }
            }
        }
        let stages = PolicySpec::load(folder.path()).expect("the description").engine_stages();
        Self { folder, stages }
    }

    fn stage(&mut self, name: &str) -> &mut Stage {
        self.stages.iter_mut().find(|stage| stage.name == name).expect("a stage")
    }

    fn engine(&self, name: &str) -> PathBuf {
        self.folder.path().join(ENGINES).join(format!("{name}.engine"))
    }

    fn change_record(&self, name: &str, change: impl FnOnce(&mut Provenance)) {
        let mut record = Provenance::read(&self.engine(name)).expect("a readable record").expect("a record");
        change(&mut record);
        record.write(&self.engine(name)).expect("written");
    }

    /// Removes the records, and has the operator allow that.
    fn without_records(mut self, allow_unverified: bool) -> Self {
        for stage in &mut self.stages {
            fs::remove_file(Provenance::path(&stage.file)).expect("a record");
            stage.allow_unverified = allow_unverified;
        }
        self
    }

    fn load(&self, bench: &Bench) -> Box<dyn Inference> {
        bench.load_stages(&self.stages, Load::default(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The refusal of a load that begins with no engine.
    fn refused_unseen(&self, bench: &Bench) -> String {
        let error = bench.load_stages(&self.stages, Load::default(), &mut |event| panic!("{event:?}")).err();
        let error = error.expect("refused");
        assert!(matches!(error, Error::Provenance { .. }) && !error.does_not_fit(), "{error:?}");
        described(&error)
    }
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    eprintln!("{text}");
    for words in words {
        assert!(text.contains(words), "'{words}' is not in:\n{text}");
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn flip_a_bit(path: &Path) {
    let mut bytes = read(path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_size_outside_the_profile_is_refused_by_engine_tensor_and_dimension_and_the_pipeline_goes_on() {
    let Some(bench) = single() else { return };
    let mut pipeline = bench.load(Load::default());
    let given = Given::usual(&bench);
    let first = given.run(&mut *pipeline);
    let [least, _, most] = demo::TEXT;
    for text in [least - 1, most + 1] {
        let symbols: Symbols = [("T".to_owned(), text), ("S".to_owned(), text + IMAGE_TOKENS)].into();
        let error = pipeline.prepare(&symbols, 4).expect_err("outside");
        let Error::Profile(violation) = &error else { panic!("{error:?}") };
        assert_eq!((violation.stage.as_str(), violation.tensor.as_str()), ("language", "text_rows"));
        let symbol = Some("T".to_owned());
        assert_eq!(violation.fault, Fault::Dimension { axis: 0, symbol, value: text, min: least, max: most });
        assert_says(&described(&error), &["use a shorter input, or build the engine with a profile of T"]);
        execute_again(&mut *pipeline, &given, &first);
    }
    // A sequence of its own length beside text that fits.
    let symbols: Symbols = [("T".to_owned(), most), ("S".to_owned(), most + IMAGE_TOKENS + 1)].into();
    let error = pipeline.prepare(&symbols, 4).expect_err("outside").to_string();
    assert_says(&error, &["engine 'language', input 'positions': dimension 0 (S) is 253", "takes 76 to 252"]);
    execute_again(&mut *pipeline, &given, &first);
}

fn execute_again(pipeline: &mut dyn Inference, given: &Given, expected: &[f32]) {
    assert_same_bits(&given.run(pipeline), expected, "after a refused size");
}

#[test]
fn memory_that_the_device_reads_in_place_gives_the_bits_of_a_copy() {
    let Some(bench) = single() else { return };
    let given = Given::usual(&bench);
    let (a, b) = (given.clone(), given.with_text(40).with_salt(8));
    let mut copying = bench.load(Load { in_place: Some(false), ..Load::default() });
    let [of_a, of_b] = [&a, &b].map(|given| given.run(&mut *copying));
    drop(copying);
    for launch in [Launch::Graph, Launch::StepByStep, Launch::WaitAfterEach] {
        let mut reading = bench.load(Load { in_place: Some(true), launch, ..Load::default() });
        for round in 1..=3 {
            assert_same_bits(&a.run(&mut *reading), &of_a, &format!("in place, {launch:?}, round {round}"));
            assert_same_bits(&b.run(&mut *reading), &of_b, &format!("in place, {launch:?}, round {round}, other"));
        }
    }
}

/// A device that cannot record says so and runs step by step, with the same results.
#[test]
fn passes_with_a_graph_are_recorded_without_a_word() {
    let Some(bench) = single() else { return };
    let mut pipeline = bench.load(Load::default());
    let given = Given::usual(&bench);
    let warnings = warnings_of(|| {
        for steps in demo::STEPS {
            (0..3).for_each(|_| drop(given.with_steps(steps).run(&mut *pipeline)));
        }
        tracing::warn!("the last line");
    });
    assert!(warnings.lines().count() == 1 && warnings.contains("the last line"), "{warnings}");
}

/// What is logged as a warning or worse meanwhile.
fn warnings_of(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while logging").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (lines, level) = (Lines::default(), tracing::Level::WARN);
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let lines = lines.0.lock().expect("no panic while logging");
    String::from_utf8_lossy(&lines).into_owned()
}

#[test]
fn an_engine_without_a_record_is_refused_with_three_ways_out() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench).without_records(false);
    let text = copied.refused_unseen(&bench);
    let engine = copied.engine("vision");
    assert_says(
        &text,
        &[
            &format!("stage 'vision': no record says where {} was built", engine.display()),
            &format!("vla-trt build --onnx {}", copied.folder.path().join("vision.onnx").display()),
            &format!("vla-trt adopt {} --onnx ", engine.display()),
            "set engines.vision.allow_unverified: true",
            "set engines.step.allow_unverified: true",
        ],
    );
}

#[test]
fn an_engine_without_a_record_loads_where_that_is_allowed_and_is_told_apart() {
    let Some(bench) = single() else { return };
    let given = Given::usual(&bench);
    let expected = given.run(&mut *bench.load(Load::default()));
    let copied = Copied::of(&bench).without_records(true);
    let mut pipeline = copied.load(&bench);
    assert_eq!(pipeline.reports().len(), STAGES.len());
    assert!(pipeline.reports().iter().all(|report| report.unverified));
    assert_same_bits(&given.run(&mut *pipeline), &expected, "unverified");
}

#[test]
fn a_truncated_engine_is_refused_before_tensorrt_sees_it() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench);
    let bytes = read(&copied.engine("step"));
    fs::write(copied.engine("step"), &bytes[..bytes.len() / 2]).expect("written");
    assert_says(
        &copied.refused_unseen(&bench),
        &[
            "stage 'step': ",
            "was not built for this device and these files: 1 property differs",
            &format!("engine size (truncated)  engine: {} bytes, here: {} bytes", bytes.len(), bytes.len() / 2),
            "build the engine again on this device:\n  vla-trt build --onnx ",
            " --precision fp32 --profile T=16:64:192",
        ],
    );
}

#[test]
fn a_flipped_bit_in_an_engine_is_refused_before_tensorrt_sees_it() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench);
    flip_a_bit(&copied.engine("language"));
    assert_says(
        &copied.refused_unseen(&bench),
        &["stage 'language': ", ": 1 property differs", "engine sha256 (changed or damaged)  engine: "],
    );
}

#[test]
fn an_engine_of_another_number_of_multiprocessors_is_refused_with_both_numbers() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench);
    let mut here = 0;
    copied.change_record("step", |record| {
        here = record.device.sm_count;
        record.device.sm_count = here + 8;
    });
    assert!(here > 0);
    assert_says(
        &copied.refused_unseen(&bench),
        &["stage 'step': ", ": 1 property differs", &format!("SM count  engine: {}, here: {here}", here + 8)],
    );
}

#[test]
fn whatever_else_of_the_device_differs_is_named() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench);
    copied.change_record("vision", |record| {
        record.device.tensorrt = "8.5.2".into();
        record.device.gpu = "Orin".into();
        record.device.l4t = Some("36.4.3".into());
    });
    assert_says(
        &copied.refused_unseen(&bench),
        &[
            "stage 'vision': ",
            ": 3 properties differ",
            "TensorRT  engine: 8.5.2, here: ",
            "GPU       engine: Orin, here: ",
            "L4T       engine: 36.4.3, here: ",
        ],
    );
}

#[test]
fn a_network_that_changed_after_the_build_is_refused() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench);
    flip_a_bit(&copied.folder.path().join("step.onnx.data"));
    assert_says(
        &copied.refused_unseen(&bench),
        &["stage 'step': ", ": 1 property differs", "ONNX sha256 (exported again)  engine: "],
    );
}

#[test]
fn an_engine_of_another_precision_than_the_policys_is_refused() {
    let Some(bench) = single() else { return };
    let mut copied = Copied::of(&bench);
    copied.stage("context").precision = "fp16".into();
    assert_says(
        &copied.refused_unseen(&bench),
        &["stage 'context': ", "precision  engine: fp32, here: fp16 (policy)", " --precision fp16 "],
    );
}

#[test]
fn an_engine_whose_profile_is_narrower_than_the_policys_is_refused() {
    let Some(bench) = single() else { return };
    let mut copied = Copied::of(&bench);
    copied.stage("language").profile[0].1[2] = 256;
    assert_says(
        &copied.refused_unseen(&bench),
        &[
            "stage 'language': ",
            "profile of text_rows  engine: [16, 96]..[192, 96], here: [T 16..256, 96] (policy)",
            " --profile T=16:64:256",
        ],
    );
    // Without a record the engine itself is asked, once it is loaded.
    let copied = copied.without_records(true);
    let error = bench.load_stages(&copied.stages, Load::default(), &mut |_| {}).err().expect("refused");
    assert!(matches!(error, Error::Graph { .. }), "{error:?}");
    assert_says(
        &error.to_string(),
        &["stage 'language', input 'text_rows': the engine's profile accepts [16, 96]..[192, 96], the policy needs"],
    );
}

#[test]
fn every_stage_that_is_wrong_is_named_at_once_and_a_mended_bundle_loads() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench);
    fs::remove_file(copied.engine("vision")).expect("an engine");
    fs::write(Provenance::path(&copied.engine("language")), "{\"format\": 1").expect("written");
    fs::remove_file(Provenance::path(&copied.engine("context"))).expect("a record");
    fs::write(copied.engine("step"), [0; 100]).expect("written");
    assert_says(
        &copied.refused_unseen(&bench),
        &[
            "stage 'vision': there is no engine ",
            "stage 'language': ",
            "not a provenance record: ",
            "stage 'context': no record says where ",
            "stage 'step': ",
            "here: 100 bytes",
        ],
    );
    for stage in STAGES {
        for file in [copied.engine(stage), Provenance::path(&copied.engine(stage))] {
            let sound = bench.dir().join(file.strip_prefix(copied.folder.path()).expect("inside"));
            fs::copy(sound, file).expect("a copy");
        }
    }
    let given = Given::usual(&bench);
    let expected = given.run(&mut *bench.load(Load::default()));
    assert_same_bits(&given.run(&mut *copied.load(&bench)), &expected, "mended");
}

/// The last of this file by name: should TensorRT take the process with it, the others have run.
#[test]
fn without_a_record_it_is_tensorrt_that_refuses_a_truncated_engine_and_the_next_load_works() {
    let Some(bench) = single() else { return };
    let copied = Copied::of(&bench).without_records(true);
    let bytes = read(&copied.engine("step"));
    fs::write(copied.engine("step"), &bytes[..bytes.len() / 2]).expect("written");
    let error = bench.load_stages(&copied.stages, Load::default(), &mut |_| {}).err().expect("refused");
    assert!(matches!(error, Error::Load { .. }), "{error:?}");
    assert_says(
        &error.to_string(),
        &[&format!("stage 'step': cannot load {}: ", copied.engine("step").display()), "TensorRT"],
    );
    fs::write(copied.engine("step"), bytes).expect("written");
    let given = Given::usual(&bench);
    let expected = given.run(&mut *bench.load(Load::default()));
    assert_same_bits(&given.run(&mut *copied.load(&bench)), &expected, "whole again");
}
