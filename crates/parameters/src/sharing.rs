//! Parameter files that several nodes share: which of the given names are this node's, which are mistakes, and which are of other nodes.

use std::collections::BTreeSet;
use std::fmt;

use super::declaration::Declaration;
use super::error::Origin;
use super::nearest::nearest;
use super::overrides::Override;

/// Parameters that rclcpp and rclpy declare in every node, for services that this node does not have.
const OF_EVERY_NODE: [&str; 1] = ["start_type_description_service"];
/// Topics of every node: rclcpp declares the QoS of its endpoints on them.
const TOPICS_OF_EVERY_NODE: [&str; 3] = ["/clock", "/parameter_events", "/rosout"];
/// Names of shared sections that are compared with the known ones, at most: the rest count as those of other nodes.
const COMPARED: usize = 1000;
/// Most names that a warning lists.
const LISTED: usize = 20;

/// What a node knows of parameters.
#[derive(Debug)]
pub struct Known<'a> {
    names: BTreeSet<&'a str>,
    groups: &'a [&'a str],
}

/// The given values of a node, sorted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sorted<'o> {
    /// To be declared: of a known name, or a mistake, which the declaration refuses.
    pub own: Vec<&'o Override>,
    /// Without effect, and worth a warning.
    pub ignored: Ignored,
}

/// Given parameters that the node does not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ignored(Vec<(String, Origin)>);

impl<'a> Known<'a> {
    /// The names of these declarations. `groups` are the first parts of dotted names under which every name is this node's.
    pub fn new(declarations: &'a [Declaration], groups: &'a [&'a str]) -> Self {
        Self { names: declarations.iter().map(|declaration| declaration.name.as_str()).collect(), groups }
    }

    /// Sorts the values that were given for this node.
    ///
    /// - A known name is this node's.
    /// - Names that rcl and rclcpp read in every node pass without a word.
    /// - QoS overrides of topics that the node does not subscribe to are ignored: with a warning where they were given for this node, and
    ///   without where other nodes share the section.
    /// - Another name that was given for this node alone is a mistake.
    /// - In a shared section it is a mistake when it is close to a known name or in one of the node's groups; otherwise it is ignored with
    ///   a warning.
    pub fn sort<'o>(&self, given: &'o [Override]) -> Sorted<'o> {
        let mut sorted = Sorted::default();
        let mut compared = 0;
        for one in given {
            let name = one.name.as_str();
            if self.names.contains(name) {
                sorted.own.push(one);
            } else if OF_EVERY_NODE.contains(&name) {
                // As intended: there is nothing to set.
            } else if let Some(topic) = self.other_topic(name) {
                if !one.shared && !TOPICS_OF_EVERY_NODE.contains(&topic) {
                    sorted.ignored.push(one);
                }
            } else if !one.shared || self.has_group(name) {
                sorted.own.push(one);
            } else {
                compared += 1;
                let mistake = compared <= COMPARED && nearest(name, self.names.iter().copied()).is_some();
                if mistake { sorted.own.push(one) } else { sorted.ignored.push(one) }
            }
        }
        sorted
    }

    /// The topic of a QoS override that is not for a subscription of this node.
    fn other_topic<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (topic, policy) = name.strip_prefix("qos_overrides.")?.split_once('.')?;
        let subscription = format!("qos_overrides.{topic}.subscription.");
        let subscribes = || self.names.iter().any(|known| known.starts_with(&subscription));
        let other = !policy.starts_with("subscription.") || !subscribes();
        other.then_some(topic)
    }

    fn has_group(&self, name: &str) -> bool {
        name.split_once('.').is_some_and(|(group, _)| self.groups.contains(&group))
    }
}

impl Ignored {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, in the order given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn push(&mut self, given: &Override) {
        self.0.push((given.name.clone(), given.origin.clone()));
    }
}

impl fmt::Display for Ignored {
    /// One sentence about all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node has no parameters of these names and ignores them: ")?;
        for (index, (name, origin)) in self.0.iter().take(LISTED).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match origin {
                Origin::Unnamed => write!(f, "{comma}{name}")?,
                Origin::File(place) => write!(f, "{comma}{name} ({place})")?,
                Origin::Argument(argument) => write!(f, "{comma}{name} ({argument})")?,
            }
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        f.write_str("; correct the names that are meant for this node, the others are no problem")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declaration::Constraint;
    use crate::names::NodeName;
    use crate::overrides::Overrides;
    use crate::value::Value;

    const GROUPS: [&str; 2] = ["inputs", "limits"];

    fn declarations() -> Vec<Declaration> {
        let names = ["rate_hz", "use_sim_time", "inputs.joints.topic", "qos_overrides./joints.subscription.depth"];
        let declare = |name: &str| Declaration {
            name: name.to_owned(),
            default: Value::Integer(0),
            description: String::new(),
            constraint: Constraint::None,
            read_only: false,
        };
        names.map(declare).into()
    }

    /// Names of the node's own and of ignored parameters that a section of this pattern gives.
    fn sorted(section: &str, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut given = Overrides::new(NodeName::new("/", "node").expect("a name"));
        let lines: String = names.iter().map(|name| format!("    {name}: 1\n")).collect();
        given.add_text("robot.yaml", &format!("{section}:\n  ros__parameters:\n{lines}")).expect("a parameter file");
        let declarations = declarations();
        let sorted = Known::new(&declarations, &GROUPS).sort(given.given());
        let own = sorted.own.iter().map(|given| given.name.clone()).collect();
        (own, sorted.ignored.names().map(str::to_owned).collect())
    }

    #[test]
    fn an_unknown_name_is_a_mistake_under_the_nodes_own_name() {
        for section in ["node", "/node", "/**/node"] {
            let (own, ignored) = sorted(section, &["rate_hz", "temperature", "rate_zh"]);
            assert_eq!((own.len(), ignored.len()), (3, 0), "{section}");
        }
        let mut given = Overrides::new(NodeName::new("/", "node").expect("a name"));
        given.add_argument("temperature:=1").expect("an argument");
        let declarations = declarations();
        assert_eq!(Known::new(&declarations, &GROUPS).sort(given.given()).own.len(), 1, "an argument is for this node");
    }

    #[test]
    fn in_a_shared_section_it_is_one_only_when_near_a_known_name_or_in_a_group_of_the_node() {
        for section in ["/**", "/*"] {
            let names = ["rate_hz", "temperature", "rate_zh", "inputs.left.gain", "camera.fps", "limits"];
            let (own, ignored) = sorted(section, &names);
            assert_eq!(own, ["rate_hz", "rate_zh", "inputs.left.gain"], "{section}");
            assert_eq!(ignored, ["temperature", "camera.fps", "limits"], "{section}");
        }
    }

    #[test]
    fn names_of_rcl_pass_everywhere() {
        for section in ["/node", "/**"] {
            let names = [
                "use_sim_time",
                "start_type_description_service",
                "qos_overrides./clock.subscription.depth",
                "qos_overrides./parameter_events.publisher.reliability",
            ];
            assert_eq!(sorted(section, &names), (vec!["use_sim_time".to_owned()], Vec::new()), "{section}");
        }
    }

    #[test]
    fn qos_overrides_of_other_topics_are_ignored_and_mistakes_on_the_nodes_own_are_not() {
        let other = ["qos_overrides./scan.subscription.depth", "qos_overrides./joints.publisher.depth"];
        assert_eq!(sorted("/**", &other), (Vec::new(), Vec::new()));
        let (own, ignored) = sorted("/node", &other);
        assert!(own.is_empty());
        assert_eq!(ignored, other);

        let known = "qos_overrides./joints.subscription.depth";
        let (slip, none) = ("qos_overrides./joints.subscription.dept", "qos_overrides./joints.subscription.liveliness");
        assert_eq!(sorted("/node", &[known, slip, none]).0, [known, slip, none]);
        assert_eq!(
            sorted("/**", &[known, slip, none]),
            (vec![known.to_owned(), slip.to_owned()], vec![none.to_owned()])
        );
    }

    #[test]
    fn all_ignored_names_are_in_one_sentence_with_their_places() {
        let mut given = Overrides::new(NodeName::new("/", "node").expect("a name"));
        let many: String = (0..LISTED + 2).map(|index| format!("    p{index}q: 1\n")).collect();
        given.add_text("robot.yaml", &format!("/**:\n  ros__parameters:\n{many}")).expect("a parameter file");
        let declarations = declarations();
        let text = Known::new(&declarations, &GROUPS).sort(given.given()).ignored.to_string();
        assert!(text.contains("p0q (robot.yaml:3), p1q (robot.yaml:4)"), "{text}");
        assert!(text.contains(&format!("p{}q", LISTED - 1)) && !text.contains(&format!("p{LISTED}q")), "{text}");
        assert!(text.contains(" and 2 more") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn the_work_for_a_large_shared_file_is_bounded() {
        let mut given = Overrides::new(NodeName::new("/", "node").expect("a name"));
        let many: String = (0..COMPARED).map(|index| format!("    a.parameter.of.another.node.{index}: 1\n")).collect();
        given.add_text("robot.yaml", &format!("/**:\n  ros__parameters:\n{many}    rate_zh: 1\n")).expect("valid");
        let declarations = declarations();
        let sorted = Known::new(&declarations, &GROUPS).sort(given.given());
        assert_eq!((sorted.own.len(), sorted.ignored.names().count()), (0, COMPARED + 1));
    }
}
