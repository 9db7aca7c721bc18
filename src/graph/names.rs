//! Names of topics as the graph has them: expanded and remapped as rcl does it, which r2r does not give out.

use crate::args::Remap;

/// Resolves names for one node.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    namespace: String,
    node: String,
    remaps: Vec<Remap>,
}

impl Names {
    /// For the node of this name and namespace, both as they are after remapping. The rules keep the order of the command line.
    pub(crate) fn new(namespace: &str, node: &str, remaps: &[Remap]) -> Self {
        let of_node = |rule: &&Remap| rule.node.as_deref().is_none_or(|of| of == node);
        let remaps = remaps.iter().filter(of_node).cloned().collect();
        Self { namespace: namespace.trim_end_matches('/').to_owned(), node: node.to_owned(), remaps }
    }

    /// The node's own name with its namespace.
    pub(crate) fn node(&self) -> String {
        format!("{}/{}", self.namespace, self.node)
    }

    /// A topic's name in the graph: expanded, then replaced by the first rule that matches.
    pub(crate) fn resolve(&self, topic: &str) -> String {
        let name = self.expand(topic);
        let rule = self.remaps.iter().find(|rule| self.expand(&rule.from) == name);
        rule.map_or(name, |rule| self.expand(&rule.to))
    }

    fn expand(&self, name: &str) -> String {
        // rules of `rcl_remap` may say which kind of name they are for.
        let name = name.strip_prefix("rostopic://").unwrap_or(name);
        let namespace = if self.namespace.is_empty() { "/" } else { &self.namespace };
        let name = match name.strip_prefix('~') {
            Some(rest) => format!("{}/{}{rest}", self.namespace, self.node),
            None => name.to_owned(),
        };
        let name = name.replace("{node}", &self.node).replace("{namespace}", namespace).replace("{ns}", namespace);
        if name.starts_with('/') { name.replace("//", "/") } else { format!("{}/{name}", self.namespace) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(namespace: &str, rules: &[(Option<&str>, &str, &str)]) -> Names {
        let rule = |&(node, from, to): &(Option<&str>, &str, &str)| Remap {
            node: node.map(str::to_owned),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        Names::new(namespace, "vla_trt", &rules.iter().map(rule).collect::<Vec<_>>())
    }

    #[test]
    fn relative_private_and_absolute_names_are_expanded() {
        let root = names("/", &[]);
        assert_eq!(root.resolve("joint_states"), "/joint_states");
        assert_eq!(root.resolve("~/joint_trajectory"), "/vla_trt/joint_trajectory");
        assert_eq!(root.node(), "/vla_trt");
        let left = names("/left/arm", &[]);
        assert_eq!(left.resolve("joint_states"), "/left/arm/joint_states");
        assert_eq!(left.resolve("~/joint_trajectory"), "/left/arm/vla_trt/joint_trajectory");
        assert_eq!(left.resolve("/joint_states"), "/joint_states");
        assert_eq!(left.resolve("{ns}/x_{node}"), "/left/arm/x_vla_trt");
        assert_eq!(root.resolve("{ns}/x"), "/x");
        assert_eq!(left.node(), "/left/arm/vla_trt");
    }

    #[test]
    fn the_first_rule_that_matches_the_expanded_name_replaces_it() {
        let rules = [
            (None, "~/joint_trajectory", "/arm_controller/joint_trajectory"),
            (Some("other"), "joint_states", "/wrong"),
            (Some("vla_trt"), "joint_states", "robot/joint_states"),
            (None, "rostopic:///left/joint_states", "/too_late"),
        ];
        let names = names("/left", &rules);
        assert_eq!(names.resolve("~/joint_trajectory"), "/arm_controller/joint_trajectory");
        assert_eq!(names.resolve("/left/joint_states"), "/left/robot/joint_states");
        assert_eq!(names.resolve("camera"), "/left/camera");
    }
}
