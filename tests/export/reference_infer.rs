//! A checkpoint through export and `infer`, from raw images to decoded actions, against what NVIDIA's own code computed
//! (`oracle/` of the shared folder). Prints the tables of docs/fidelity.md.
//!
//! Skipped, aloud, where the reference tensors or ONNX Runtime is not there.

use std::collections::{BTreeMap, BTreeSet};

use vla_base::tensor::{DType, Data, HostTensor};
use vla_export::{Layout, RopeFrequencies, VisionAttention, backbone_dit, split, vendor};

use reference_bench::{Arrays, Bench, Export, Observation};
use vla_trt_tests::reference_bench;

/// Largest norm of a difference over the norm of the reference, single precision.
const RELATIVE: f64 = 1e-4;
const SINGLE: Limits = Limits { relative: RELATIVE, decoded: 1e-4 };
/// Half precision: docs/fidelity.md says where the difference grows and why it ends here.
const HALF: Limits = Limits { relative: 5e-3, decoded: 3e-3 };
/// Largest difference of a normalised state.
pub(crate) const STATE: f64 = 1e-6;
const OBSERVATIONS: usize = 4;
const STEPS: usize = 4;

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Norm of a difference over the norm of the reference.
    pub(crate) relative: f64,
    /// Largest difference of a decoded action, rad or m.
    pub(crate) decoded: f64,
}

/// Norm of the difference over the norm of the reference, and the largest difference.
pub(crate) fn difference(found: &HostTensor, expected: &HostTensor) -> (f64, f64) {
    assert_eq!(found.dims(), expected.dims(), "dimensions");
    let (found, expected) = (found.as_f32().expect("f32"), expected.as_f32().expect("f32"));
    let (mut square, mut norm, mut largest) = (0.0, 0.0, 0.0_f64);
    for (found, expected) in found.iter().zip(expected) {
        let apart = (f64::from(*found) - f64::from(*expected)).abs();
        assert!(!apart.is_nan(), "a value is no number");
        (square, norm) = (square + apart * apart, norm + f64::from(*expected).powi(2));
        largest = largest.max(apart);
    }
    (if square == 0.0 { 0.0 } else { (square / norm).sqrt() }, largest)
}

/// The worst of each tensor over observations and steps: name with `stepI` for every step -> figures.
pub(crate) struct Table<const N: usize> {
    rows: BTreeMap<String, [Option<f64>; N]>,
    beyond: Vec<String>,
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), beyond: Vec::new() }
    }
}

impl<const N: usize> Table<N> {
    pub(crate) fn add(&mut self, name: &str, observation: usize, figure: f64, limit: f64) {
        let digit = |c: char| c.is_ascii_digit();
        let row = match name.strip_prefix("step").map(|rest| rest.trim_start_matches(digit)) {
            Some(rest) => format!("stepI{rest}"),
            None => name.to_owned(),
        };
        let worst = &mut self.rows.entry(row).or_insert([None; N])[observation];
        *worst = Some(worst.unwrap_or_default().max(figure));
        if figure > limit {
            self.beyond.push(format!("obs{observation} {name}: {figure:.2e}, limit {limit:.0e}"));
        }
    }

    pub(crate) fn print(&self, title: &str) {
        // In one piece: tests run beside each other.
        let observations: Vec<String> = (0..N).map(|index| format!("obs{index}")).collect();
        let mut text = format!("\n{title}\n\n| tensor | {} |\n|---|{}\n", observations.join(" | "), "---|".repeat(N));
        for (name, figures) in &self.rows {
            let cells = figures.map(|figure| match figure {
                None => "-".to_owned(),
                Some(0.0) => "exact".to_owned(),
                Some(figure) => format!("{figure:.1e}"),
            });
            text += &format!("| {name} | {} |\n", cells.join(" | "));
        }
        eprint!("{text}");
    }

    pub(crate) fn check(&self) {
        assert!(self.beyond.is_empty(), "{}", self.beyond.join("\n"));
    }
}

/// Every reference tensor that the dump has; those that it has not by name.
fn compare(
    table: &mut Table<OBSERVATIONS>,
    index: usize,
    observation: &Observation,
    found: &Arrays,
    limits: Limits,
) -> Vec<String> {
    for camera in &observation.cameras {
        let apart = match (found[&format!("proc.{camera}")].data(), observation.image("proc", camera).data()) {
            (Data::U8(found), Data::U8(expected)) if found.len() == expected.len() => {
                found.iter().zip(expected).filter(|(found, expected)| found != expected).count()
            }
            other => panic!("{camera}: {other:?}"),
        };
        table.add("proc.<camera> (differing bytes)", index, apart as f64, 0.0);
    }
    let mut absent = Vec::new();
    for (name, expected) in &observation.tensors {
        let Some(found) = found.get(name) else {
            absent.push(name.clone());
            continue;
        };
        if expected.as_f32().is_none() {
            table.add(name, index, if found == expected { 0.0 } else { f64::INFINITY }, 0.0);
            continue;
        }
        let (relative, largest) = difference(found, expected);
        if name.starts_with("action_decoded.") {
            table.add(&format!("{name} (largest, rad)"), index, largest, limits.decoded);
        } else if name == "state_normalized" {
            table.add(&format!("{name} (largest)"), index, largest, STATE);
        } else {
            table.add(name, index, relative, limits.relative);
        }
    }
    absent
}

/// Whether a tensor, named without its step, is no tensor of this layout: inside a network of the vendor's.
fn has_no_equivalent(layout: Layout, name: &str) -> bool {
    let inside = ["vit_embeddings", "vit_layer", "llm_layer", "block", "temb"];
    layout.name == vendor::LAYOUT.name && inside.iter().any(|start| name.starts_with(start))
}

/// Names of the reference tensors, without the step, that the dump lacks; but for those of other runs of the model.
fn without_an_equivalent(absent: &[String]) -> BTreeSet<&str> {
    let of_this_run = absent.iter().filter(|name| !name.contains("bf16"));
    of_this_run.map(|name| name.rsplit('.').next().unwrap_or_default()).collect()
}

/// The six networks of the last come from [`Bench::supply`].
const LAYOUTS: [Layout; 3] = [split::LAYOUT, backbone_dit::LAYOUT, vendor::LAYOUT];

#[test]
fn single_precision_gives_the_vendors_tensors_from_raw_images_to_decoded_actions() {
    let Some(bench) = Bench::new() else { return };
    for layout in LAYOUTS {
        let (mut exact, mut rounded) = <(Table<OBSERVATIONS>, Table<OBSERVATIONS>)>::default();
        for index in 0..OBSERVATIONS {
            let observation = bench.observation(index);
            let export = Export {
                layout,
                dtype: DType::F32,
                rope: RopeFrequencies::Exact,
                attention: VisionAttention::PerImage,
            };
            let found = bench.infer(&observation, export);
            let absent = compare(&mut exact, index, &observation, &found, SINGLE);
            let missing: Vec<&str> =
                without_an_equivalent(&absent).into_iter().filter(|name| !has_no_equivalent(layout, name)).collect();
            assert!(missing.is_empty(), "{}: {missing:?} are not in the dump", layout.name);
            let found = bench.infer(&observation, Export { rope: RopeFrequencies::Bf16, ..export });
            for name in ["backbone_features", "action_pred"] {
                let (relative, _) = difference(&found[name], &observation.tensors[&format!("{name}_bf16invfreq")]);
                rounded.add(name, index, relative, RELATIVE);
            }
        }
        exact.print(&format!("FP32, {}, `--rope-inv-freq exact`", layout.name));
        rounded.print(&format!("FP32, {}, `--rope-inv-freq bf16`", layout.name));
        exact.check();
        rounded.check();
    }
}

/// ONNX Runtime's CPU provider computes most half-precision operators in single precision between casts: a GPU's FP16
/// is not this.
#[test]
fn half_precision_stays_within_its_limit() {
    /// Where the loop's differences pass from step to step.
    const BY_STEP: [&str; 3] = ["actions_in", "velocity", "actions_out"];
    let Some(bench) = Bench::new() else { return };
    for layout in LAYOUTS {
        let (mut table, mut by_step) = <(Table<OBSERVATIONS>, Table<OBSERVATIONS>)>::default();
        for index in 0..OBSERVATIONS {
            let observation = bench.observation(index);
            let export = Export {
                layout,
                dtype: DType::F16,
                rope: RopeFrequencies::Exact,
                attention: VisionAttention::PerImage,
            };
            let found = bench.infer(&observation, export);
            compare(&mut table, index, &observation, &found, HALF);
            for (step, name) in (0..STEPS).flat_map(|step| BY_STEP.map(|name| (step, name))) {
                let full = format!("step{step}.{name}");
                let (relative, _) = difference(&found[&full], &observation.tensors[&full]);
                by_step.add(&format!("{name} of step {step}"), index, relative, HALF.relative);
            }
        }
        table.print(&format!("FP16, {}, `--rope-inv-freq exact`", layout.name));
        by_step.print(&format!("FP16, {}, by step", layout.name));
        table.check();
    }
}

/// How far `found` is from the vendor's own run with per-image attention, as the reference's meta.json has it.
fn apart(found: &HostTensor, per_image: &HostTensor) -> [(&'static str, f64); 3] {
    let pairs = || found.as_f32().expect("f32").iter().zip(per_image.as_f32().expect("f32"));
    let pairs = || pairs().map(|(found, reference)| (f64::from(*found), f64::from(*reference)));
    let sum = |term: fn((f64, f64)) -> f64| pairs().map(term).sum::<f64>();
    let cos = sum(|(a, b)| a * b) / (sum(|(a, _)| a * a) * sum(|(_, b)| b * b)).sqrt();
    let rms = (sum(|(a, b)| (a - b).powi(2)) / pairs().count() as f64).sqrt();
    let largest = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    [("cos", cos), ("max_abs", largest), ("rms", rms)]
}

/// The reference has no cross-view tensors, but how far the vendor's are from the per-image ones, on all observations:
/// by its cosine, largest and root mean square difference of the actions, and the largest of the vision network.
#[test]
fn cross_view_attention_moves_actions_and_vision_as_far_as_it_moves_the_vendors() {
    let Some(bench) = Bench::new() else { return };
    let mut text =
        "\n| layout | tensor | figure | obs0 | obs1 | obs2 | obs3 |\n|---|---|---|---|---|---|---|\n".to_owned();
    let mut beyond = Vec::new();
    for layout in [split::LAYOUT, backbone_dit::LAYOUT] {
        let export =
            Export { layout, dtype: DType::F32, rope: RopeFrequencies::Exact, attention: VisionAttention::CrossView };
        let mut rows = BTreeMap::<_, Vec<String>>::new();
        for index in 0..OBSERVATIONS {
            let observation = bench.observation(index);
            let found = bench.infer(&observation, export);
            let mut add = |tensor: &'static str, figure: &'static str, ours: f64, vendors: &serde_json::Value| {
                let vendors = vendors.as_f64().expect("number");
                // A cosine near 1 says by what it lacks how far apart two vectors are.
                let scale = if figure == "cos" { 1.0 - vendors } else { vendors };
                let error = ((ours - vendors) / scale).abs();
                rows.entry((tensor, figure)).or_default().push(format!("{ours:.6} ({error:.0e})"));
                if error.is_nan() || error > RELATIVE {
                    beyond.push(format!("{} obs{index} {tensor} {figure}: {ours}, expected {vendors}", layout.name));
                }
            };
            let meta = &observation.meta;
            for (figure, ours) in apart(&found["action_pred"], &observation.tensors["action_pred"]) {
                add("action_pred", figure, ours, &meta["crossview_vs_perimage_action_pred"][figure]);
            }
            let [_, (figure, ours), _] = apart(&found["vit_out"], &observation.tensors["vit_out"]);
            add("vit_out", figure, ours, &meta["crossview_vs_perimage_vit_out_max_abs"]);
        }
        for ((tensor, figure), cells) in rows {
            text += &format!("| {} | {tensor} | {figure} | {} |\n", layout.name, cells.join(" | "));
        }
    }
    eprint!("{text}");
    assert!(beyond.is_empty(), "beyond {RELATIVE:e} relative:\n{}", beyond.join("\n"));
}
