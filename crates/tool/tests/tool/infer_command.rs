//! `vla-trt infer` at the process boundary: a .npz written here byte by byte, the real tool, the .npz that it leaves.

use vla_trt_tests::demo;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use vla_policy::PolicySpec;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// One array: NumPy's name of the element type, shape, bytes.
#[derive(Clone, PartialEq, Debug)]
struct Array {
    descr: String,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Array {
    fn u8(shape: &[usize], data: Vec<u8>) -> Self {
        Self { descr: "|u1".into(), shape: shape.to_vec(), data }
    }

    fn f32(shape: &[usize], values: impl Iterator<Item = f32>) -> Self {
        let data = values.take(shape.iter().product()).flat_map(f32::to_le_bytes).collect();
        Self { descr: "<f4".into(), shape: shape.to_vec(), data }
    }

    fn to_f32(&self) -> Vec<f32> {
        assert_eq!(self.descr, "<f4");
        self.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn to_i64(&self) -> Vec<i64> {
        assert_eq!(self.descr, "<i8");
        self.data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }

    fn npy(&self) -> Vec<u8> {
        let shape: String = self.shape.iter().map(|n| format!("{n}, ")).collect();
        let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", self.descr);
        header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.into_bytes());
        bytes.extend(&self.data);
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!(end % 64, 0, "the elements are aligned");
        let header = std::str::from_utf8(&bytes[10..end]).expect("text");
        assert!(header.ends_with('\n') && header.contains("'fortran_order': False"), "{header}");
        let between = |from: &str, to: char| {
            let rest = &header[header.find(from).expect("the key") + from.len()..];
            &rest[..rest.find(to).expect("its end")]
        };
        let shape = between("'shape': (", ')').split(',').filter_map(|n| n.trim().parse().ok()).collect();
        Self { descr: between("'descr': '", '\'').to_owned(), shape, data: bytes[end..].to_vec() }
    }
}

type Arrays = BTreeMap<String, Array>;

/// The demo policy in a folder of its own, and a good observation of it.
struct Bench {
    policy: TempDir,
    scratch: TempDir,
    spec: PolicySpec,
    arrays: Arrays,
}

impl Bench {
    fn new() -> Self {
        let policy = demo::policy();
        let spec = PolicySpec::load(policy.path()).expect("the demo policy");
        let mut arrays = Arrays::new();
        for (index, camera) in spec.cameras.iter().enumerate() {
            let pixels = (0..48 * 64 * 3).map(|i| ((i * (5 + index)) % 249) as u8).collect();
            arrays.insert(format!("image.{camera}"), Array::u8(&[48, 64, 3], pixels));
        }
        let wave = || (0..).map(|i| (i as f32 * 0.61).sin() * 0.5);
        for (key, width) in &spec.state {
            arrays.insert(format!("state_raw.{key}"), Array::f32(&[1, *width], wave()));
        }
        arrays.insert("noise".into(), Array::f32(&[spec.action.horizon, spec.action.dims], wave()));
        arrays.insert("instruction".into(), Array::u8(&[8], b"Push it!".to_vec()));
        Self { policy, scratch: tempfile::tempdir().expect("scratch"), spec, arrays }
    }

    fn dump(&self) -> PathBuf {
        self.scratch.path().join("dump.npz")
    }

    /// Runs the tool on the arrays, deflated or stored as numpy.savez_compressed and numpy.savez have them.
    fn run(&self, method: CompressionMethod) -> Output {
        let inputs = self.scratch.path().join("inputs.npz");
        let mut archive = ZipWriter::new(File::create(&inputs).expect("a file"));
        for (name, array) in &self.arrays {
            let options = SimpleFileOptions::default().compression_method(method);
            archive.start_file(format!("{name}.npy"), options).expect("a member");
            archive.write_all(&array.npy()).expect("written");
        }
        archive.finish().expect("an archive");
        infer(self.policy.path(), &inputs, &self.dump())
    }

    fn found(&self) -> Arrays {
        let mut archive = ZipArchive::new(Cursor::new(fs::read(self.dump()).expect("the dump"))).expect("an archive");
        let mut found = Arrays::new();
        for index in 0..archive.len() {
            let mut member = archive.by_index(index).expect("a member");
            let name = member.name().expect("a name").strip_suffix(".npy").expect("an array").to_owned();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).expect("readable");
            assert!(found.insert(name.clone(), Array::read(&bytes)).is_none(), "{name} comes once");
        }
        found
    }

    /// What is said about arrays that are refused; nothing is then written.
    fn refusal(&self) -> String {
        let output = self.run(CompressionMethod::Stored);
        assert_eq!(output.status.code(), Some(1), "{}", words(&output));
        assert!(output.stdout.is_empty(), "{}", words(&output));
        let left: Vec<_> =
            fs::read_dir(self.scratch.path()).expect("folder").map(|e| e.expect("entry").path()).collect();
        assert_eq!(left, [self.scratch.path().join("inputs.npz")], "nothing is left");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn infer(policy: &Path, inputs: &Path, dump: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("infer").arg("--policy").arg(policy).arg("--inputs").arg(inputs).arg("--dump").arg(dump);
    command.output().expect("the tool starts")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_dump_has_every_tensor_with_its_type_and_shape() {
    let bench = Bench::new();
    let output = bench.run(CompressionMethod::Deflated);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let found = bench.found();
    assert_eq!(words(&output).trim(), format!("{} tensors -> {}", found.len(), bench.dump().display()));

    let tokens = found["input_ids"].shape[0];
    let (horizon, dims, rows) = (bench.spec.action.horizon, bench.spec.action.dims, bench.spec.action.rows);
    // 48x64 as the demo's transform has it: 112 high, 140 wide, in cells of 28.
    let images = 3 * (112 / 28) * (140 / 28);
    let mut expected: Vec<(String, &str, Vec<usize>)> = vec![
        ("input_ids".into(), "<i8", vec![tokens]),
        ("attention_mask".into(), "<i8", vec![tokens]),
        ("image_mask".into(), "|u1", vec![tokens]),
        ("image_sizes".into(), "<i8", vec![3, 2]),
        ("pixels".into(), "<f4", vec![3, 3, 112, 140]),
        ("state_normalized".into(), "<f4", vec![1, 128]),
        ("mlp1_out".into(), "<f4", vec![images, 96]),
        ("vl_embs".into(), "<f4", vec![tokens, 96]),
        ("state_features".into(), "<f4", vec![1, 96]),
        ("noise".into(), "<f4", vec![horizon, dims]),
        ("action_pred".into(), "<f4", vec![horizon, dims]),
    ];
    for (index, camera) in bench.spec.cameras.iter().enumerate() {
        expected.push((format!("proc.{camera}"), "|u1", vec![112, 140, 3]));
        expected.push((format!("pixel_values_{index}"), "<f4", vec![3, 112, 140]));
    }
    for (key, width) in &bench.spec.action.keys {
        expected.push((format!("action_decoded.{key}"), "<f4", vec![rows, *width]));
        expected.push((format!("state_raw.{key}"), "<f4", vec![1, *width]));
    }
    for step in 0..bench.spec.denoise.default {
        for name in ["actions_in", "actions_out", "velocity", "next_actions"] {
            expected.push((format!("step{step}.{name}"), "<f4", vec![horizon, dims]));
        }
    }
    for (name, descr, shape) in &expected {
        let array = found.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", found.keys().collect::<Vec<_>>()));
        assert_eq!((array.descr.as_str(), &array.shape), (*descr, shape), "{name}");
    }
    let beyond = format!("step{}.velocity", bench.spec.denoise.default);
    assert!(!found.contains_key(&beyond), "no more steps than there are");
    assert_eq!(found["noise"], bench.arrays["noise"]);
    assert_eq!(found["image_sizes"].to_i64(), [112, 140, 112, 140, 112, 140]);
    assert_eq!(found["image_mask"].data.iter().map(|place| usize::from(*place)).sum::<usize>(), images);
    for name in ["action_pred", "vl_embs", "action_decoded.left_arm"] {
        let values = found[name].to_f32();
        assert!(values.iter().all(|x| x.is_finite()) && values.iter().any(|x| *x != values[0]), "{name}");
    }
    let stored = bench.run(CompressionMethod::Stored);
    assert_eq!(stored.status.code(), Some(0), "{}", words(&stored));
    assert_eq!(bench.found(), found, "the same arrays give the same dump, and a dump is replaced");
}

#[test]
fn every_array_that_does_not_fit_is_named_at_once_and_nothing_is_written() {
    let mut bench = Bench::new();
    let noise = bench.arrays["noise"].clone();
    bench.arrays.remove("image.top");
    bench.arrays.insert("image.rear".into(), Array::u8(&[2, 2, 3], vec![0; 12]));
    bench.arrays.insert("image.left_wrist".into(), Array::u8(&[48, 64, 4], vec![0; 48 * 64 * 4]));
    bench.arrays.insert("state_raw.left_arm".into(), Array::f32(&[1, 5], std::iter::repeat(0.0)));
    bench.arrays.insert("noise".into(), Array { descr: "<i4".into(), ..noise });
    let text = bench.refusal();
    for expected in [
        "'image.top': expected u8 [any, any, 3], found no such array",
        "'image.rear': no such array is known",
        "'image.left_wrist': expected u8 [any, any, 3], found u8 [48, 64, 4]",
        "'state_raw.left_arm': expected f32 [1, 6], found f32 [1, 5]",
        "'noise': expected f32 [50, 128], found i32 [50, 128]",
    ] {
        assert!(text.contains(expected), "`{expected}` in {text}");
    }
    assert_eq!(text.lines().count(), 6, "a line each under one: {text}");
}

#[test]
fn element_types_that_no_tensor_has_are_named_all_at_once_with_the_way_out() {
    let mut bench = Bench::new();
    for name in ["noise", "state_raw.left_arm"] {
        let array = &bench.arrays[name];
        let wide = array.to_f32().iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
        let wide = Array { descr: "<f8".into(), shape: array.shape.clone(), data: wide };
        bench.arrays.insert(name.into(), wide);
    }
    let text = bench.refusal();
    for expected in ["'noise'", "'state_raw.left_arm'", "'<f8'", "astype"] {
        assert!(text.contains(expected), "`{expected}` in {text}");
    }
}

#[test]
fn frames_that_become_another_size_are_refused_with_both() {
    let mut bench = Bench::new();
    bench.arrays.insert("image.top".into(), Array::u8(&[64, 64, 3], vec![9; 64 * 64 * 3]));
    let text = bench.refusal();
    for expected in ["camera 'top'", "64x64", "140x112"] {
        assert!(text.contains(expected), "`{expected}` in {text}");
    }
}

#[test]
fn step_counts_that_were_not_exported_are_refused_with_those_that_were() {
    let mut bench = Bench::new();
    let steps = Array { descr: "<i8".into(), shape: vec![], data: 3_i64.to_le_bytes().to_vec() };
    bench.arrays.insert("steps".into(), steps);
    let text = bench.refusal();
    assert!(text.contains('3') && text.contains("[1, 2, 4"), "{text}");
}

#[test]
fn a_file_that_is_no_archive_and_wrong_flags_have_their_exit_codes() {
    let bench = Bench::new();
    let inputs = bench.scratch.path().join("inputs.npz");
    fs::write(&inputs, b"not a zip").expect("written");
    let output = infer(bench.policy.path(), &inputs, &bench.dump());
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("inputs.npz") && words(&output).contains("numpy.savez"), "{}", words(&output));
    let output = infer(&bench.scratch.path().join("nowhere"), &inputs, &bench.dump());
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("policy.yaml"), "{}", words(&output));
    let usage = Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(["infer", "--input", "x"]).output().expect("starts");
    assert_eq!(usage.status.code(), Some(2), "{}", words(&usage));
    let help = Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(["infer", "--help"]).output().expect("starts");
    assert!(words(&help).contains("Exit codes: 0 done; 1 an error; 2 wrong arguments"), "{}", words(&help));
    assert!(!bench.dump().exists());
}
