//! Parses the JSON of TensorRT's engine inspector: number of layers by kind and precision.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Keywords in TensorRT's formats and types, with their precision. Longer keywords first.
const PRECISIONS: &[(&str, &str)] = &[
    ("BF16", "bf16"),
    ("BFloat16", "bf16"),
    ("FP16", "fp16"),
    ("Half", "fp16"),
    ("FP32", "fp32"),
    ("Float", "fp32"),
    ("FP8", "fp8"),
    ("INT8", "int8"),
    ("Int8", "int8"),
    ("INT32", "int32"),
    ("Int32", "int32"),
    ("INT64", "int64"),
    ("Int64", "int64"),
    ("Bool", "bool"),
    ("BOOL", "bool"),
];

/// Layers of an engine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Layers {
    /// Number of layers, fused ones counted once.
    pub total: usize,
    /// Whether the engine was built with detailed layers; otherwise it contains names only, and `by_precision` is empty.
    pub detailed: bool,
    /// Most frequent first.
    pub by_precision: Vec<LayerCount>,
}

/// Layers of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LayerCount {
    /// Precision of the layer's first output: `fp32`, `fp16`, `int8`, ...; `?` if the engine does not contain it.
    pub precision: String,
    /// TensorRT's name of the kind.
    pub kind: String,
    /// Number of layers.
    pub layers: usize,
}

impl Layers {
    /// Reads `{"Layers": [...]}`: strings are names, objects are details.
    ///
    /// # Errors
    /// A message.
    pub fn parse(json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| format!("the inspector's JSON: {error}"))?;
        let Some(layers) = value.get("Layers").and_then(Value::as_array) else {
            return Err("the inspector's JSON has no list \"Layers\"".to_owned());
        };
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for layer in layers.iter().filter(|layer| layer.is_object()) {
            let kind = layer.get("LayerType").and_then(Value::as_str).unwrap_or("?").to_owned();
            *counts.entry((precision(layer).to_owned(), kind)).or_default() += 1;
        }
        let mut by_precision: Vec<LayerCount> =
            counts.into_iter().map(|((precision, kind), layers)| LayerCount { precision, kind, layers }).collect();
        by_precision.sort_by_key(|count| std::cmp::Reverse(count.layers));
        Ok(Self { total: layers.len(), detailed: !by_precision.is_empty(), by_precision })
    }
}

fn precision(layer: &Value) -> &'static str {
    let format =
        layer.get("Outputs").and_then(|outputs| outputs.get(0)).and_then(|output| output.get("Format/Datatype"));
    let format = format.and_then(Value::as_str).unwrap_or_default();
    PRECISIONS.iter().find(|(word, _)| format.contains(word)).map_or("?", |(_, precision)| precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_by_precision_and_kind() {
        let layer = |kind: &str, format: &str| {
            format!(r#"{{"Name": "x", "LayerType": "{kind}", "Outputs": [{{"Format/Datatype": "{format}"}}]}}"#)
        };
        let half = layer("gemm", "Row major linear FP16 format");
        let json = format!(
            r#"{{"Layers": [{half}, {}, {half}, {}], "Bindings": []}}"#,
            layer("Reformat", "Float"),
            r#"{"Name": "y"}"#
        );
        let layers = Layers::parse(&json).expect("layers");
        assert_eq!((layers.total, layers.detailed), (4, true));
        let counts: Vec<_> =
            layers.by_precision.iter().map(|c| (c.precision.as_str(), c.kind.as_str(), c.layers)).collect();
        assert_eq!(counts, [("fp16", "gemm", 2), ("?", "?", 1), ("fp32", "Reformat", 1)]);
    }

    #[test]
    fn names_alone_are_told_as_such_and_other_json_is_an_error() {
        let names = Layers::parse(r#"{"Layers": ["a", "b"]}"#).expect("names");
        assert_eq!(names, Layers { total: 2, detailed: false, by_precision: Vec::new() });
        for wrong in ["", "[]", r#"{"Layers": 3}"#] {
            assert!(Layers::parse(wrong).is_err(), "{wrong}");
        }
    }
}
