//! Values given from outside before the node starts: parameter files and `-p` arguments, later ones win.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::document::MAX_BYTES;
use super::error::{Error, Origin, Problems};
use super::names::{NodeName, NodePattern};
use super::value::{Value, ValueType};
use super::yaml;

/// One parameter's value given from outside.
#[derive(Clone, PartialEq, Debug)]
pub struct Override {
    /// Dotted name.
    pub name: String,
    /// As YAML types it.
    pub value: Value,
    /// Where it was given, for messages.
    pub origin: Origin,
    /// Given in a section of a file that nodes of other names match, too (`/**`, `/*`).
    pub shared: bool,
}

/// All values given from outside that are meant for one node, in the order given.
///
/// Only the order decides: the later of two values wins, in a later section, a later file or a later `-p`. (`rcl` merges sections of the same name across files into the first of them, so that there a
/// `-p` can lose against a file; that is not repeated here.)
#[derive(Clone, PartialEq, Debug)]
pub struct Overrides {
    node: NodeName,
    remaps: Vec<(String, String)>,
    given: Vec<Override>,
    warnings: Vec<String>,
}

impl Overrides {
    /// No overrides yet, for this node.
    pub fn new(node: NodeName) -> Self {
        Self { node, remaps: Vec::new(), given: Vec::new(), warnings: Vec::new() }
    }

    /// The same with rules `(from, to)` for names of topics, those that are meant for this node: parameters may be named after a topic.
    #[must_use]
    pub fn with_remaps(self, remaps: Vec<(String, String)>) -> Self {
        Self { remaps, ..self }
    }

    /// A topic's name in the ROS graph: see [`NodeName::resolve`].
    pub fn resolve(&self, topic: &str) -> String {
        self.node.resolve(topic, &self.remaps)
    }

    /// Adds what a parameter file gives this node.
    ///
    /// # Errors
    /// A file that cannot be read, and everything in it that is not valid in a parameter file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Problems> {
        let file = path.display().to_string();
        let unreadable = |reason: std::io::Error| Error::Unreadable { file: file.clone(), reason: reason.to_string() };
        let mut bytes = Vec::new();
        // One byte beyond the limit is enough to know that there is more; a device never ends.
        let limit = MAX_BYTES as u64 + 1;
        File::open(path).and_then(|open| open.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) if error.as_bytes().len() > MAX_BYTES => {
                return Err(Error::TooLarge { file, limit: format!("{} KiB", MAX_BYTES >> 10) }.into());
            }
            Err(error) => {
                let reason = format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to());
                return Err(Error::Unreadable { file, reason }.into());
            }
        };
        self.add_text(&file, &text)
    }

    /// Adds what the text of a parameter file gives this node; `file` names it in messages.
    ///
    /// # Errors
    /// Everything in it that is not valid in a parameter file.
    pub fn add_text(&mut self, file: &str, text: &str) -> Result<(), Problems> {
        let parsed = yaml::parse(text, file, &self.node)?;
        if parsed.matched == 0 {
            self.warnings.push(format!(
                "{file} has no section for the node {}: its sections are {}",
                self.node,
                if parsed.sections.is_empty() { "none".to_owned() } else { parsed.sections.join(", ") }
            ));
        }
        self.given.extend(parsed.overrides);
        Ok(())
    }

    /// Adds an argument of the form `[node:]name:=value` (what follows `-p`); the value is YAML.
    ///
    /// # Errors
    /// Another form, or a value that is none.
    pub fn add_argument(&mut self, argument: &str) -> Result<(), Error> {
        let malformed = || Error::Argument { argument: argument.to_owned() };
        let (target, value) = argument.split_once(":=").ok_or_else(malformed)?;
        match target.rsplit_once(':') {
            Some((node, name)) => self.assign(Some(node), name, value),
            None => self.assign(None, target, value),
        }
    }

    /// As [`Overrides::add_argument`], from its parts. A node name without slashes is a base name and meant in
    /// any namespace.
    ///
    /// # Errors
    /// An empty name, a node name that is none, or a value that is none.
    pub fn assign(&mut self, node: Option<&str>, name: &str, value: &str) -> Result<(), Error> {
        let argument = match node {
            Some(node) => format!("{node}:{name}:={value}"),
            None => format!("{name}:={value}"),
        };
        if name.is_empty() {
            return Err(Error::Argument { argument });
        }
        let meant = match node {
            None => true,
            Some(node) => match NodePattern::parse(node) {
                Ok(pattern) => node == self.node.name() || pattern.matches(&self.node),
                Err(_) => return Err(Error::Argument { argument }),
            },
        };
        let origin = Origin::Argument(format!("-p {argument}"));
        let value = yaml::parse_value(value).map_err(|reason| Error::BadValue {
            origin: origin.clone(),
            name: name.to_owned(),
            reason,
        })?;
        if meant {
            self.given.push(Override { name: name.to_owned(), value, origin, shared: false });
        }
        Ok(())
    }

    /// Adds a value directly; it wins over what was given before.
    pub fn set(&mut self, name: &str, value: Value) {
        self.given.push(Override { name: name.to_owned(), value, origin: Origin::Unnamed, shared: false });
    }

    /// The value given last.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.given.iter().rev().find(|given| given.name == name).map(|given| &given.value)
    }

    /// Every value, in the order given.
    pub fn given(&self) -> &[Override] {
        &self.given
    }

    /// The node whose parameters these are.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// What is not wrong but probably not meant: files without a section for this node.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The folder of the policy bundle, which has to be read before anything can be declared.
    ///
    /// # Errors
    /// None given, or not as text.
    pub fn policy(&self) -> Result<PathBuf, Error> {
        let given = self.given.iter().rev().find(|given| given.name == "policy");
        match given.map(|given| (&given.value, &given.origin)) {
            Some((Value::String(path), _)) if !path.is_empty() => Ok(PathBuf::from(path)),
            None | Some((Value::String(_), _)) => {
                Err(Error::Missing { name: "policy".into(), needs: missing_policy(self) })
            }
            Some((other, origin)) => Err(Error::WrongType {
                origin: origin.clone(),
                name: "policy".into(),
                expected: ValueType::String,
                found: other.kind(),
                value: other.clone(),
            }),
        }
    }
}

fn missing_policy(overrides: &Overrides) -> String {
    let mut needs = "give the folder of a policy bundle, such as -p policy:=out/demo/policy".to_owned();
    for warning in overrides.warnings() {
        needs += "; ";
        needs += warning;
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides() -> Overrides {
        Overrides::new(NodeName::new("/robot", "vla_trt").expect("valid"))
    }

    #[test]
    fn later_values_win_wherever_they_are_given() {
        let mut given = overrides();
        given
            .add_text("a.yaml", "/robot/vla_trt: {ros__parameters: {seed: 1}}\n/**: {ros__parameters: {seed: 2}}")
            .expect("valid");
        assert_eq!(given.get("seed"), Some(&Value::Integer(2)));
        given.add_text("b.yaml", "/**: {ros__parameters: {seed: 3}}").expect("valid");
        assert_eq!(given.get("seed"), Some(&Value::Integer(3)));
        given.add_argument("seed:=4").expect("valid");
        assert_eq!(given.get("seed"), Some(&Value::Integer(4)));
        given.add_text("c.yaml", "/**: {ros__parameters: {seed: 5}}").expect("valid");
        assert_eq!(given.get("seed"), Some(&Value::Integer(5)));
    }

    #[test]
    fn arguments_are_yaml_and_may_name_a_node() {
        let mut given = overrides();
        for argument in
            ["a:=1", "b:=2.5", "c:=[x, z]", "d:=pick up the cube", "e:=\"10\"", "f:=yes", "g:=a:=b", "h:=.inf"]
        {
            given.add_argument(argument).expect(argument);
        }
        for argument in ["vla_trt:i:=1", "/robot/vla_trt:j:=1", "other:k:=1", "/*:l:=1"] {
            given.add_argument(argument).expect(argument);
        }
        let expected: Vec<(&str, Value)> = vec![
            ("a", Value::Integer(1)),
            ("b", Value::Double(2.5)),
            ("c", Value::StringArray(vec!["x".into(), "z".into()])),
            ("d", Value::String("pick up the cube".into())),
            ("e", Value::String("10".into())),
            ("f", Value::Bool(true)),
            ("g", Value::String("a:=b".into())),
            ("h", Value::Double(f64::INFINITY)),
            ("i", Value::Integer(1)),
            ("j", Value::Integer(1)),
        ];
        let found: Vec<(&str, Value)> = given.given().iter().map(|o| (o.name.as_str(), o.value.clone())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn broken_arguments_are_refused_in_words() {
        for argument in ["", "seed", "seed=1", ":=1", "1st node:seed:=1", ":seed:=1"] {
            let error = overrides().add_argument(argument).expect_err(argument);
            assert!(matches!(error, Error::Argument { .. }), "{argument}: {error}");
        }
        for argument in ["seed:=", "seed:=~", "seed:={a: 1}", "seed:=[1, two]", "seed:=[", "text:=pick: cube"] {
            let error = overrides().add_argument(argument).expect_err(argument);
            assert!(matches!(error, Error::BadValue { .. }), "{argument}: {error}");
            assert!(error.to_string().starts_with(&format!("-p {argument}: ")), "{error}");
        }
    }

    #[test]
    fn a_missing_file_a_folder_and_a_binary_file_are_told_apart() {
        let folder = tempfile::tempdir().expect("scratch folder");
        let missing = overrides().add_file(&folder.path().join("none.yaml")).expect_err("missing");
        assert!(missing.to_string().contains("none.yaml: No such file"), "{missing}");
        assert!(overrides().add_file(folder.path()).expect_err("folder").to_string().contains("cannot read"));
        let path = folder.path().join("binary.yaml");
        std::fs::write(&path, [b'a', 0xff, 0xfe]).expect("written");
        assert!(overrides().add_file(&path).expect_err("binary").to_string().contains("not UTF-8 text (byte 1)"));
        std::fs::write(&path, vec![0xff; MAX_BYTES + 10]).expect("written");
        assert!(overrides().add_file(&path).expect_err("large").to_string().contains("more than 1024 KiB"));
    }

    #[test]
    fn the_policy_is_found_before_anything_is_declared() {
        let mut given = overrides();
        given.add_text("a.yaml", "/other: {ros__parameters: {policy: x}}").expect("valid");
        let message = given.policy().expect_err("none").to_string();
        assert!(
            message.contains("-p policy:=")
                && message.contains("a.yaml has no section for the node /robot/vla_trt: its sections are /other"),
            "{message}"
        );
        given.add_argument("policy:=5").expect("valid");
        assert!(matches!(given.policy(), Err(Error::WrongType { .. })));
        given.add_argument("policy:=/opt/policy").expect("valid");
        assert_eq!(given.policy(), Ok(PathBuf::from("/opt/policy")));
    }
}
