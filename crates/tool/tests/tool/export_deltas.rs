//! Action keys with `rep: DELTA` through the export.

use std::collections::BTreeMap;

use super::export_bench::{Bench, says};
use vla_policy::PolicySpec;
use vla_policy::processor::DeltaRows;

/// The demo checkpoint with deltas of its arms.
fn with_deltas() -> Bench {
    let bench = Bench::new(u64::MAX);
    bench.edit("processor_config.json", r#""RELATIVE""#, r#""DELTA""#);
    bench
}

#[test]
fn deltas_are_refused_by_key_unless_the_command_says_what_a_row_is() {
    let mut bench = with_deltas();
    let refusal = bench.refusal();
    for key in ["left_arm", "right_arm"] {
        let (sum, single) = (format!("--delta {key}=cumulative"), format!("--delta {key}=from_state"));
        says(&refusal, &[&format!("'{key}' has rep: DELTA"), &sum, &single]);
    }
    bench.request.deltas = BTreeMap::from([
        ("left_arm".to_owned(), DeltaRows::Cumulative),
        ("left_gripper".to_owned(), DeltaRows::FromState),
    ]);
    let refusal = bench.refusal();
    says(&refusal, &["'right_arm' has rep: DELTA", "--delta left_gripper=from_state", "(left_arm, right_arm)"]);
    assert!(!refusal.contains("'left_arm' has"), "{refusal}");
}

#[test]
fn what_a_row_of_deltas_is_goes_into_the_policy() {
    let mut bench = with_deltas();
    bench.request.deltas = BTreeMap::from([
        ("left_arm".to_owned(), DeltaRows::Cumulative),
        ("right_arm".to_owned(), DeltaRows::FromState),
    ]);
    bench.export().expect("exports");
    assert_eq!(PolicySpec::load(&bench.out()).expect("a policy").action.deltas, bench.request.deltas);
}
