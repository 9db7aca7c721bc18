use super::*;

fn node() -> NodeName {
    NodeName::new("/robot", "vla_trt").expect("valid")
}

fn values(text: &str) -> Vec<(String, Value)> {
    let parsed = parse(text, "p.yaml", &node()).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    parsed.overrides.into_iter().map(|given| (given.name, given.value)).collect()
}

fn problem(text: &str) -> String {
    let problems = parse(text, "p.yaml", &node()).expect_err(text);
    assert_eq!(problems.len(), 1, "{problems}");
    problems.to_string()
}

#[test]
fn sections_are_taken_as_rclcpp_takes_them() {
    let text = "
/**: {ros__parameters: {a: 1}}
/robot/vla_trt: {ros__parameters: {b: 1}}
/robot/*: {ros__parameters: {c: 1}}
/*/vla_trt: {ros__parameters: {d: 1}}
robot: {vla_trt: {ros__parameters: {e: 1}}, other: {ros__parameters: {x: 1}}}
vla_trt: {ros__parameters: {x: 1}}
/other/vla_trt: {ros__parameters: {x: 1}}
/: {vla_trt: {ros__parameters: {x: 1}}}
";
    let names: Vec<String> = values(text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let root = NodeName::new("/", "vla_trt").expect("valid");
    let parsed = parse(text, "p.yaml", &root).expect("valid");
    assert_eq!((parsed.overrides.len(), parsed.matched, parsed.sections.len()), (3, 3, 9));
}

#[test]
fn values_have_the_types_that_rcl_gives_them() {
    let text = "
/**:
  ros__parameters:
    i: [1, -2]
    hex: 0x10
    d: [0.5, 1e3, .inf]
    inf: -inf
    b: [yes, off, true]
    quoted: ['yes', \"1\"]
    s: pick up the cube
    colon: 'a: b'
    nested: {deep.er: {x: {}}, also: ''}
    none: []
    block: |
      two
      lines
";
    let expected = [
        ("i", Value::IntegerArray(vec![1, -2])),
        ("hex", Value::Integer(16)),
        ("d", Value::DoubleArray(vec![0.5, 1000.0, f64::INFINITY])),
        ("inf", Value::Double(f64::NEG_INFINITY)),
        ("b", Value::BoolArray(vec![true, false, true])),
        ("quoted", Value::StringArray(vec!["yes".into(), "1".into()])),
        ("s", Value::String("pick up the cube".into())),
        ("colon", Value::String("a: b".into())),
        ("nested.also", Value::String(String::new())),
        ("none", Value::StringArray(vec![])),
        ("block", Value::String("two\nlines\n".into())),
    ];
    let expected: Vec<(String, Value)> = expected.map(|(name, value)| (name.to_owned(), value)).into();
    assert_eq!(values(text), expected);
}

#[test]
fn duplicate_keys_are_refused_with_path_and_line() {
    let nested = problem("/**:\n  ros__parameters:\n    a:\n      b: 1\n      c: 2\n      b: 3\n");
    assert_eq!(nested, "p.yaml:6: 'a.b' is given twice, first on line 4; keep one of the two");
    let dotted = problem("/**:\n  ros__parameters:\n    a.b: 1\n    a: {b: 2}\n");
    assert_eq!(dotted, "p.yaml:4: 'a.b' is given twice, first on line 3; keep one of the two");
    let section = problem("/**: {ros__parameters: {a: 1}}\n/**: {ros__parameters: {b: 1}}\n");
    assert_eq!(section, "p.yaml:2: '/**' is given twice, first on line 1; keep one of the two");
}

#[test]
fn what_is_no_value_is_refused_with_name_and_line() {
    let inside = |value: &str| problem(&format!("/**:\n  ros__parameters:\n    a.b: {value}\n"));
    for nothing in ["", "~", "null", "[1, ~]"] {
        let message = inside(nothing);
        assert!(message.starts_with("p.yaml:3: 'a.b' has no value"), "{message}");
    }
    assert!(inside("[1, 2.5]").contains("mixes integer (1) and double (2.5) in one list; write every number"));
    assert!(inside("[x, y]").contains("mixes string ('x') and bool (true) in one list; give all the same type"));
    assert!(inside("[[1], [2]]").contains("has a list where a single value belongs"));
    assert!(inside("[{x: 1}]").contains("has a map where a single value belongs"));
    assert!(inside("!robot x").contains("tags like !name"));
}

#[test]
fn files_of_another_form_are_refused_in_words() {
    for (text, says) in [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("{}", "the file has no sections"),
        ("[1]", "the file is a list"),
        ("rate_hz: 5", "p.yaml:1: 'rate_hz' is an integer outside ros__parameters"),
        ("/**:\n  rate_hz: 5", "p.yaml:2: '/**/rate_hz' is an integer outside ros__parameters"),
        (
            "/**:\n  a: 1\n  b: {c: x}\nd:\n",
            "p.yaml:2: '/**/a' is an integer outside ros__parameters, and so with 2 more",
        ),
        ("/**:\n", "p.yaml:1: '/**' has no ros__parameters"),
        ("ros__parameters: {a: 1}", "ros__parameters stands without a node name"),
        ("/**:\n  ros__parameters:\n", "p.yaml:2: ros__parameters of '/**' is nothing instead of a map"),
        ("/**:\n  ros__parameters: [1]\n", "p.yaml:2: ros__parameters of '/**' is a list instead of a map"),
        ("/**foo:\n  ros__parameters: {}\n", "p.yaml:2: the section '/**foo' names no node: its part '**foo'"),
        ("/**: {ros__parameters: {'': 1}}", "'' ends in an empty name"),
        ("/**: [\n", "not valid YAML"),
    ] {
        let message = problem(text);
        assert!(message.contains(says), "{text:?}: {message}");
    }
}

#[test]
fn a_misspelt_key_above_all_parameters_is_one_problem() {
    for key in ["ros_parameters", "ros__parameter", "ros___parameters", "ROS__Parameters"] {
        let lines: String = (0..48).map(|index| format!("    a{index}: {index}\n")).collect();
        let message = problem(&format!("/**:\n  {key}:\n{lines}"));
        assert!(
            message.starts_with(&format!("p.yaml:2: '/**/{key}' is not ros__parameters (two underscores)")),
            "{message}"
        );
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let text = "/**:\n  ros__parameters:\n    a: ~\n    b: [1, x]\n    c: 1\n    c: 2\n/x y:\n  ros__parameters: {}\n";
    let problems = parse(text, "p.yaml", &node()).expect_err("wrong");
    assert_eq!(problems.len(), 4, "{problems}");
    assert!(problems.to_string().starts_with("4 problems with the parameters:\n  - p.yaml:3: "), "{problems}");
}

#[test]
fn anchors_stand_for_what_they_name() {
    let text =
        "/**:\n  ros__parameters:\n    a: &joints [left, right]\n    b: *joints\n    c: &group {x: 1}\n    d: *group\n";
    let names: Vec<String> = values(text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "c.x", "d.x"]);
}
