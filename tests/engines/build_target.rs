//! The right to write an engine: one process at a time, room on the disk, nothing half-written afterwards. No GPU needed.

use std::fs;
use std::path::Path;

use prost::Message as _;
use tempfile::TempDir;
use vla_builder::{Error, Request, Target};
use vla_engines::Precision;
use vla_engines::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};

/// A network of one weight of `rows` times 1024 numbers, in a file beside it that is there or not.
fn network(dir: &Path, rows: i64, data: bool) -> Request {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let weight = TensorProto {
        name: Some("w".into()),
        dims: vec![rows, 1024],
        data_type: Some(1),
        data_location: Some(1),
        external_data: vec![entry("location", "w.bin"), entry("length", &(rows * 4096).to_string())],
        ..TensorProto::default()
    };
    let graph = GraphProto { initializer: vec![weight], ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    fs::write(dir.join("m.onnx"), model.encode_to_vec()).expect("written");
    if data {
        let file = fs::File::create(dir.join("w.bin")).expect("written");
        file.set_len(rows as u64 * 4096).expect("a sparse file");
    }
    Request { onnx: dir.join("m.onnx"), engine: dir.join("engines/m.engine"), ..Request::default() }
}

fn small() -> (TempDir, Request) {
    let dir = tempfile::tempdir().expect("a folder");
    let request = network(dir.path(), 1, true);
    (dir, request)
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("engines")).expect("the folder is made").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_second_build_of_an_engine_is_refused_by_the_process_that_is_at_it() {
    let (dir, request) = small();
    let first = Target::take(&request, "10.3.0").expect("free");
    let error = Target::take(&request, "10.3.0").expect_err("taken");
    let Error::Busy { holder, .. } = error else { panic!("{error:?}") };
    assert_eq!(holder, std::process::id().to_string());
    let other = Request { engine: dir.path().join("engines/other.engine"), ..request.clone() };
    drop(Target::take(&other, "10.3.0").expect("another engine is another place"));
    drop(first);
    drop(Target::take(&request, "10.3.0").expect("free again"));
    assert_eq!(files(dir.path()), [""; 0], "no lock stays");
}

#[test]
fn what_a_killed_build_left_goes_before_the_next_and_after_a_failed_one() {
    let (dir, request) = small();
    let partial = dir.path().join(format!("engines/.m.engine.1-0{}", vla_base::sys::fs::SUFFIX));
    fs::create_dir(dir.path().join("engines")).expect("made");
    fs::write(&partial, "half an engine").expect("written");
    fs::write(dir.path().join("engines/m.engine.lock"), "1\n").expect("a lock that nobody holds");
    let target = Target::take(&request, "10.3.0").expect("nobody holds it");
    assert!(!partial.exists());
    fs::write(&partial, "half of the next").expect("written");
    fs::write(&request.engine, "an engine of before").expect("written");
    drop(target);
    assert_eq!(files(dir.path()), ["m.engine"], "the whole one stays");
}

#[test]
fn a_disk_without_room_for_the_weights_is_refused_first_by_what_is_needed_and_free() {
    let dir = tempfile::tempdir().expect("a folder");
    // 8 TiB, of a sparse file.
    let request = network(dir.path(), 1 << 31, true);
    let error = Target::take(&request, "10.3.0").expect_err("the disk has less");
    let Error::Space { needed, free, .. } = error else { panic!("{error:?}") };
    assert_eq!(needed, (1 << 43) + (64 << 20));
    assert!(free > 0 && free < needed);
    let half =
        Target::take(&Request { precision: Precision::FP16, ..request }, "10.3.0").expect_err("nor half as large");
    let Error::Space { needed, .. } = half else { panic!("{half:?}") };
    assert_eq!(needed, (1 << 42) + (64 << 20));
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_network_whose_weights_are_not_there_is_refused_by_the_missing_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let request = network(dir.path(), 1, false);
    let words = Target::take(&request, "10.3.0").expect_err("refused").to_string();
    assert!(words.contains(&dir.path().join("w.bin").display().to_string()) && words.contains("no file"), "{words}");
    assert!(!dir.path().join("engines").exists(), "nothing is made");
}

#[test]
fn a_place_that_cannot_be_written_to_is_refused_by_its_name() {
    let (dir, request) = small();
    fs::write(dir.path().join("file"), []).expect("written");
    let engine = dir.path().join("file/m.engine");
    let words = Target::take(&Request { engine, ..request }, "10.3.0").expect_err("refused").to_string();
    assert!(words.starts_with(&dir.path().join("file").display().to_string()), "{words}");
}
