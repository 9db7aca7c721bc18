//! Names of the nodes that the ONNX parser refuses.

use std::path::Path;

use crate::ParseError;
use vla_engines::onnx::Network;

/// Completes the parser's errors from the ONNX file: before TensorRT 10 they contain the node's number only.
pub(super) fn name_nodes(errors: &mut [ParseError], onnx: &Path) {
    // If the file cannot be read, the parser's errors stay unchanged.
    let Ok(network) = Network::open(onnx) else { return };
    let opset = network.opsets.iter().find(|(domain, _)| domain.is_empty() || domain == "ai.onnx");
    for error in errors {
        error.opset = opset.map(|(_, version)| *version);
        if let Some((name, operator)) = error.node.and_then(|index| network.nodes().nth(index)) {
            error.name = error.name.take().or_else(|| (!name.is_empty()).then(|| name.to_owned()));
            error.operator = error.operator.take().or_else(|| (!operator.is_empty()).then(|| operator.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use vla_engines::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

    #[test]
    fn a_node_that_the_parser_only_numbers_is_named_out_of_the_file() {
        let node = |name: &str, operator: &str| NodeProto {
            name: Some(name.into()),
            op_type: Some(operator.into()),
            ..NodeProto::default()
        };
        let graph = GraphProto { node: vec![node("/a", "Add"), node("/b/Foo", "Foo")], ..GraphProto::default() };
        let opset = OperatorSetIdProto { domain: None, version: Some(17) };
        let model = ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() };
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("net.onnx");
        std::fs::write(&path, model.encode_to_vec()).expect("written");
        let error = |node| ParseError { node, name: None, operator: None, opset: None, text: "no importer".into() };
        let mut errors = [error(Some(1)), error(Some(9)), error(None)];
        name_nodes(&mut errors, &path);
        let words = errors.map(|error| error.to_string());
        assert_eq!(words, ["node 1 '/b/Foo' (Foo, opset 17): no importer", "node 9: no importer", "no importer"]);
    }
}
