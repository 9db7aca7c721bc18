//! Recorded inputs as NumPy writes them, read one sample at a time; and every way in which they can be wrong.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec};
use vla_builder::calibration::{Calibration, Error};
use vla_npz::npy;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn spec(name: &str, dtype: DType, dims: &[&str]) -> TensorSpec {
    let dim = |text: &&str| text.parse().map_or_else(|_| Dim::Symbol((*text).to_owned()), Dim::Fixed);
    TensorSpec { name: name.to_owned(), dtype, dims: dims.iter().map(dim).collect() }
}

/// What a network of text rows and their positions takes.
fn inputs() -> Vec<TensorSpec> {
    vec![spec("rows", DType::F32, &["T", "2"]), spec("positions", DType::I32, &["T"])]
}

/// Values 0, 1, 2, ...
fn f32s(dims: &[usize]) -> HostTensor {
    let count = dims.iter().product::<usize>();
    HostTensor::from_f32(dims, (0..count).map(|value| value as f32).collect()).expect("a tensor")
}

fn i32s(dims: &[usize]) -> HostTensor {
    let count = i32::try_from(dims.iter().product::<usize>()).expect("few");
    HostTensor::from_i32(dims, (0..count).collect()).expect("a tensor")
}

fn members(arrays: &[(&str, HostTensor)]) -> Vec<(String, Vec<u8>)> {
    arrays.iter().map(|(name, tensor)| ((*name).to_owned(), npy::write(tensor))).collect()
}

fn zipped(members: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).expect("a member");
        archive.write_all(bytes).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

struct File(TempDir);

impl File {
    fn of(arrays: &[(&str, HostTensor)]) -> Self {
        Self::raw(&zipped(&members(arrays), CompressionMethod::Stored))
    }

    fn raw(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("calib.npz"), bytes).expect("written");
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("calib.npz")
    }

    fn open(&self, inputs: &[TensorSpec]) -> Result<Calibration, Error> {
        Calibration::open(&self.path(), inputs, Some("language"))
    }

    /// Everything that is told when it is opened.
    fn problems(&self, inputs: &[TensorSpec]) -> String {
        match self.open(inputs) {
            Ok(_) => panic!("expected problems"),
            Err(error) => error.to_string(),
        }
    }
}

fn all(calibration: &mut Calibration) -> Vec<Vec<HostTensor>> {
    let (mut samples, mut sample) = (Vec::new(), Vec::new());
    while calibration.next_sample(&mut sample).expect("a sample") {
        samples.push(sample.clone());
    }
    samples
}

#[test]
fn samples_on_the_leading_axis_are_read_one_by_one_stored_and_deflated_and_again_after_a_rewind() {
    let arrays = members(&[("rows", f32s(&[3, 4, 2])), ("positions", i32s(&[3, 4]))]);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let file = File::raw(&zipped(&arrays, method));
        let mut calibration = file.open(&inputs()).expect("it fits");
        assert_eq!((calibration.samples(), calibration.usual()["T"]), (3, 4));
        let samples = all(&mut calibration);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[1][0].dims(), [4, 2]);
        assert_eq!(samples[1][0].as_f32().expect("f32"), (8..16).map(|value| value as f32).collect::<Vec<_>>());
        assert_eq!(samples[2][1].as_i32().expect("i32"), [8, 9, 10, 11]);
        calibration.rewind();
        assert_eq!(all(&mut calibration), samples);
    }
}

#[test]
fn numbered_arrays_may_differ_in_shape_and_the_commonest_is_known() {
    let file = File::of(&[
        ("rows/0000", f32s(&[5, 2])),
        ("rows/0001", f32s(&[3, 2])),
        ("rows/0002", f32s(&[5, 2])),
        ("positions/0000", i32s(&[5])),
        ("positions/0001", i32s(&[3])),
        ("positions/0002", i32s(&[5])),
    ]);
    let mut calibration = file.open(&inputs()).expect("it fits");
    assert_eq!((calibration.samples(), calibration.usual()["T"]), (3, 5));
    assert_eq!(calibration.ranges()["T"], [3, 5]);
    let dims: Vec<Vec<usize>> = all(&mut calibration).iter().map(|sample| sample[0].dims().to_vec()).collect();
    assert_eq!(dims, [[5, 2], [3, 2], [5, 2]]);
}

#[test]
fn a_file_for_several_networks_has_their_names_in_front_and_names_without_come_first() {
    let own = ("language/rows", f32s(&[1, 4, 2]));
    let positions = ("language/positions", i32s(&[1, 4]));
    let file = File::of(&[own.clone(), positions.clone(), ("vision/rows", f32s(&[9, 9]))]);
    assert_eq!(file.open(&inputs()).expect("it fits").samples(), 1);
    let file = File::of(&[own, positions, ("rows", f32s(&[2, 4, 2])), ("positions", i32s(&[2, 4]))]);
    assert_eq!(file.open(&inputs()).expect("it fits").samples(), 2);
}

#[test]
fn samples_take_the_place_of_a_leading_dimension_that_is_always_one() {
    let inputs = [spec("pixels", DType::F32, &["1", "3"])];
    let file = File::of(&[("pixels", f32s(&[4, 3]))]);
    let mut calibration = file.open(&inputs).expect("it fits");
    assert_eq!(all(&mut calibration)[3][0], f32s(&[4, 3]).slice_row(3));
    assert_eq!(File::of(&[("pixels", f32s(&[4, 1, 3]))]).open(&inputs).expect("it fits").samples(), 4);
}

/// Row `at` of a matrix as a matrix of one row.
trait SliceRow {
    fn slice_row(&self, at: usize) -> HostTensor;
}

impl SliceRow for HostTensor {
    fn slice_row(&self, at: usize) -> HostTensor {
        let width = self.dims()[1];
        let values = self.as_f32().expect("f32")[at * width..(at + 1) * width].to_vec();
        HostTensor::from_f32(&[1, width], values).expect("a row")
    }
}

#[test]
fn single_precision_becomes_half_where_the_network_takes_that() {
    let inputs = [spec("x", DType::F16, &["2"])];
    let file = File::of(&[("x", f32s(&[2, 2]))]);
    let mut calibration = file.open(&inputs).expect("it fits");
    let Data::F16(values) = all(&mut calibration)[1][0].data().clone() else { panic!("half precision") };
    assert_eq!(values.iter().map(|value| value.to_f32()).collect::<Vec<_>>(), [2.0, 3.0]);
}

#[test]
fn what_half_precision_cannot_hold_is_told_and_does_not_become_infinite() {
    let inputs = [spec("x", DType::F16, &["2"])];
    let large = HostTensor::from_f32(&[1, 2], vec![1.0, 1e6]).expect("a tensor");
    let file = File::of(&[("x", large)]);
    let told = file.open(&inputs).expect("headers are fine").next_sample(&mut Vec::new()).expect_err("infinite");
    assert!(told.to_string().contains("in f16, element 1 is NaN or infinite"), "{told}");
}

#[test]
fn a_flipped_bit_is_caught_by_the_checksum_of_numbered_and_of_stacked_arrays() {
    let inputs = [spec("x", DType::F32, &["N"])];
    for (name, dims) in [("x/0000", &[65_536][..]), ("x", &[2, 65_536])] {
        let mut bytes = zipped(&members(&[(name, f32s(dims))]), CompressionMethod::Stored);
        bytes[200_000] ^= 1;
        let file = File::raw(&bytes);
        let mut calibration = file.open(&inputs).expect("headers are fine");
        let mut sample = Vec::new();
        let told = loop {
            match calibration.next_sample(&mut sample) {
                Ok(more) => assert!(more, "{name}: nothing was told"),
                Err(told) => break told.to_string(),
            }
        };
        assert!(told.contains("checksum"), "{told}");
    }
}

#[test]
fn everything_that_does_not_fit_is_named_at_once_with_what_was_expected_and_found() {
    let file = File::of(&[("rows", f32s(&[2, 4, 3])), ("position", i32s(&[2, 4]))]);
    let told = file.problems(&inputs());
    assert!(told.contains("array 'rows': expected samples of f32 [T, 2], found f32 [4, 3]"), "{told}");
    assert!(told.contains("input 'positions: i32 [T]' is missing; the file has position, rows"), "{told}");

    for (arrays, words) in [
        (
            vec![("rows", f32s(&[8, 2])), ("positions", i32s(&[1, 8]))],
            "expected samples on the leading axis, f32 [N, T, 2]",
        ),
        (vec![("rows", f32s(&[0, 4, 2])), ("positions", i32s(&[0, 4]))], "expected 1 to 1048576 samples, found 0"),
        (vec![("rows", f32s(&[2, 4, 2])), ("positions", i32s(&[3, 4]))], "rows has 2, positions has 3"),
        (vec![("rows", f32s(&[2, 4, 2])), ("positions", i32s(&[2, 5]))], "sample 0: T is 5, other inputs have 4"),
        (vec![("rows", f32s(&[2, 4, 2])), ("positions", f32s(&[2, 4]))], "'positions': expected i32, found f32"),
        (vec![("rows", f32s(&[2, 4, 2])), ("rows/0000", f32s(&[4, 2]))], "found both"),
        (
            vec![("rows/0000", f32s(&[4, 2])), ("rows/0002", f32s(&[4, 2]))],
            "without a gap, found 'rows/0002' as number 1",
        ),
        (vec![("rows/0000", f32s(&[4, 3]))], "array 'rows/0000': expected samples of f32 [T, 2], found f32 [4, 3]"),
    ] {
        let told = File::of(&arrays).problems(&inputs());
        assert!(told.contains(words), "expected {words:?} in {told}");
    }
}

#[test]
fn a_value_that_is_not_finite_is_told_with_its_sample_and_array() {
    let mut rows = f32s(&[3, 4, 2]);
    rows.as_f32_mut().expect("f32")[13] = f32::NAN;
    let file = File::of(&[("rows", rows), ("positions", i32s(&[3, 4]))]);
    let mut calibration = file.open(&inputs()).expect("headers are fine");
    let mut sample = Vec::new();
    assert!(calibration.next_sample(&mut sample).expect("the first is fine"));
    let told = calibration.next_sample(&mut sample).expect_err("not finite").to_string();
    assert!(told.contains("sample 1, array 'rows': element 5 is NaN or infinite"), "{told}");
    assert!(!calibration.next_sample(&mut sample).expect("no sample of mixed inputs comes behind it"));
    calibration.rewind();
    assert!(calibration.next_sample(&mut sample).expect("the first again"));
}

#[test]
fn what_is_no_archive_or_is_cut_off_is_told() {
    let missing = Calibration::open(Path::new("/nowhere/calib.npz"), &inputs(), None).map(|_| ()).expect_err("missing");
    assert!(missing.to_string().starts_with("/nowhere/calib.npz: No such file"), "{missing}");
    assert!(File::raw(b"no zip").problems(&inputs()).contains("expected a .npz file (numpy.savez)"));
    let whole =
        zipped(&members(&[("rows", f32s(&[3, 4, 2])), ("positions", i32s(&[3, 4]))]), CompressionMethod::Stored);
    assert!(File::raw(&whole[..whole.len() / 2]).problems(&inputs()).contains("expected a .npz file"));
}

#[test]
fn a_header_that_promises_more_than_there_is_is_not_believed() {
    // 2^40 samples in a hundred bytes.
    let array = npy::write(&f32s(&[3, 4, 2]));
    let header = String::from_utf8_lossy(&array).into_owned();
    assert!(header.contains("(3, 4, 2), }      "), "room in the padding");
    let bomb: Vec<u8> = {
        let text = b"(3, 4, 2), }             ";
        let at = array.windows(text.len()).position(|window| window == text).expect("the shape");
        let mut bomb = array.clone();
        bomb[at..at + text.len()].copy_from_slice(b"(1099511627776, 4, 2), } ");
        bomb
    };
    let members = vec![("rows".to_owned(), bomb), ("positions".to_owned(), npy::write(&i32s(&[3, 4])))];
    let told = File::raw(&zipped(&members, CompressionMethod::Deflated)).problems(&inputs());
    assert!(told.contains("expected the elements of f32 [1099511627776, 4, 2], found"), "{told}");
}

#[test]
fn a_sample_larger_than_any_input_is_refused_before_it_is_unpacked() {
    // A bomb: 1.5 GiB of zeros in 1.5 MB, which the headers agree on.
    let inputs = [spec("x", DType::U8, &["N"])];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    archive.start_file("x/0000.npy", options).expect("a member");
    let bytes: u64 = 3 << 29;
    let small = npy::write(&HostTensor::from_u8(&[1], vec![0]).expect("a tensor"));
    let mut header = small[..small.len() - 1].to_vec();
    let at = header.windows(4).position(|window| window == b"(1,)").expect("the shape");
    let shape = format!("({bytes},), }}");
    header[at..at + shape.len()].copy_from_slice(shape.as_bytes());
    archive.write_all(&header).expect("written");
    let zeros = vec![0u8; 1 << 20];
    for _ in 0..bytes >> 20 {
        archive.write_all(&zeros).expect("written");
    }
    let file = File::raw(&archive.finish().expect("an archive").into_inner());
    let told = file.problems(&inputs);
    assert!(told.contains("expected samples of at most 1024 MiB, found u8 [1610612736]"), "{told}");
}
