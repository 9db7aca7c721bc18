//! Fuzz targets: no bytes make the readers of arrays panic or unpack more than they say, and what they accept is
//! written back the same.

use vla_trt_tests::fuzz;

use std::io::Cursor;
use std::path::Path;

use vla_base::tensor::HostTensor;
use vla_npz::npy;

fn arrays() -> Vec<HostTensor> {
    vec![
        HostTensor::from_f32(&[2, 1], vec![1.0, -2.5]).expect("whole"),
        HostTensor::from_i64(&[], vec![4]).expect("whole"),
        HostTensor::from_u8(&[3], b"abc".to_vec()).expect("whole"),
    ]
}

#[test]
fn no_bytes_make_the_reader_of_npy_panic() {
    fuzz::check!(20_000, arrays().iter().map(npy::write).collect()).for_each(|bytes: &[u8]| {
        if let Ok(tensor) = npy::parse(bytes) {
            let again = npy::parse(&npy::write(&tensor)).expect("what is written is read");
            assert_eq!((again.dtype(), again.dims()), (tensor.dtype(), tensor.dims()));
        }
    });
}

#[test]
fn no_bytes_make_the_reader_of_npz_panic() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("seed.npz");
    let mut writer = vla_npz::Writer::create(&path).expect("a file");
    for (index, array) in arrays().iter().enumerate() {
        writer.add(&format!("a{index}"), array).expect("written");
    }
    writer.finish().expect("written");
    let seed = std::fs::read(&path).expect("the file");
    fuzz::check!(3_000, vec![seed]).for_each(|bytes: &[u8]| {
        if let Ok(arrays) = vla_npz::parse(Cursor::new(bytes), Path::new("fuzzed.npz")) {
            assert!(arrays.len() <= vla_npz::MAX_ARRAYS);
        }
    });
}
