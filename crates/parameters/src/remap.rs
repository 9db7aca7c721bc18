//! Rules that give a topic, or the node itself, another name: `-r [NODE:]FROM:=TO` of a ROS 2 command line.

use std::str::FromStr;

use super::error::Error;
use super::names::{NodeName, is_token};

/// `[NODE:]FROM:=TO`. `__node` (or `__name`) and `__ns` as `FROM` are the node's name and namespace.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Remap {
    /// Only for the node of that name.
    pub node: Option<String>,
    /// The name that it replaces.
    pub from: String,
    /// The name in its place.
    pub to: String,
}

impl Remap {
    /// The rules `(from, to)` for names of topics that are meant for a node, in their order: see [`NodeName::resolve`].
    pub fn rules(node: &NodeName, remaps: &[Self]) -> Vec<(String, String)> {
        let of_node = remaps.iter().filter(|rule| rule.is_for(node.name()));
        of_node.map(|rule| (rule.from.clone(), rule.to.clone())).collect()
    }

    /// The name of a node after its remapping: of the rules for the name, and of those for the namespace, the first counts.
    ///
    /// # Errors
    /// A name that ROS 2 does not take.
    pub fn rename(node: &NodeName, remaps: &[Self]) -> Result<NodeName, Error> {
        let first = |names: &[&str]| {
            let rule = remaps.iter().find(|rule| rule.is_for(node.name()) && names.contains(&rule.from.as_str()));
            rule.map(|rule| rule.to.as_str())
        };
        let namespace = first(&["__ns"]).unwrap_or(node.namespace());
        NodeName::new(namespace, first(&["__node", "__name"]).unwrap_or(node.name()))
    }

    fn is_for(&self, node: &str) -> bool {
        self.node.as_deref().is_none_or(|of| of == node)
    }
}

impl FromStr for Remap {
    type Err = Error;

    fn from_str(rule: &str) -> Result<Self, Error> {
        let bad = |expected| Error::Remap { rule: rule.to_owned(), expected };
        let names = rule.split_once(":=").filter(|(from, to)| !from.is_empty() && !to.is_empty());
        let (from, to) = names.ok_or_else(|| bad("FROM:=TO, such as joint_states:=/robot/joint_states"))?;
        match from.rsplit(':').next() {
            Some("__node" | "__name") if !is_token(to) => {
                return Err(bad("a node name: letters, digits and '_', not starting with a digit"));
            }
            Some("__ns") if !is_namespace(to) => {
                return Err(bad(
                    "an absolute namespace such as /left_arm: names of letters, digits and '_' after each '/'",
                ));
            }
            _ => {}
        }
        // The name of a node before the first colon; that of a scheme (`rostopic://`) has two slashes after it.
        let (node, from) = match from.split_once(':') {
            Some((node, name)) if !name.starts_with("//") => (Some(node.to_owned()), name),
            _ => (None, from),
        };
        Ok(Self { node, from: from.to_owned(), to: to.to_owned() })
    }
}

fn is_namespace(name: &str) -> bool {
    name == "/" || name.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remaps(rules: &[&str]) -> Vec<Remap> {
        rules.iter().map(|rule| rule.parse().expect(rule)).collect()
    }

    #[test]
    fn a_node_is_renamed_by_the_first_rules_that_are_for_it() {
        let node = NodeName::new("/", "vla_trt").expect("valid");
        let renamed = |rules: &[&str]| Remap::rename(&node, &remaps(rules)).expect("valid").to_string();
        assert_eq!(renamed(&[]), "/vla_trt");
        assert_eq!(renamed(&["__ns:=/left/arm", "__node:=policy", "__name:=late"]), "/left/arm/policy");
        assert_eq!(renamed(&["other:__node:=wrong", "vla_trt:__ns:=/right"]), "/right/vla_trt");
    }

    #[test]
    fn rules_for_another_node_do_not_count() {
        let node = NodeName::new("/", "vla_trt").expect("valid");
        let rules = Remap::rules(&node, &remaps(&["other:a:=b", "vla_trt:a:=c", "rostopic://a:=d"]));
        assert_eq!(rules, [("a", "c"), ("rostopic://a", "d")].map(|(from, to)| (from.to_owned(), to.to_owned())));
    }

    #[test]
    fn what_rcl_would_not_take_is_refused() {
        for rule in ["a", "a:=", ":=a", "__node:=7up", "__ns:=left", "__ns:=/a b", "x:__node:=a/b"] {
            assert!(matches!(rule.parse::<Remap>(), Err(Error::Remap { .. })), "{rule}");
        }
    }
}
