use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::graph::{Input, Stage};
use crate::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
use prost::Message as _;
use vla_base::tensor::Dim;

fn orin_nx() -> DeviceIdentity {
    DeviceIdentity {
        tensorrt: "10.3.0".into(),
        gpu: "Orin".into(),
        sm_version: "8.7".into(),
        sm_count: 8,
        driver: "540.4.0".into(),
        cuda: "12.6".into(),
        l4t: Some("36.4.3".into()),
        board: Some("NVIDIA Jetson Orin NX Engineering Reference Developer Kit".into()),
    }
}

fn agx_orin() -> DeviceIdentity {
    DeviceIdentity { sm_count: 16, board: Some("NVIDIA Jetson AGX Orin Developer Kit".into()), ..orin_nx() }
}

/// A bundle of one stage: network with weights beside it, engine, record.
struct Bundle {
    _dir: TempDir,
    stage: Stage,
    record: Provenance,
}

fn model(location: &str) -> Vec<u8> {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let weight = TensorProto {
        name: Some("w".into()),
        data_type: Some(1),
        dims: vec![4],
        data_location: Some(1),
        external_data: vec![entry("location", location)],
        ..TensorProto::default()
    };
    let graph = GraphProto { initializer: vec![weight], ..GraphProto::default() };
    ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

fn bundle() -> Bundle {
    let dir = tempfile::tempdir().expect("a folder");
    let (onnx, file) = (dir.path().join("language.onnx"), dir.path().join("language.engine"));
    std::fs::write(&onnx, model("language.onnx.data")).expect("written");
    std::fs::write(dir.path().join("language.onnx.data"), [7u8; 16]).expect("written");
    std::fs::write(&file, b"an engine of some bytes").expect("written");
    let dims = Some(vec![Dim::Symbol("S".into()), Dim::Fixed(8)]);
    let input = Input { tensor: "vl".into(), name: "vl".into(), dtype: None, dims, constants: None };
    let stage = Stage {
        name: "language".into(),
        onnx: onnx.clone(),
        file: file.clone(),
        repeat: false,
        inputs: vec![input],
        outputs: Vec::new(),
        precision: "fp16".into(),
        profile: vec![("S".into(), [120, 370, 420])],
        allow_unverified: false,
        allow_inaccurate: false,
    };
    let profile = Profile { min: vec![120, 8], opt: vec![370, 8], max: vec![420, 8] };
    let record = Provenance {
        format: FORMAT,
        device: orin_nx(),
        portable: None,
        emulated: false,
        adopted: false,
        onnx: OnnxIdentity::of(&onnx).expect("hashes"),
        precision: "fp16".into(),
        profiles: [("vl".to_owned(), profile)].into(),
        flags: BuildSettings { fp16: true, ..BuildSettings::default() },
        calibration: None,
        engine: EngineIdentity { sha256: hash::file_sha256(&file).expect("hashes"), bytes: 23 },
        built_at: rfc3339(UNIX_EPOCH),
        build_s: 28.5,
        memory: Memory { kept_factor: Some(1.0), ..Memory::default() },
        verification: None,
    };
    record.write(&file).expect("written");
    Bundle { _dir: dir, stage, record }
}

/// The verdict on an engine that is too far from its network.
fn failed() -> Verification {
    let figures = Figures { cosine: Some(0.71), max_abs: Some(3.5), relative: None, relative_l2: Some(0.5) };
    Verification {
        passed: false,
        at: rfc3339(UNIX_EPOCH),
        bag_sha256: "ab".repeat(32),
        observations: 8,
        tensors: vec![TensorFigures { tensor: "vl_embs".into(), figures, least_cosine: Some(0.999) }],
        summary: "vl_embs cosine 0.71 < 0.999".into(),
    }
}

fn refused(bundle: &Bundle, device: &DeviceIdentity) -> String {
    verify(&bundle.stage, device).expect_err("refused").to_string()
}

#[test]
fn a_record_comes_back_as_it_was_written_and_leaves_no_temporary() {
    let bundle = bundle();
    assert_eq!(Provenance::read(&bundle.stage.file).expect("reads"), Some(bundle.record.clone()));
    let status = verify(&bundle.stage, &orin_nx()).expect("matches");
    assert_eq!(status, ProvenanceStatus::Verified(Box::new(bundle.record)));
    let names = std::fs::read_dir(bundle.stage.file.parent().expect("a folder")).expect("lists");
    let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn an_engine_of_an_agx_orin_is_rejected_on_an_orin_nx_with_both_values() {
    let mut bundle = bundle();
    bundle.record.device = agx_orin();
    bundle.record.write(&bundle.stage.file).expect("written");
    let text = refused(&bundle, &orin_nx());
    assert!(text.contains("2 properties differ"), "{text}");
    assert!(text.contains("SM count  engine: 16, here: 8"), "{text}");
    assert!(text.contains("engine: NVIDIA Jetson AGX Orin Developer Kit, here: NVIDIA Jetson Orin NX"), "{text}");
}

#[test]
fn every_difference_is_listed_at_once() {
    let mut bundle = bundle();
    bundle.stage.precision = "int8+fp16".into();
    bundle.stage.profile[0].1[2] = 512;
    std::fs::write(bundle.stage.onnx.with_extension("onnx.data"), [8u8; 16]).expect("written");
    std::fs::write(&bundle.stage.file, b"an engine of SOME bytes").expect("written");
    bundle.record.verification = Some(failed());
    bundle.record.write(&bundle.stage.file).expect("written");
    let device = DeviceIdentity {
        tensorrt: "10.16.0".into(),
        gpu: "Thor".into(),
        sm_version: "11.0".into(),
        sm_count: 20,
        driver: "1".into(),
        cuda: "13.0".into(),
        l4t: None,
        board: None,
    };
    let Reason::Mismatch(differences) = verify(&bundle.stage, &device).expect_err("rejected").reason else {
        panic!("a mismatch")
    };
    let whats: Vec<&str> = differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!(
        whats,
        [
            "TensorRT",
            "GPU",
            "SM version",
            "SM count",
            "driver",
            "CUDA",
            "L4T",
            "board",
            "precision",
            "profile of vl",
            "engine sha256 (changed or damaged)",
            "ONNX sha256 (exported again)",
        ]
    );
}

#[test]
fn an_engine_that_failed_its_accuracy_gate_is_refused_unless_its_stage_allows_it_by_name() {
    let mut bundle = bundle();
    bundle.record.verification = Some(failed());
    bundle.record.write(&bundle.stage.file).expect("written");
    assert_eq!(Provenance::read(&bundle.stage.file).expect("reads"), Some(bundle.record.clone()));
    let text = refused(&bundle, &orin_nx());
    for part in ["stage 'language'", "vl_embs cosine 0.71 < 0.999 (8 observations, 1970-01-01T00:00:00Z)"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    bundle.stage.allow_unverified = true;
    assert!(verify(&bundle.stage, &orin_nx()).is_err(), "an engine without a record is another matter");
    bundle.stage.allow_inaccurate = true;
    let verified = verify(&bundle.stage, &orin_nx()).expect("allowed by name");
    assert_eq!(verified.inaccuracy(), Some("vl_embs cosine 0.71 < 0.999"));
    assert!(verify(&bundle.stage, &agx_orin()).is_err(), "what else differs is refused all the same");
}

#[test]
fn an_engine_that_passed_its_accuracy_gate_or_was_never_held_to_it_is_loaded() {
    let mut bundle = bundle();
    assert_eq!(verify(&bundle.stage, &orin_nx()).expect("never held to it").inaccuracy(), None);
    bundle.record.verification = Some(Verification { passed: true, ..failed() });
    bundle.record.write(&bundle.stage.file).expect("written");
    assert_eq!(verify(&bundle.stage, &orin_nx()).expect("passed").inaccuracy(), None);
    bundle.record.verification = Some(Verification { bag_sha256: "x".into(), ..failed() });
    let error = bundle.record.write(&bundle.stage.file).expect_err("refused").to_string();
    assert!(error.contains("verification.bag_sha256"), "{error}");
}

#[test]
fn an_engine_built_under_emulation_may_come_from_another_board_but_not_another_gpu() {
    let mut bundle = bundle();
    bundle.record.device.board = agx_orin().board;
    bundle.record.emulated = true;
    bundle.record.write(&bundle.stage.file).expect("written");
    let verified = verify(&bundle.stage, &orin_nx()).expect("emulated this module");
    let warning = "Using an engine plan file across different models of devices is not recommended";
    other_model(&bundle.stage, &verified, ["loaded", warning]).expect("allowed");
    bundle.record.device.sm_count = 16;
    bundle.record.write(&bundle.stage.file).expect("written");
    assert!(refused(&bundle, &orin_nx()).contains("1 property differs"));
}

#[test]
fn an_engine_built_ahead_of_time_is_loaded_on_any_gpu_of_its_compute_capabilities() {
    let mut bundle = bundle();
    let capabilities = ["sm86", "sm120"].map(|name| name.parse().expect("a compute capability"));
    let portable = Portable::new(capabilities.to_vec());
    bundle.record.device = portable.device("RTX 1.7.1".into());
    bundle.record.portable = Some(portable);
    bundle.record.write(&bundle.stage.file).expect("written");
    assert_eq!(Provenance::read(&bundle.stage.file).expect("reads"), Some(bundle.record.clone()));
    let workstation = DeviceIdentity {
        tensorrt: "RTX 1.7.1".into(),
        gpu: "NVIDIA GeForce RTX 3090".into(),
        sm_version: "8.6".into(),
        sm_count: 82,
        driver: "580.95.05".into(),
        cuda: "13.0".into(),
        l4t: None,
        board: None,
    };
    verify(&bundle.stage, &workstation).expect("one of its GPUs");
    verify_without_gpu(&bundle.stage, Path::new("/nonexistent")).expect("its files match");
    let ada = DeviceIdentity { sm_version: "8.9".into(), ..workstation.clone() };
    assert!(refused(&bundle, &ada).contains("compute capability  engine: 8.6, 12.0, here: 8.9"));
    let tensorrt = DeviceIdentity { tensorrt: "10.16.0".into(), ..workstation.clone() };
    assert!(refused(&bundle, &tensorrt).contains("TensorRT  engine: RTX 1.7.1, here: 10.16.0"));
    std::fs::write(&bundle.stage.file, b"an engine of SOME bytes").expect("written");
    assert!(refused(&bundle, &workstation).contains("engine sha256"), "its files are compared all the same");
}

#[test]
fn tensorrts_own_warning_about_another_module_refuses() {
    let bundle = bundle();
    let warning = "[W] Using an engine plan file across different models of devices is not recommended";
    for verified in [ProvenanceStatus::Verified(Box::new(bundle.record.clone())), ProvenanceStatus::Unverified] {
        let rejection = other_model(&bundle.stage, &verified, ["a", warning]).expect_err("rejected");
        assert!(matches!(&rejection.reason, Reason::OtherModel { line } if line == warning), "{rejection}");
        assert_eq!(rejection.record.as_deref(), verified.provenance());
        other_model(&bundle.stage, &verified, ["a", "b"]).expect("no warning");
    }
}

#[test]
fn a_missing_record_is_refused_unless_the_operator_allows_it() {
    let mut bundle = bundle();
    std::fs::remove_file(Provenance::path(&bundle.stage.file)).expect("removed");
    let text = refused(&bundle, &orin_nx());
    assert!(text.contains("language.engine.provenance.json is missing"), "{text}");
    bundle.stage.allow_unverified = true;
    assert_eq!(verify(&bundle.stage, &orin_nx()).expect("allowed"), ProvenanceStatus::Unverified);
}

#[test]
fn allow_unverified_does_not_cover_a_record_that_differs() {
    let mut bundle = bundle();
    bundle.stage.allow_unverified = true;
    assert!(verify(&bundle.stage, &agx_orin()).is_err());
    std::fs::write(Provenance::path(&bundle.stage.file), "{").expect("written");
    assert!(refused(&bundle, &orin_nx()).contains("not a provenance record"));
}

#[test]
fn a_truncated_engine_and_one_with_a_flipped_bit_are_refused_before_anything_reads_them() {
    let bundle = bundle();
    let whole = std::fs::read(&bundle.stage.file).expect("reads");
    std::fs::write(&bundle.stage.file, &whole[..10]).expect("written");
    let text = refused(&bundle, &orin_nx());
    assert!(text.contains("engine size (truncated)  engine: 23 bytes, here: 10 bytes"), "{text}");
    let mut flipped = whole.clone();
    flipped[5] ^= 1;
    std::fs::write(&bundle.stage.file, &flipped).expect("written");
    assert!(refused(&bundle, &orin_nx()).contains("engine sha256 (changed or damaged)"));
    std::fs::write(&bundle.stage.file, &whole).expect("written");
    assert!(verify(&bundle.stage, &orin_nx()).is_ok());
}

#[test]
fn a_network_changed_in_place_with_size_and_modification_time_kept_is_caught() {
    let bundle = bundle();
    let data = bundle.stage.onnx.with_extension("onnx.data");
    let modified = std::fs::metadata(&data).and_then(|meta| meta.modified()).expect("a time");
    std::fs::write(&data, [9u8; 16]).expect("written");
    let file = std::fs::File::options().write(true).open(&data).expect("opens");
    file.set_modified(modified).expect("set");
    assert!(refused(&bundle, &orin_nx()).contains("ONNX sha256"));
}

#[test]
fn a_network_that_was_only_copied_is_hashed_again_and_matches() {
    let bundle = bundle();
    let bytes = std::fs::read(&bundle.stage.onnx).expect("reads");
    std::fs::remove_file(&bundle.stage.onnx).expect("removed");
    std::fs::write(&bundle.stage.onnx, bytes).expect("written");
    assert!(verify(&bundle.stage, &orin_nx()).is_ok());
}

#[test]
fn the_networks_hash_is_the_documented_one() {
    use sha2::{Digest as _, Sha256};
    let bundle = bundle();
    let model = hash::hex(&Sha256::digest(model("language.onnx.data")));
    let data = hash::hex(&Sha256::digest([7u8; 16]));
    let expected = hash::hex(&Sha256::digest(format!("model\0{model}\nlanguage.onnx.data\0{data}\n")));
    assert_eq!(bundle.record.onnx.sha256, expected);
}

#[test]
fn a_calibration_cache_that_changed_is_caught() {
    let mut bundle = bundle();
    let cache = bundle.stage.file.with_file_name("calibration cache");
    std::fs::write(&cache, "scales").expect("written");
    let sha256 = hash::file_sha256(&cache).expect("hashes");
    bundle.record.calibration = Some(Calibration { file: "calibration cache".into(), sha256, data: None });
    bundle.record.write(&bundle.stage.file).expect("written");
    assert!(verify(&bundle.stage, &orin_nx()).is_ok());
    std::fs::write(&cache, "other").expect("written");
    let text = refused(&bundle, &orin_nx());
    assert!(text.contains("calibration cache sha256"), "{text}");
}

#[test]
fn another_format_is_refused_in_words_and_unknown_keys_of_this_one_are_not() {
    let bundle = bundle();
    let text = std::fs::read_to_string(Provenance::path(&bundle.stage.file)).expect("reads");
    let newer = text.replace("\"format\": 1", "\"format\": 2, \"engine\": []");
    let error = Provenance::parse(Path::new("p"), newer.as_bytes()).expect_err("format 2").to_string();
    assert!(error.contains("provenance format 2, this build reads format 1"), "{error}");
    let more = text.replace("\"format\": 1", "\"format\": 1, \"colour\": {\"red\": []}");
    assert_eq!(Provenance::parse(Path::new("p"), more.as_bytes()).expect("reads"), bundle.record);
}

#[test]
fn values_that_no_build_writes_are_all_reported() {
    let bundle = bundle();
    let mut record = bundle.record.clone();
    record.engine.sha256 = "zz".into();
    record.memory.kept_factor = Some(-1.0);
    record.build_s = f64::INFINITY;
    record.profiles.insert("x".into(), Profile { min: vec![2], opt: vec![1], max: vec![3] });
    let error = record.write(&bundle.stage.file).expect_err("refused").to_string();
    for word in ["engine.sha256", "kept_factor", "build_s", "profiles.x"] {
        assert!(error.contains(word), "{word} in {error}");
    }
    assert!(Provenance::read(&bundle.stage.file).expect("the old one is whole").is_some());
}

#[test]
fn l4t_and_board_are_read_from_the_files_of_a_jetson() {
    let root = tempfile::tempdir().expect("a folder");
    assert_eq!((l4t(root.path()), board(root.path())), (None, None));
    std::fs::create_dir_all(root.path().join("etc")).expect("made");
    std::fs::create_dir_all(root.path().join("proc/device-tree")).expect("made");
    let release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n";
    std::fs::write(root.path().join("etc/nv_tegra_release"), release).expect("written");
    std::fs::write(root.path().join("proc/device-tree/model"), "NVIDIA Jetson Orin NX\0").expect("written");
    assert_eq!(l4t(root.path()).as_deref(), Some("36.4.3"));
    assert_eq!(board(root.path()).as_deref(), Some("NVIDIA Jetson Orin NX"));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(sm_count: u32, bytes: u64, factor in 0.0f64..=16.0, build_s in 0.0f64..1e9, words: Vec<String>, board: Option<String>) {
        let mut record = bundle().record;
        record.device.sm_count = sm_count;
        record.device.board = board;
        record.engine.bytes = bytes;
        record.memory.kept_factor = Some(factor);
        record.build_s = build_s;
        record.flags = words.into();
        let text = serde_json::to_vec(&record).expect("serializes");
        prop_assert_eq!(Provenance::parse(Path::new("p"), &text).expect("reads"), record);
    }

    #[test]
    fn a_single_changed_property_of_the_device_is_always_a_mismatch(which in 0usize..8, other in "[a-z]{1,8}") {
        let bundle = bundle();
        let mut device = orin_nx();
        match which {
            0 => device.tensorrt = other,
            1 => device.gpu = other,
            2 => device.sm_version = other,
            3 => device.sm_count += 1,
            4 => device.driver = other,
            5 => device.cuda = other,
            6 => device.l4t = Some(other),
            _ => device.board = Some(other),
        }
        let rejection = check(&bundle.record, &device, &bundle.stage).expect_err("rejected");
        let Reason::Mismatch(differences) = rejection.reason else { panic!("a mismatch") };
        prop_assert_eq!(differences.len(), 1);
    }
}
