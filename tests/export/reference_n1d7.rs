//! A GR00T N1.7 checkpoint through export and `infer`, from raw images to decoded actions, against what NVIDIA's own code computed
//! (`oracle_n1d7/` of the shared folder). Prints the tables of docs/fidelity_n1d7.md.
//!
//! Skipped, aloud, where the reference tensors or ONNX Runtime is not there.

use std::collections::BTreeSet;

use serde_json::Value;
use vla_base::tensor::{DType, Data};
use vla_export::{Layout, RopeFrequencies, VisionAttention, backbone_dit, split};

use super::reference_infer::{Limits, STATE, Table, difference};
use vla_trt_tests::reference_bench::{Arrays, Bench, Export, N1D7, Observation};

/// Norm of a difference over the norm of the reference, and largest difference of a decoded action.
const SINGLE: Limits = Limits { relative: 1e-4, decoded: 1e-4 };
const HALF: Limits = Limits { relative: 5e-3, decoded: 6e-3 };
const OBSERVATIONS: usize = 6;
/// Reference tensors of other runs of the model, and of the vendor's order of patches.
const OTHERS: [&str; 5] = ["bf16", "rtc", "_normed", "patch_rowmajor_index", "rope"];

fn export(layout: Layout, rope: RopeFrequencies) -> Export {
    Export { layout, dtype: DType::F32, rope, attention: VisionAttention::PerImage }
}

/// Pixels and every tensor that the dump has; names of those that it has not, without their step.
fn compare<'o>(
    table: &mut Table<OBSERVATIONS>,
    index: usize,
    observation: &'o Observation,
    found: &Arrays,
    limits: Limits,
) -> BTreeSet<&'o str> {
    for camera in &observation.cameras {
        for time in 0..observation.times {
            let number = if observation.times > 1 { format!(".{time}") } else { String::new() };
            let frame = observation.frame("proc", camera, time);
            let apart = match (found[&format!("proc.{camera}{number}")].data(), frame.data()) {
                (Data::U8(found), Data::U8(expected)) if found.len() == expected.len() => {
                    found.iter().zip(expected).filter(|(found, expected)| found != expected).count()
                }
                other => panic!("{camera}: {other:?}"),
            };
            table.add("proc.<camera> (differing bytes)", index, apart as f64, 0.0);
        }
    }
    let mut absent = BTreeSet::new();
    for (name, expected) in &observation.tensors {
        if OTHERS.iter().any(|other| name.contains(other)) {
            continue;
        }
        let Some(found) = found.get(name) else {
            absent.insert(name.rsplit('.').next().unwrap_or_default());
            continue;
        };
        if expected.as_f32().is_none() {
            table.add(name, index, if found == expected { 0.0 } else { f64::INFINITY }, 0.0);
            continue;
        }
        let (relative, largest) = difference(found, expected);
        if name.starts_with("action_decoded.") {
            table.add("action_decoded.<key> (largest, rad or m)", index, largest, limits.decoded);
        } else if name == "state_normalized" {
            table.add("state_normalized (largest)", index, largest, STATE);
        } else {
            let key = name.strip_prefix("state_raw.").map_or(name.as_str(), |_| "state_raw.<key>");
            table.add(key, index, relative, limits.relative);
        }
    }
    absent
}

fn single_precision(layout: Layout) {
    let Some(bench) = Bench::of(N1D7) else { return };
    let (mut exact, mut rounded) = <(Table<OBSERVATIONS>, Table<OBSERVATIONS>)>::default();
    for index in 0..OBSERVATIONS {
        let observation = bench.observation(index);
        let found = bench.infer(&observation, export(layout, RopeFrequencies::Exact));
        let absent = compare(&mut exact, index, &observation, &found, SINGLE);
        assert!(absent.is_empty(), "{}: {absent:?} are not in the dump", layout.name);
        if !observation.tensors.contains_key("action_pred_both_bf16rope") {
            continue;
        }
        let found = bench.infer(&observation, export(layout, RopeFrequencies::Bf16));
        for name in ["backbone_features", "action_pred"] {
            let Some(expected) = observation.tensors.get(&format!("{name}_both_bf16rope")) else { continue };
            rounded.add(name, index, difference(&found[name], expected).0, SINGLE.relative);
        }
    }
    exact.print(&format!("N1.7, FP32, {}, `--rope-inv-freq exact`", layout.name));
    rounded.print(&format!("N1.7, FP32, {}, `--rope-inv-freq bf16`", layout.name));
    exact.check();
    rounded.check();
}

#[test]
fn single_precision_gives_the_vendors_tensors_from_raw_images_to_decoded_actions() {
    single_precision(split::LAYOUT);
}

#[test]
fn single_precision_gives_the_vendors_tensors_in_the_backbone_dit_layout() {
    single_precision(backbone_dit::LAYOUT);
}

/// ONNX Runtime's CPU provider computes most half-precision operators in single precision between casts: a GPU's FP16
/// is not this.
#[test]
fn half_precision_stays_within_its_limit() {
    let Some(bench) = Bench::of(N1D7) else { return };
    let mut table = Table::default();
    for index in 0..OBSERVATIONS {
        let observation = bench.observation(index);
        let half = Export { dtype: DType::F16, ..export(split::LAYOUT, RopeFrequencies::Exact) };
        let found = bench.infer(&observation, half);
        compare(&mut table, index, &observation, &found, HALF);
    }
    table.print("N1.7, FP16, split, `--rope-inv-freq exact`");
    table.check();
}

/// Ten other `config.json` over the same weights.
fn other_configurations(layout: Layout) {
    let Some(bench) = Bench::of(N1D7) else { return };
    let read = |name: &str| std::fs::read(bench.file(name)).expect("a file");
    let variants: Value = serde_json::from_slice(&read("tiny/config_variants.json")).expect("json");
    let bytes = read("tiny/config_variants.safetensors");
    let expected = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    let observation = bench.observation(4);
    for (name, variant) in variants["variants"].as_object().expect("variants") {
        bench.configure(&variant["config_patch"]);
        let found = bench.infer(&observation, export(layout, RopeFrequencies::Exact));
        for tensor in ["backbone_features", "action_pred"] {
            let Ok(view) = expected.tensor(&format!("{name}.{tensor}")) else { continue };
            let values = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let reference = vla_base::tensor::HostTensor::from_f32(view.shape(), values).expect("whole");
            let (relative, _) = difference(&found[tensor], &reference);
            eprintln!("{name}, {}: {tensor} {relative:.1e}", layout.name);
            assert!(relative < SINGLE.relative, "{name}, {}: {tensor} {relative:.1e}", layout.name);
        }
    }
}

#[test]
fn other_configurations_give_the_vendors_actions() {
    other_configurations(split::LAYOUT);
}

#[test]
fn other_configurations_give_the_vendors_actions_in_the_backbone_dit_layout() {
    other_configurations(backbone_dit::LAYOUT);
}
