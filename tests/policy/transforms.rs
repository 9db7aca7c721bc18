//! The tree of frames, against what tf2's `BufferCore` answers (`tests/data/tf`).

use serde_json::Value as Json;
use vla_base::time::Stamp;
use vla_policy::observation::transforms::{Link, LookupError, Route, Transform, TransformTree};
use vla_trt_tests::vectors;

fn numbers<const N: usize>(values: &[Json]) -> [f64; N] {
    let numbers: Vec<f64> = values.iter().map(|value| value.as_f64().expect("a number")).collect();
    numbers.try_into().expect("as many")
}

fn text(value: &Json) -> &str {
    value.as_str().expect("a text")
}

fn stamp(value: &Json) -> Option<Stamp> {
    value.as_i64().map(Stamp::from_nanos)
}

fn tree(scenario: &Json) -> TransformTree {
    let mut tree = TransformTree::default();
    for transform in scenario["transforms"].as_array().expect("a list") {
        let row = transform.as_array().expect("a list");
        let link = Link {
            parent: text(&row[0]),
            child: text(&row[1]),
            stamp: stamp(&row[2]).expect("a stamp"),
            is_static: row[3].as_bool().expect("a flag"),
            transform: Transform { translation: numbers(&row[4..7]), rotation: numbers(&row[7..]) },
        };
        tree.insert(&link, link.stamp).expect("a good link");
    }
    tree
}

/// Both signs of a quaternion are one rotation.
fn difference(found: &Transform, expected: &[f64; 7]) -> f64 {
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let (translation, rotation) = expected.split_at(3);
    let other: Vec<f64> = rotation.iter().map(|value| -value).collect();
    let turned = apart(&found.rotation, rotation).min(apart(&found.rotation, &other));
    apart(&found.translation, translation).max(turned)
}

fn kind(error: &LookupError) -> &'static str {
    match error {
        LookupError::UnknownFrame { .. } | LookupError::Loop { .. } => "lookup",
        LookupError::Disconnected { .. } => "connectivity",
        LookupError::Before { .. } | LookupError::After { .. } => "extrapolation",
        _ => "another",
    }
}

#[test]
fn every_lookup_gives_what_tf2_gives() {
    let scenarios = vectors::json(&vla_trt_tests::root().join("tests/data/tf/vectors.json"));
    let (mut poses, mut refusals) = (0, [0; 3]);
    for scenario in scenarios.as_array().expect("a list") {
        let tree = tree(scenario);
        for question in scenario["lookups"].as_array().expect("a list") {
            let route = Route::new(text(&question["target"]), text(&question["source"]));
            let asked = stamp(&question["stamp"]);
            // tf2's zero: the newest common time, or any where all is static.
            let at = match asked {
                Some(at) => Ok(at),
                None => tree.latest_common(&route).map(|common| common.map(|common| common.stamp).unwrap_or_default()),
            };
            if let (None, Ok(at), Some(common)) = (asked, &at, stamp(&question["common"])) {
                assert_eq!(*at, common, "newest common time: {} {question}", scenario["name"]);
            }
            match (at.and_then(|at| tree.lookup(&route, at)), question["pose"].as_array()) {
                (Ok(found), Some(expected)) => {
                    let apart = difference(&found, &numbers(expected));
                    assert!(apart < 1e-12, "{apart}: {} {question}, found {found:?}", scenario["name"]);
                    poses += 1;
                }
                (Err(error), None) => {
                    assert_eq!(kind(&error), text(&question["error"]), "{} {question}: {error}", scenario["name"]);
                    let kinds = ["lookup", "connectivity", "extrapolation"];
                    refusals.iter_mut().zip(kinds).for_each(|(count, of)| *count += usize::from(of == kind(&error)));
                }
                (found, _) => panic!("{} {question}: found {found:?}", scenario["name"]),
            }
        }
    }
    assert!(poses > 300 && refusals.iter().all(|count| *count > 10), "{poses} poses, refusals {refusals:?}");
}
