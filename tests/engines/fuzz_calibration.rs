//! Fuzz target: no bytes make the reader of recorded inputs panic, or give samples that are not as it said.

use vla_trt_tests::fuzz;

use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec};
use vla_builder::calibration::Calibration;

#[test]
fn no_bytes_make_the_reader_of_recorded_inputs_panic() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("seed.npz");
    let mut writer = vla_npz::Writer::create(&path).expect("a file");
    let stacked = HostTensor::from_f32(&[2, 3, 1], vec![0.5; 6]).expect("whole");
    writer.add("rows", &stacked).expect("written");
    for sample in 0..2 {
        let one = HostTensor::from_i32(&[3], vec![sample; 3]).expect("whole");
        writer.add(&format!("positions/{sample:04}"), &one).expect("written");
    }
    writer.finish().expect("written");
    let seed = std::fs::read(&path).expect("the file");
    let symbol = || Dim::Symbol("T".to_owned());
    let inputs = [
        TensorSpec { name: "rows".to_owned(), dtype: DType::F32, dims: vec![symbol(), Dim::Fixed(1)] },
        TensorSpec { name: "positions".to_owned(), dtype: DType::I32, dims: vec![symbol()] },
    ];
    let fuzzed = dir.path().join("fuzzed.npz");
    fuzz::check!(3_000, vec![seed]).for_each(|bytes: &[u8]| {
        std::fs::write(&fuzzed, bytes).expect("written");
        let Ok(mut calibration) = Calibration::open(&fuzzed, &inputs, None) else { return };
        let (mut sample, mut count) = (Vec::new(), 0);
        while let Ok(true) = calibration.next_sample(&mut sample) {
            assert_eq!(sample[0].dims()[0], sample[1].dims()[0]);
            count += 1;
        }
        assert!(count <= calibration.samples());
    });
}
