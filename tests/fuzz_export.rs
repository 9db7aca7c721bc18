//! Whatever a checkpoint's files hold, opening one ends in weights or in an error.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use vla_trt::export::checkpoint::Checkpoint;
use vla_trt::export::weights::Weights;

/// A small valid file, to start from.
fn valid() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 10]);
    bytes
}

fn open(bytes: Vec<u8>) {
    let files = vec![(PathBuf::from("model.safetensors"), Bytes::from(bytes))];
    let Ok(checkpoint) = Checkpoint::from_shards(Path::new("."), files) else { return };
    for name in checkpoint.names() {
        let Ok(weight) = checkpoint.get(name) else { continue };
        assert_eq!(weight.to_f32().len(), weight.len());
        for index in [0, 1, usize::MAX] {
            if let Ok(entry) = weight.entry(index) {
                assert_eq!(entry.to_f32().len(), entry.len());
            }
        }
    }
}

#[test]
fn a_valid_file_gives_its_weights() {
    let files = vec![(PathBuf::from("model.safetensors"), Bytes::from(valid()))];
    let checkpoint = Checkpoint::from_shards(Path::new("."), files).expect("valid");
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.get("a").expect("there").entry(1).expect("two rows").dims, [1]);
}

#[test]
fn arbitrary_bytes_do_not_panic() {
    bolero::check!().with_iterations(100_000).with_type::<Vec<u8>>().cloned().for_each(open);
}

#[test]
fn damaged_files_do_not_panic() {
    bolero::check!().with_iterations(100_000).with_type::<Vec<(u16, u8)>>().for_each(|changes| {
        let mut bytes = valid();
        for (at, value) in changes {
            let at = *at as usize % bytes.len();
            // One change in eight cuts the file instead.
            if value % 8 == 0 && at > 0 { bytes.truncate(at) } else { bytes[at] = *value }
        }
        open(bytes);
    });
}
