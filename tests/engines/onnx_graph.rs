//! The graph builder: what it writes, and how it refuses what does not fit.

use std::fs;
use std::path::Path;

use prost::Message as _;
use vla_base::tensor::{DType, Dim};
use vla_export::Error;
use vla_export::onnx::proto::ModelProto;
use vla_export::onnx::{Graph, Value};

fn fixed(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().map(|n| Dim::Fixed(*n)).collect()
}

fn floats(graph: &mut Graph, name: &str, dims: &[usize]) -> Result<Value, Error> {
    let count = dims.iter().product::<usize>();
    graph.initializer(name, DType::F32, dims, |out| {
        (0..count).try_for_each(|i| out.write_all(&(i as f32).to_le_bytes()))
    })
}

/// `y = relu(x w + b)` with weights of a page and a bit.
fn small_network(path: &Path) -> Result<(), Error> {
    let mut graph = Graph::new("small", path);
    let x = graph.input("x", DType::F32, &[Dim::Symbol("N".into()), Dim::Fixed(40)])?;
    graph.enter("layer");
    let w = floats(&mut graph, "w", &[40, 30])?;
    let v = floats(&mut graph, "v", &[30, 30])?;
    let b = floats(&mut graph, "b", &[30])?;
    let y = graph.gemm(&x, &w, Some(&b), false)?;
    let y = graph.gemm(&y, &v, None, true)?;
    graph.leave();
    let y = graph.relu(&y);
    graph.output("y", &y)?;
    graph.finish().map(drop)
}

fn read(path: &Path) -> ModelProto {
    ModelProto::decode(fs::read(path).expect("model").as_slice()).expect("protobuf")
}

#[test]
fn small_weights_stay_inside_and_large_ones_lie_on_pages_of_the_data_file() {
    let scratch = tempfile::tempdir().expect("scratch");
    let path = scratch.path().join("small.onnx");
    small_network(&path).expect("writes");
    let graph = read(&path).graph.expect("graph");
    let data = fs::read(scratch.path().join("small.onnx.data")).expect("data");
    let mut ends = Vec::new();
    for tensor in &graph.initializer {
        let field = |key: &str| {
            tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.clone())
        };
        if tensor.name.as_deref() == Some("b") {
            assert_eq!(tensor.raw_data.as_ref().map(|data| data.len()), Some(120));
            continue;
        }
        assert_eq!((tensor.data_location, field("location").as_deref()), (Some(1), Some("small.onnx.data")));
        let offset: usize = field("offset").expect("offset").parse().expect("number");
        let length: usize = field("length").expect("length").parse().expect("number");
        assert_eq!(offset % 4096, 0);
        let expected: Vec<u8> = (0..length / 4).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert_eq!(data[offset..offset + length], expected);
        ends.push(offset + length);
    }
    assert_eq!((ends.len(), ends.last()), (2, Some(&data.len())));
    assert_eq!(read(&path).opset_import[0].version, Some(17));
}

#[test]
fn the_same_calls_write_the_same_bytes() {
    let scratch = tempfile::tempdir().expect("scratch");
    let write = |folder: &str| {
        let dir = scratch.path().join(folder);
        fs::create_dir(&dir).expect("folder");
        small_network(&dir.join("n.onnx")).expect("writes");
        (fs::read(dir.join("n.onnx")).expect("model"), fs::read(dir.join("n.onnx.data")).expect("data"))
    };
    assert_eq!(write("a"), write("b"));
}

#[test]
fn a_misfit_names_operator_place_and_both_shapes() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut graph = Graph::new("net", &scratch.path().join("net.onnx"));
    let x = graph.input("x", DType::F32, &fixed(&[2, 3])).expect("input");
    let h = graph.input("h", DType::F16, &fixed(&[2, 3])).expect("input");
    graph.enter("layers.3");
    graph.enter("attention");
    let cases = [
        (
            graph.matmul(&x, &x),
            "MatMul at `net/layers.3/attention`: expected one type, [.., m, k] and [.., k, n], found f32 [2, 3] and f32 [2, 3]",
        ),
        (
            graph.add(&x, &h),
            "Add at `net/layers.3/attention`: expected one type and shapes that broadcast, found f32 [2, 3] and f16 [2, 3]",
        ),
        (
            graph.reshape(&x, &fixed(&[7])),
            "Reshape at `net/layers.3/attention`: expected as many elements as [7], found f32 [2, 3]",
        ),
        (graph.slice(&x, 1, 2, 4), "Slice at `net/layers.3/attention`: expected 2..4 inside axis 1, found f32 [2, 3]"),
        (
            graph.gather(&x, &x),
            "Gather at `net/layers.3/attention`: expected a table and i32 indices, found f32 [2, 3] and f32 [2, 3]",
        ),
        (
            graph.transpose(&x, &[0, 0]),
            "Transpose at `net/layers.3/attention`: expected rank 2 for the order [0, 0], found f32 [2, 3]",
        ),
        (graph.concat(&[], 0), "Concat at `net/layers.3/attention`: expected one type, equal but for axis 0, found "),
    ];
    for (result, message) in cases {
        assert_eq!(result.expect_err(message).to_string(), message);
    }
}

#[test]
fn an_initializer_of_the_wrong_length_is_refused_and_a_name_means_one_thing() {
    let scratch = tempfile::tempdir().expect("scratch");
    let mut graph = Graph::new("net", &scratch.path().join("net.onnx"));
    let short = graph.initializer("w", DType::F32, &[1000], |out| out.write_all(&[0; 12]));
    assert!(matches!(short, Err(Error::InitializerSize { expected: 4000, found: 12, .. })), "{short:?}");
    floats(&mut graph, "b", &[3]).expect("new");
    let nodes = |graph: &mut Graph| floats(graph, "b", &[3]).map(|value| value.dims().to_vec());
    assert_eq!(nodes(&mut graph).expect("the same weight again"), fixed(&[3]));
    let other = floats(&mut graph, "b", &[4]).expect_err("another shape").to_string();
    assert!(other.contains("`b`") && other.contains("f32 [4]") && other.contains("f32 [3]"), "{other}");
    graph.input("x", DType::F32, &fixed(&[1])).expect("input");
    assert!(matches!(graph.input("x", DType::F32, &fixed(&[1])), Err(Error::DuplicateName { .. })));
}

#[test]
fn an_output_takes_its_name_where_it_is_made_and_an_input_passed_through_is_copied() {
    let scratch = tempfile::tempdir().expect("scratch");
    let path = scratch.path().join("net.onnx");
    let mut graph = Graph::new("net", &path);
    let x = graph.input("x", DType::F32, &fixed(&[2])).expect("input");
    let y = graph.relu(&x);
    let z = graph.neg(&y);
    graph.output("y", &y).expect("output");
    graph.output("again", &y).expect("output");
    graph.output("x_out", &x).expect("output");
    graph.output("z", &z).expect("output");
    graph.finish().expect("writes");
    let graph = read(&path).graph.expect("graph");
    let nodes: Vec<_> = graph
        .node
        .iter()
        .map(|n| (n.op_type.clone().unwrap_or_default(), n.input.join(","), n.output.join(",")))
        .collect();
    let expected = [("Relu", "x", "y"), ("Neg", "y", "z"), ("Identity", "y", "again"), ("Identity", "x", "x_out")];
    assert_eq!(nodes, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
}
