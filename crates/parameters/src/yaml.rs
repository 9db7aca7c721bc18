//! ROS 2 parameter files: which values they give one node.
//!
//! Read as `rcl` and rclcpp read them: sections `node`, `/ns/node`, nested `ns: node:`, wildcards `*` and `**`,
//! `ros__parameters`, nested maps as dotted names, YAML 1.1's `yes` and `on` as booleans when not quoted. Stricter
//! where a mistake would pass in silence: duplicate keys and values that are nothing (`~`, `null`) are refused.

use std::collections::BTreeMap;

use super::document::{self, Key, Node, Unreadable};
use super::error::{Error, Origin, Place, Problems};
use super::names::{NodeName, NodePattern};
use super::overrides::Override;
use super::value::Value;

const PARAMETERS_KEY: &str = "ros__parameters";

/// What a file gives one node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parsed {
    /// Values of the sections that match, in file order.
    pub overrides: Vec<Override>,
    /// How many sections match.
    pub matched: usize,
    /// Names of all sections.
    pub sections: Vec<String>,
}

/// Reads the text of a parameter file; `file` names it in messages.
///
/// # Errors
/// Everything that is not a parameter file's, each with its line.
pub fn parse(text: &str, file: &str, node: &NodeName) -> Result<Parsed, Problems> {
    let mut reader =
        Reader { file, node, parsed: Parsed::default(), problems: Problems::default(), outside: Vec::new() };
    match document::read(text) {
        Ok(Node::Mapping(items)) if !items.is_empty() => reader.sections(&items, &mut Vec::new()),
        Ok(Node::Null) => reader.form(None, "the file is empty".to_owned()),
        Ok(Node::Mapping(_)) => reader.form(None, "the file has no sections".to_owned()),
        Ok(other) => reader.form(None, format!("the file is {}", other.kind())),
        Err(Unreadable::TooLarge(limit)) => reader.problems.push(Error::TooLarge { file: file.to_owned(), limit }),
        Err(Unreadable::Syntax { line, message }) => {
            reader.problems.push(Error::Syntax { place: Place { file: file.to_owned(), line }, message });
        }
    }
    reader.report_outside();
    let Reader { parsed, problems, .. } = reader;
    problems.or(parsed)
}

/// Reads one value (what follows `name:=` on a command line).
///
/// # Errors
/// Why the text is no parameter value, as the rest of a sentence about the parameter.
pub fn parse_value(text: &str) -> Result<Value, String> {
    match document::read(text) {
        Ok(node) => value(&node),
        Err(Unreadable::TooLarge(limit)) => Err(format!("has more than {limit}")),
        Err(Unreadable::Syntax { message, .. }) => Err(format!("is not valid YAML: {message}; put text in quotes")),
    }
}

struct Reader<'a> {
    file: &'a str,
    node: &'a NodeName,
    parsed: Parsed,
    problems: Problems,
    /// Line and fault of what stands outside `ros__parameters`.
    outside: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// Walks down node names until `ros__parameters`.
    fn sections<'n>(&mut self, items: &'n [(Key, Node)], path: &mut Vec<&'n str>) {
        let mut seen = BTreeMap::new();
        for (key, node) in items {
            if !self.first_time(&mut seen, &join(path, &key.text, "/"), key.line) {
                continue;
            }
            match node {
                _ if key.text == PARAMETERS_KEY => self.section(key, node, path),
                Node::Mapping(inner)
                    if is_misspelt(&key.text) && !inner.iter().any(|(key, _)| key.text == PARAMETERS_KEY) =>
                {
                    let what = format!("'{}' is not {PARAMETERS_KEY} (two underscores)", join(path, &key.text, "/"));
                    self.form(Some(key.line), what);
                }
                Node::Mapping(inner) if !inner.is_empty() => {
                    path.push(&key.text);
                    self.sections(inner, path);
                    path.pop();
                }
                Node::Mapping(_) | Node::Null => {
                    let what = format!("'{}' has no {PARAMETERS_KEY}", join(path, &key.text, "/"));
                    self.outside.push((key.line, what));
                }
                other => {
                    let name = join(path, &key.text, "/");
                    self.outside.push((key.line, format!("'{name}' is {} outside {PARAMETERS_KEY}", other.kind())));
                }
            }
        }
    }

    /// One mistake in a file's form is the same one on every line below it.
    fn report_outside(&mut self) {
        let Some((line, what)) = self.outside.first().cloned() else { return };
        let what = match self.outside.len() - 1 {
            0 => what,
            more => format!("{what}, and so with {more} more"),
        };
        self.form(Some(line), what);
    }

    /// One `ros__parameters` and what is in it.
    fn section(&mut self, key: &Key, node: &Node, path: &[&str]) {
        let Some((last, above)) = path.split_last() else {
            return self.form(Some(key.line), format!("{PARAMETERS_KEY} stands without a node name above it"));
        };
        let above: Vec<&str> = above.iter().map(|part| if *part == "/" { "" } else { part }).collect();
        let name = join(&above, last, "/");
        let pattern = match NodePattern::parse(&name) {
            Ok(pattern) => pattern,
            Err(reason) => {
                let place = self.place(Some(key.line));
                return self.problems.push(Error::Section { place, section: name, reason });
            }
        };
        let Node::Mapping(items) = node else {
            return self
                .form(Some(key.line), format!("{PARAMETERS_KEY} of '{name}' is {} instead of a map", node.kind()));
        };
        self.parsed.sections.push(name);
        if pattern.matches(self.node) {
            self.parsed.matched += 1;
            self.parameters(items, &mut Vec::new(), &mut BTreeMap::new());
        }
    }

    /// Flattens nested maps to dotted names.
    fn parameters<'n>(
        &mut self,
        items: &'n [(Key, Node)],
        path: &mut Vec<&'n str>,
        names: &mut BTreeMap<String, usize>,
    ) {
        let mut seen = BTreeMap::new();
        for (key, node) in items {
            let name = join(path, &key.text, ".");
            if key.text.is_empty() {
                self.form(Some(key.line), format!("'{name}' ends in an empty name"));
                continue;
            }
            if !self.first_time(&mut seen, &name, key.line) {
                continue;
            }
            if let Node::Mapping(inner) = node {
                path.push(&key.text);
                self.parameters(inner, path, names);
                path.pop();
            } else if self.first_time(names, &name, key.line) {
                let origin = Origin::File(self.place(Some(key.line)));
                match value(node) {
                    Ok(value) => self.parsed.overrides.push(Override { name, value, origin }),
                    Err(reason) => self.problems.push(Error::BadValue { origin, name, reason }),
                }
            }
        }
    }

    fn first_time(&mut self, seen: &mut BTreeMap<String, usize>, key: &str, line: usize) -> bool {
        let Some(&first) = seen.get(key) else {
            seen.insert(key.to_owned(), line);
            return true;
        };
        let place = self.place(Some(line));
        self.problems.push(Error::Duplicate { place, key: key.to_owned(), first });
        false
    }

    fn form(&mut self, line: Option<usize>, what: String) {
        let place = self.place(line);
        self.problems.push(Error::Form { place, what });
    }

    fn place(&self, line: Option<usize>) -> Place {
        Place { file: self.file.to_owned(), line }
    }
}

/// `ros_parameters`, `ros__parameter`, `ROS__Parameters`, ...: a key that was meant to be [`PARAMETERS_KEY`].
fn is_misspelt(key: &str) -> bool {
    strsim::osa_distance(&key.to_lowercase(), PARAMETERS_KEY) <= 2
}

fn join(path: &[&str], last: &str, separator: &str) -> String {
    path.iter().copied().chain([last]).collect::<Vec<_>>().join(separator)
}

/// A node of the tree as a parameter value.
fn value(node: &Node) -> Result<Value, String> {
    match node {
        Node::Sequence(items) => list(items),
        Node::Mapping(_) => Err("is a map instead of a value; put text with ': ' in quotes".to_owned()),
        scalar => self::scalar(scalar),
    }
}

fn scalar(node: &Node) -> Result<Value, String> {
    Ok(match node {
        Node::Bool(v) => Value::Bool(*v),
        Node::Integer(v) => Value::Integer(*v),
        Node::Double(v) => Value::Double(*v),
        Node::Text { text, plain: true } => plain(text),
        Node::Text { text, plain: false } => Value::String(text.clone()),
        Node::Null => {
            return Err(
                "has no value (nothing, ~ or null); delete it to keep the default, or put text in quotes".to_owned()
            );
        }
        Node::Sequence(_) | Node::Mapping(_) => {
            return Err(format!("has {} where a single value belongs", node.kind()));
        }
    })
}

/// Unquoted text that `rcl` does not take as text.
fn plain(text: &str) -> Value {
    match text {
        "Y" | "y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "N" | "n" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    let (negative, word) = match text.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    match word.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => Value::Double(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => Value::Double(f64::NAN),
        _ => Value::String(text.to_owned()),
    }
}

fn list(items: &[Node]) -> Result<Value, String> {
    let values = items.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = values.first() else {
        // Without elements there is no type to see; an empty list fits every list parameter.
        return Ok(Value::StringArray(Vec::new()));
    };
    let kind = first.kind();
    if let Some(other) = values.iter().find(|value| value.kind() != kind) {
        let numbers =
            matches!((first, other), (Value::Integer(_) | Value::Double(_), Value::Integer(_) | Value::Double(_)));
        let remedy = if numbers {
            "write every number with a decimal point"
        } else {
            "give all the same type (put text in quotes)"
        };
        return Err(format!("mixes {kind} ({first}) and {} ({other}) in one list; {remedy}", other.kind()));
    }
    let mut list = match first {
        Value::Bool(_) => Value::BoolArray(Vec::new()),
        Value::Integer(_) => Value::IntegerArray(Vec::new()),
        Value::Double(_) => Value::DoubleArray(Vec::new()),
        _ => Value::StringArray(Vec::new()),
    };
    for value in values {
        match (&mut list, value) {
            (Value::BoolArray(list), Value::Bool(v)) => list.push(v),
            (Value::IntegerArray(list), Value::Integer(v)) => list.push(v),
            (Value::DoubleArray(list), Value::Double(v)) => list.push(v),
            (Value::StringArray(list), Value::String(v)) => list.push(v),
            // All have the first one's type.
            _ => {}
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
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
        let text =
            "/**:\n  ros__parameters:\n    a: ~\n    b: [1, x]\n    c: 1\n    c: 2\n/x y:\n  ros__parameters: {}\n";
        let problems = parse(text, "p.yaml", &node()).expect_err("wrong");
        assert_eq!(problems.len(), 4, "{problems}");
        assert!(problems.to_string().starts_with("4 problems with the parameters:\n  - p.yaml:3: "), "{problems}");
    }

    #[test]
    fn anchors_stand_for_what_they_name() {
        let text = "/**:\n  ros__parameters:\n    a: &joints [left, right]\n    b: *joints\n    c: &group {x: 1}\n    d: *group\n";
        let names: Vec<String> = values(text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "c.x", "d.x"]);
    }
}
