//! Names of topics as the graph has them: expanded and remapped as rcl does it, which r2r does not give out.

use vla_runtime::parameters::{NodeName, Remap};

/// Resolves names for one node.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    node: NodeName,
    remaps: Vec<(String, String)>,
}

impl Names {
    /// For the node of this name, as it is after remapping.
    pub(crate) fn new(node: NodeName, remaps: &[Remap]) -> Self {
        let remaps = Remap::rules(&node, remaps);
        Self { node, remaps }
    }

    /// The node's own name with its namespace.
    pub(crate) fn node(&self) -> String {
        self.node.to_string()
    }

    /// A topic's name in the graph: expanded, then replaced by the first rule that matches.
    pub(crate) fn resolve(&self, topic: &str) -> String {
        self.node.resolve(topic, &self.remaps)
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
        let node = NodeName::new(namespace, "vla_trt").expect("a name");
        Names::new(node, &rules.iter().map(rule).collect::<Vec<_>>())
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
    fn a_rule_for_another_node_does_not_count() {
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
