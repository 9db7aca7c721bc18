//! Fuzz target: no text makes the reader of a provenance record panic, and what it accepts can be written and read.

use vla_trt_tests::fuzz;

use std::path::Path;

use vla_engines::provenance::Provenance;

const SEED: &str = r#"{"format": 1,
 "device": {"tensorrt": "8.6.0", "gpu": "Orin", "sm_version": "8.7", "sm_count": 8, "driver": "540", "cuda": "12.2", "l4t": "36.3.0", "board": null},
 "emulated": true, "adopted": false,
 "onnx": {"file": "a.onnx", "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
          "marks": [{"bytes": 1, "inode": 2, "modified_ns": 3, "changed_ns": -170141183460469231731687303715884105728}]},
 "precision": "fp16", "profiles": {"x": {"min": [1, 2], "opt": [1, 2], "max": [18446744073709551615, 2]}},
 "flags": ["fp16"], "calibration": {"file": "c", "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
 "engine": {"sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "bytes": 9},
 "built_at": "2026-01-01T00:00:00Z", "build_s": 1.5,
 "memory": {"kept_factor": 1.0, "activation_bytes": 5, "weight_bytes": null, "load_peak_bytes": 7},
 "verification": {"passed": false, "at": "2026-01-01T00:00:00Z",
  "bag_sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "observations": 8,
  "tensors": [{"tensor": "kv", "cosine": 0.3, "max_abs": null, "relative": 1e9, "least_cosine": 0.99}], "summary": "cos 0.3"},
 "gate": 1, "unknown": [[]]}"#;

#[test]
fn no_text_makes_the_reader_of_a_record_panic() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = dir.path().join("a.engine");
    let read = Provenance::parse(Path::new("p"), SEED.as_bytes()).expect("the seed is whole");
    read.write(&engine).expect("written");
    assert_eq!(Provenance::read(&engine).expect("reads"), Some(read));
    let seeds = vec![SEED.as_bytes().to_vec(), b"{\"format\": 1}".to_vec(), b"{\"format\": 1e99}".to_vec()];
    fuzz::check!(30_000, seeds).for_each(|bytes: &[u8]| {
        let Ok(record) = Provenance::parse(Path::new("p"), bytes) else { return };
        let text = serde_json::to_vec(&record).expect("what is read can be written");
        assert_eq!(Provenance::parse(Path::new("p"), &text).expect("and read again"), record);
    });
}
