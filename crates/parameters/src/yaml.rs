//! ROS 2 parameter files: which values they give one node.
//!
//! Read as `rcl` and rclcpp read them: sections `node`, `/ns/node`, nested `ns: node:`, wildcards `*` and `**`,
//! `ros__parameters`, nested maps as dotted names, YAML 1.1's `yes` and `on` as booleans when not quoted. Stricter
//! where a mistake would go unnoticed: duplicate keys and values that are nothing (`~`, `null`) are refused.

use std::collections::BTreeMap;

use super::document::{self, Key, Node, Unreadable};
use super::error::{Error, Origin, Problems, SourceLocation};
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
/// Everything that is not valid in a parameter file, each with its line.
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
            reader.problems.push(Error::Syntax { place: SourceLocation { file: file.to_owned(), line }, message });
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
    /// Line and problem of each entry outside `ros__parameters`.
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
            self.parameters(items, pattern.is_shared(), &mut Vec::new(), &mut BTreeMap::new());
        }
    }

    /// Flattens nested maps to dotted names.
    fn parameters<'n>(
        &mut self,
        items: &'n [(Key, Node)],
        shared: bool,
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
                self.parameters(inner, shared, path, names);
                path.pop();
            } else if self.first_time(names, &name, key.line) {
                let origin = Origin::File(self.place(Some(key.line)));
                match value(node) {
                    Ok(value) => self.parsed.overrides.push(Override { name, value, origin, shared }),
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

    fn place(&self, line: Option<usize>) -> SourceLocation {
        SourceLocation { file: self.file.to_owned(), line }
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
mod tests;
