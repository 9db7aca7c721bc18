//! The operations against ONNX Runtime on the networks that they were written with.

use super::*;

/// Largest difference of single precision.
const SINGLE: f64 = 1e-5;

/// Compares every stage with ONNX Runtime, for prompts of two lengths.
fn matches_onnx_runtime(what: &str, case: &Case) {
    let Some(environment) = onnx_runtime::environment() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    for stage in case.export(scratch.path()) {
        let listed = Listed::read(scratch.path(), &stage);
        let mut runner = Runner::load(&environment, &scratch.path().join(format!("{stage}.onnx")));
        for text in TEXT {
            let symbols = case.symbols(text);
            let inputs = listed.inputs(&symbols);
            let found = difference(&listed.run(&inputs, &symbols, false), &reference(&mut runner, &inputs));
            assert!(found < SINGLE, "{what}, {stage}, {text} text tokens: {found:e}");
        }
    }
}

#[test]
fn every_stage_computes_what_onnx_runtime_does() {
    for family in FAMILIES {
        matches_onnx_runtime(family.title(), &Case::of(family));
    }
}

#[test]
fn stages_that_are_cut_do_too() {
    for family in FAMILIES {
        for blocks in [1, 3] {
            let case = Case::of(family);
            let options = Options { blocks_per_engine: Some(blocks), ..case.options.clone() };
            matches_onnx_runtime(&format!("{} in {blocks}", family.title()), &Case { options, ..case });
        }
    }
}

#[test]
fn views_of_different_sizes_and_frames_of_several_times_do_too() {
    for family in FAMILIES {
        let case = Case::of(family);
        for views in [vec![view("a", 1, 1), view("b", 2, 1)], vec![view("a", 1, 2), view("b", 1, 2)]] {
            matches_onnx_runtime(family.title(), &Case { views, ..case.clone() });
        }
        let views = vec![view("a", 1, 2), view("b", 2, 2)];
        let options = Options { blocks_per_engine: Some(1), ..case.options.clone() };
        matches_onnx_runtime(family.title(), &Case { views, options, ..case });
    }
}

#[test]
fn every_switch_of_the_model_and_of_the_export_does_too() {
    let changed = |family, change: fn(&mut Case)| {
        let mut case = Case::of(family);
        case.views = vec![view("a", 1, 1), view("b", 2, 1)];
        change(&mut case);
        case
    };
    matches_onnx_runtime("cross-view", &changed(&N1D6, |case| case.options.attention = VisionAttention::CrossView));
    for family in FAMILIES {
        matches_onnx_runtime("stacked", &changed(family, |case| case.options.stacked_projections = true));
        matches_onnx_runtime("no alternation", &changed(family, |case| case.model.head.alternate = false));
        matches_onnx_runtime("no vlln", &changed(family, |case| case.model.head.vlln = false));
        matches_onnx_runtime("no positions", &changed(family, |case| case.model.head.positions = None));
        matches_onnx_runtime("exact rotations", &changed(family, |case| case.options.rope = RopeFrequencies::Exact));
        matches_onnx_runtime("a head for a head", &changed(family, |case| case.model.language.kv_heads = 6));
        matches_onnx_runtime("heads wider than a row", &changed(family, |case| case.model.language.head_dim = 32));
        matches_onnx_runtime(
            "the other final norm",
            &changed(family, |case| {
                case.model.language.final_norm = !case.model.language.final_norm;
            }),
        );
    }
    matches_onnx_runtime(
        "sinusoids",
        &changed(&N1D7, |case| {
            case.model.head.fusion.iter_mut().for_each(|fusion| fusion.sinusoids = Some(512));
        }),
    );
}

/// Compares stages in other element types with ONNX Runtime in single precision on the same inputs.
fn is_rounded(case: &Case, options: &Options, most: f64) {
    let Some(environment) = onnx_runtime::environment() else { return };
    let [single, narrow] = [(); 2].map(|()| tempfile::tempdir().expect("scratch"));
    case.export(single.path());
    for stage in (Case { options: options.clone(), ..case.clone() }).export(narrow.path()) {
        let listed = Listed::read(narrow.path(), &stage);
        let mut runner = Runner::load(&environment, &single.path().join(format!("{stage}.onnx")));
        for text in TEXT {
            let symbols = case.symbols(text);
            let inputs = listed.inputs(&symbols);
            let found = difference(&listed.run(&inputs, &symbols, true), &reference(&mut runner, &inputs));
            assert!(found < most, "{}, {stage}, {text} text tokens: {found:e}", options.dtype);
        }
    }
}

#[test]
fn half_precision_is_single_precision_but_for_its_rounding() {
    for family in FAMILIES {
        let case = Case::of(family);
        for (dtype, most) in [(DType::F16, 4e-3), (DType::BF16, 3e-2)] {
            is_rounded(&case, &Options { dtype, ..case.options.clone() }, most);
        }
    }
}

#[test]
fn stages_of_different_types_convert_what_they_hand_over() {
    for family in FAMILIES {
        let case = Case::of(family);
        for stage in ["vision", "language", "context", "step"] {
            let dtype_of = BTreeMap::from([(stage.to_owned(), DType::F32)]);
            is_rounded(&case, &Options { dtype: DType::F16, dtype_of, ..case.options.clone() }, 4e-3);
        }
    }
}

/// A wrong number in any operation shows: the comparison is not satisfied by anything.
#[test]
fn another_list_computes_something_else() {
    let scratch = tempfile::tempdir().expect("scratch");
    let case = Case::of(&N1D6);
    case.export(scratch.path());
    let mut listed = Listed::read(scratch.path(), "step");
    let symbols = case.symbols(TEXT[0]);
    let inputs = listed.inputs(&symbols);
    let before = listed.run(&inputs, &symbols, false);
    let count = listed.weights.len();
    for index in 0..count {
        // What is added to all keys alike changes no share of a softmax.
        if listed.program.weights[index].name.ends_with(".to_k.bias") {
            continue;
        }
        let weight = listed.weights[index].clone();
        // Not the same to all: a norm takes the mean away.
        let numbers = listed.weights[index].iter_mut().enumerate();
        numbers.for_each(|(at, number)| *number += 0.01 * (at % 7) as f64);
        let found = difference(&listed.run(&inputs, &symbols, false), &before);
        assert!(found > SINGLE, "weight {index} of {count}: {found:e}");
        listed.weights[index] = weight;
    }
}
