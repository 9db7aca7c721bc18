//! Files that are read, files that are refused, and what is computed of one with every operation.

use serde_json::{Value as Json, json};

use super::evaluate::evaluate;
use super::*;

/// One operation of each kind.
fn every_operation() -> Json {
    let value = |index: usize, rows: Json, columns: usize| json!({"source": {"value": index}, "rows": rows, "columns": columns});
    let weight = |index: usize, rows: Json, columns: usize| json!({"source": {"weight": index}, "rows": rows, "columns": columns});
    let row = |row: usize| json!({"source": {"weight": 7}, "rows": 1, "row": row, "columns": 8});
    let right = json!({"source": {"value": 7}, "rows": "T", "columns": 8, "column": 8});
    json!({
        "format": 1,
        "network": "0123456789abcdef".repeat(4),
        "values": [
            {"name": "x", "dtype": "f32", "dims": ["T", 8]},
            {"name": "index", "dtype": "i32", "dims": [2]},
            {"name": "actions", "dtype": "f32", "dims": [2, 4]},
            {"name": "dt", "dtype": "f32", "dims": [1]},
            {"name": "strength", "dtype": "f32", "dims": [2]},
            {"name": "k", "dtype": "f32", "dims": [1, 2, "T", 4]},
            {"dtype": "f32", "dims": ["T", 8]},
            {"dtype": "f32", "dims": ["T", 16]},
            {"dtype": "f32", "dims": ["T", 8]},
            {"dtype": "f32", "dims": ["T", 8]},
            {"dtype": "f32", "dims": ["T", 8]},
            {"dtype": "f32", "dims": ["T", 8]},
            {"name": "rows", "dtype": "f32", "dims": ["T+4", 8]},
            {"dtype": "f32", "dims": [2, 8]},
            {"dtype": "f32", "dims": [4, 4]},
            {"dtype": "f16", "dims": [2, 4]},
            {"name": "next_actions", "dtype": "f32", "dims": [2, 4]},
        ],
        "inputs": [0, 1, 2, 3, 4, 5],
        "outputs": [12, 16],
        "weights": [
            {"name": "w", "dtype": "f32", "dims": [8, 8]},
            {"name": "b", "dtype": "f32", "dims": [8]},
            {"name": "norm", "dtype": "f32", "dims": [4]},
            {"name": "cos", "dtype": "f32", "dims": [9, 4]},
            {"name": "sin", "dtype": "f32", "dims": [9, 4]},
            {"name": "g", "dtype": "f32", "dims": [8]},
            {"name": "v", "dtype": "f32", "dims": [8, 8]},
            {"name": "table", "dtype": "f32", "dims": [4, 8]},
        ],
        "operations": [
            {"op": "norm", "kind": "layer", "x": value(0, json!("T"), 8), "eps": 1e-5, "weight": 5, "gain": row(1), "shift": row(2), "out": 6},
            {"op": "linear", "x": value(6, json!("T"), 8), "transposed": true, "activation": "gelu_tanh", "out": 7,
             "parts": [{"weight": 0, "bias": weight(1, json!(1), 8)}, {"weight": 6}]},
            {"op": "rotary", "x": value(7, json!("T"), 8), "heads": 2, "dim": 4, "groups": 1, "norm": [2, 1e-6],
             "cos": weight(3, json!("T"), 4), "sin": weight(4, json!("T"), 4), "out": 8},
            {"op": "attention", "q": {"rows": value(8, json!("T"), 8)}, "k": {"rows": value(5, json!("T"), 8), "heads_first": true},
             "v": {"rows": right}, "groups": 1, "heads": 2, "kv_heads": 2, "dim": 4, "scale": 0.5, "mask": "causal", "out": 9},
            {"op": "activate", "activation": "silu", "x": value(7, json!("T"), 8), "by": value(9, json!("T"), 8), "out": 10},
            {"op": "add", "a": value(10, json!("T"), 8), "b": row(0), "out": 11},
            {"op": "concat", "parts": [value(11, json!("T"), 8), weight(7, json!(4), 8)], "out": 12},
            {"op": "gather", "table": value(12, json!("T+4"), 8), "index": value(1, json!(2), 1), "out": 13},
            {"op": "permute", "x": value(13, json!(2), 8), "dims": [2, 2, 4], "order": [1, 0, 2], "out": 14},
            {"op": "cast", "x": value(14, json!(2), 4), "out": 15},
            {"op": "euler", "actions": value(2, json!(2), 4), "velocity": value(15, json!(2), 4), "dt": value(3, json!(1), 1),
             "strength": value(4, json!(2), 1), "out": 16},
        ],
    })
}

fn program(file: Json) -> Result<Program, String> {
    let program: Program = serde_json::from_value(file).map_err(|error| error.to_string())?;
    program.check().map(|()| program)
}

fn symbols(text: usize) -> Symbols {
    Symbols::from([("T".to_owned(), text)])
}

/// The file with another value at a JSON pointer, which is there.
fn changed(pointer: &str, to: Json) -> Json {
    let mut file = every_operation();
    *file.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = to;
    file
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let scratch = tempfile::tempdir().expect("scratch");
    let program = program(every_operation()).expect("valid");
    let onnx = scratch.path().join("step.onnx");
    std::fs::write(&onnx, "a network").expect("written");
    let mut mine = program.clone();
    mine.network = hash::file_sha256(&onnx).expect("reads");
    let path = path_beside(&onnx);
    assert_eq!(path.file_name().expect("a name"), "step.operations.json");
    std::fs::write(&path, mine.to_text().expect("text")).expect("written");
    assert_eq!(Program::read_beside(&onnx).expect("reads"), mine);
    std::fs::write(&onnx, "another network").expect("written");
    assert!(matches!(Program::read_beside(&onnx), Err(ProgramError::Invalid { .. })));
    std::fs::write(&path, "{}").expect("written");
    assert!(matches!(Program::read(&path), Err(ProgramError::Invalid { .. })));
    assert!(matches!(Program::read(&scratch.path().join("none.json")), Err(ProgramError::Io { .. })));
}

#[test]
fn sizes_follow_the_symbols_and_rows_beyond_a_table_are_refused() {
    let program = program(every_operation()).expect("valid");
    let dims = program.dims(&symbols(5)).expect("sizes");
    assert_eq!((&dims[7], &dims[12]), (&vec![5, 16], &vec![9, 8]));
    // The tables of the rotation have nine rows.
    program.dims(&symbols(9)).expect("as many");
    let error = program.dims(&symbols(10)).expect_err("too many");
    assert!(error.starts_with("operation 2 (rotary)") && error.contains("rows of 9"), "{error}");
    for symbols in [Symbols::new(), symbols(0), symbols(usize::MAX)] {
        assert!(program.dims(&symbols).expect_err("no size").starts_with("value 0"), "{symbols:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_operation() {
    for (operation, pointer, to) in [
        ("0 (norm)", "/operations/0/x/source", json!({"value": 7})),
        ("0 (norm)", "/operations/0/x/columns", json!(9)),
        ("0 (norm)", "/operations/0/x/rows", json!(0)),
        ("0 (norm)", "/operations/0/weight", json!(0)),
        ("0 (norm)", "/operations/0/weight", json!(99)),
        ("0 (norm)", "/operations/0/gain/row", json!(4)),
        ("0 (norm)", "/operations/0/gain/rows", json!(2)),
        ("0 (norm)", "/operations/0/eps", json!(0)),
        ("0 (norm)", "/operations/0/out", json!(0)),
        ("0 (norm)", "/operations/0/out", json!(17)),
        ("1 (linear)", "/operations/1/parts", json!([])),
        ("1 (linear)", "/operations/1/parts/1/weight", json!(5)),
        ("1 (linear)", "/operations/1/parts/0/bias/columns", json!(4)),
        ("1 (linear)", "/weights/0/dims", json!([8, 9])),
        ("1 (linear)", "/weights/6/dtype", json!("f16")),
        ("2 (rotary)", "/operations/2/heads", json!(4)),
        ("2 (rotary)", "/operations/2/dim", json!(3)),
        ("2 (rotary)", "/operations/2/groups", json!(2)),
        ("2 (rotary)", "/operations/2/groups", json!(0)),
        ("2 (rotary)", "/operations/2/cos/rows", json!(3)),
        ("3 (attention)", "/operations/3/kv_heads", json!(1)),
        ("3 (attention)", "/operations/3/heads", json!(0)),
        ("3 (attention)", "/operations/3/groups", json!(2)),
        ("3 (attention)", "/operations/3/k/rows/source", json!({"value": 8})),
        ("3 (attention)", "/operations/3/k/rows/source", json!({"weight": 7})),
        ("3 (attention)", "/operations/3/k/heads_first", json!(false)),
        ("3 (attention)", "/operations/3/v/rows/column", json!(9)),
        ("4 (activate)", "/operations/4/by/source", json!({"value": 10})),
        ("5 (add)", "/operations/5/b/columns", json!(4)),
        ("6 (concat)", "/operations/6/parts/1/rows", json!(3)),
        ("6 (concat)", "/values/12/dims", json!(["T+5", 8])),
        ("7 (gather)", "/operations/7/index/source", json!({"value": 4})),
        ("7 (gather)", "/operations/7/index/rows", json!(3)),
        ("8 (permute)", "/operations/8/order", json!([1, 1, 2])),
        ("8 (permute)", "/operations/8/dims", json!([2, 4, 4])),
        ("8 (permute)", "/operations/8/dims", json!([4, 4])),
        ("8 (permute)", "/values/14/dims", json!([4, 5])),
        ("9 (cast)", "/values/15/dtype", json!("i32")),
        ("10 (euler)", "/operations/10/strength/rows", json!(1)),
        ("10 (euler)", "/operations/10/dt/source", json!({"value": 1})),
    ] {
        let error = program(changed(pointer, to.clone())).expect_err(pointer);
        assert!(error.starts_with(&format!("operation {operation}")), "{pointer} = {to}: {error}");
        assert!(error.contains("expected ") && error.contains("found "), "{error}");
    }
}

#[test]
fn what_is_wrong_around_the_operations_is_refused_by_its_name() {
    for (named, pointer, to) in [
        ("format", "/format", json!(2)),
        ("network", "/network", json!("")),
        ("input", "/inputs/1", json!(0)),
        ("input", "/inputs/1", json!(99)),
        ("output", "/outputs/0", json!(0)),
        ("output", "/outputs/0", json!(11)),
        ("output", "/values/16/name", json!("x")),
        ("value 6", "/values/6", json!({"name": "inner", "dtype": "f32", "dims": ["T", 8]})),
        ("value 6", "/values/6/dims", json!(["U", 8])),
        ("value 6", "/values/6/dims", json!([])),
        ("value 6", "/values/6/dims", json!([0, 8])),
        ("value 6", "/values/6/dims", json!(["T-1", 8])),
        ("value 0", "/values/0/dims", json!(["2*T", 8])),
        ("value 6", "/values/6/dims", json!(["T", u64::MAX, u64::MAX])),
        ("weight 1", "/weights/1/name", json!("w")),
        ("weight 1", "/weights/1/dtype", json!("bool")),
        ("weight 1", "/weights/1/dims", json!([0])),
    ] {
        let error = program(changed(pointer, to.clone())).expect_err(pointer);
        assert!(error.starts_with(named), "{pointer} = {to}: {error}");
    }
    let mut file = every_operation();
    file["values"].as_array_mut().expect("a list").push(json!({"dtype": "f32", "dims": [1]}));
    assert!(program(file).expect_err("written by none").starts_with("value 17"));
    let mut file = every_operation();
    file["operations"][1]["residual"] = json!({"source": {"value": 6}, "rows": "T", "columns": 8});
    assert!(program(file).expect_err("narrower than the result").starts_with("operation 1 (linear)"));
    let mut file = every_operation();
    file["operations"].as_array_mut().expect("a list").swap(0, 1);
    assert!(program(file).expect_err("not written yet").starts_with("operation 0 (linear)"));
    assert!(program(changed("/operations/9/op", json!("resample"))).is_err());
}

/// Pointers to all numbers, texts and lists of a document.
fn pointers(at: &Json, pointer: &str, found: &mut Vec<String>) {
    match at {
        Json::Object(fields) => {
            fields.iter().for_each(|(key, value)| pointers(value, &format!("{pointer}/{key}"), found))
        }
        Json::Array(items) => {
            found.push(pointer.to_owned());
            items.iter().enumerate().for_each(|(at, item)| pointers(item, &format!("{pointer}/{at}"), found));
        }
        _ => found.push(pointer.to_owned()),
    }
}

/// What is not refused runs: nothing that a file can say leads to a panic, in the checks or behind them.
#[test]
fn no_change_of_a_file_leads_to_a_panic() {
    let mut all = Vec::new();
    pointers(&every_operation(), "", &mut all);
    assert!(all.len() > 200, "{}", all.len());
    let most = json!(u64::MAX);
    let others = [
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(7),
        most,
        json!(-1),
        json!("T"),
        json!("3*T"),
        json!(null),
        json!([]),
    ];
    let mut accepted = 0;
    for pointer in &all {
        for other in &others {
            let Ok(program) = program(changed(pointer, other.clone())) else { continue };
            let Ok(dims) = program.dims(&symbols(3)) else { continue };
            let count = |dims: &[usize]| vec![0.5; dims.iter().product()];
            let weights: Vec<Vec<f64>> = program.weights.iter().map(|weight| count(&weight.dims)).collect();
            let inputs: Vec<Vec<f64>> = program.inputs.iter().map(|index| count(&dims[*index])).collect();
            evaluate(&program, &weights, &inputs, &symbols(3), true).expect("runs");
            accepted += 1;
        }
    }
    assert!(accepted > 50, "{accepted}");
}
