//! Names of nodes and topics: which file sections are meant for a node, and which topic names ROS 2 takes.

use std::fmt;

use super::error::Error;

/// A node's name and namespace after remapping.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeName {
    namespace: String,
    name: String,
}

impl NodeName {
    /// From a namespace (`/`, `/robot`, with or without the first slash) and a base name.
    ///
    /// # Errors
    /// ROS 2 takes letters, digits and underscores only; no part may be empty or start with a digit.
    pub fn new(namespace: &str, name: &str) -> Result<Self, Error> {
        let inner = namespace.strip_prefix('/').unwrap_or(namespace);
        if is_token(name) && (inner.is_empty() || inner.split('/').all(is_token)) {
            Ok(Self { namespace: format!("/{inner}"), name: name.to_owned() })
        } else {
            Err(Error::NodeName { namespace: namespace.to_owned(), name: name.to_owned() })
        }
    }

    /// The namespace; `/` for the root.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The base name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The absolute name of a topic as ROS 2 expands it: `~` is this node, a relative name lies in its namespace,
    /// `{node}`, `{ns}` and `{namespace}` are replaced.
    pub fn expand(&self, topic: &str) -> String {
        let inner = if self.namespace == "/" { "" } else { &self.namespace };
        let topic = topic
            .replace("{node}", &self.name)
            .replace("{namespace}", &self.namespace)
            .replace("{ns}", &self.namespace);
        let absolute = match topic.strip_prefix('~') {
            Some(rest) => format!("{self}{rest}"),
            None if topic.starts_with('/') => topic,
            None => format!("{inner}/{topic}"),
        };
        // A `{ns}` of `/` leaves two slashes behind.
        absolute.replace("//", "/")
    }

    /// The name of a topic in the ROS graph, as rcl resolves it: expanded, then replaced by the first rule `(from, to)` that matches.
    pub fn resolve(&self, topic: &str, remaps: &[(String, String)]) -> String {
        // A rule may say which kind of name it is for.
        let expand = |name: &str| self.expand(name.strip_prefix("rostopic://").unwrap_or(name));
        let name = self.expand(topic);
        let rule = remaps.iter().find(|(from, _)| expand(from) == name);
        rule.map_or(name, |(_, to)| expand(to))
    }
}

impl fmt::Display for NodeName {
    /// The fully qualified name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = if self.namespace == "/" { "" } else { &self.namespace };
        write!(f, "{inner}/{}", self.name)
    }
}

/// What the section names of a parameter file say about nodes: `*` is one part of a name, `**` any number of parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePattern(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(String),
    One,
    Any,
}

impl NodePattern {
    /// Reads a section name; the leading slash may be left out (`vla_trt` is `/vla_trt`).
    ///
    /// # Errors
    /// Which part of the name ROS 2 does not take, in words.
    pub fn parse(section: &str) -> Result<Self, String> {
        let inner = section.strip_prefix('/').unwrap_or(section);
        let part = |part: &str| match part {
            "*" => Ok(Part::One),
            "**" => Ok(Part::Any),
            "" => Err("it has an empty part".to_owned()),
            _ if is_token(part) => Ok(Part::Literal(part.to_owned())),
            _ => Err(format!(
                "its part '{part}' is neither a name (letters, digits and '_', not starting with a digit) nor '*' nor '**'"
            )),
        };
        inner.split('/').map(part).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nodes of other names match, too: the last part is a wildcard.
    pub fn is_shared(&self) -> bool {
        !matches!(self.0.last(), Some(Part::Literal(_)))
    }

    /// Whether the node is meant.
    pub fn matches(&self, node: &NodeName) -> bool {
        let full = node.to_string();
        let parts: Vec<&str> = full.split('/').skip(1).collect();
        // `reached[i]`: the pattern so far can stand for the first i parts of the name. Linear in both, whatever the
        // number of wildcards.
        let mut reached = vec![false; parts.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for part in &self.0 {
            let mut next = Vec::with_capacity(reached.len());
            let (mut one_less, mut next_one_less) = (false, false);
            let names = std::iter::once(None).chain(parts.iter().map(Some));
            for (&here, name) in reached.iter().zip(names) {
                next_one_less = match part {
                    Part::Any => here || next_one_less,
                    Part::One => one_less,
                    Part::Literal(literal) => one_less && name == Some(&literal.as_str()),
                };
                next.push(next_one_less);
                one_less = here;
            }
            reached = next;
        }
        reached.last().copied().unwrap_or_default()
    }
}

/// Checks a topic name as `rcl_validate_topic_name` does.
///
/// # Errors
/// What ROS 2 does not take about it, in words.
pub fn check_topic(topic: &str) -> Result<(), String> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    if topic.is_empty() {
        return Err("it is empty".to_owned());
    }
    if topic.ends_with('/') {
        return Err("it ends with '/'".to_owned());
    }
    if topic.contains("//") {
        return Err("it has an empty part ('//')".to_owned());
    }
    if let Some(rest) = topic.strip_prefix('~')
        && !rest.is_empty()
        && !rest.starts_with('/')
    {
        return Err("'~' must stand alone or be followed by '/'".to_owned());
    }
    if topic.split('/').any(|part| digit(part.chars().next())) {
        return Err("a part of it starts with a digit".to_owned());
    }
    let mut open = false;
    let mut before = None;
    for (i, c) in topic.char_indices() {
        match c {
            '{' if !open => open = true,
            '}' if open => open = false,
            '{' | '}' => return Err("its curly braces do not pair up".to_owned()),
            '/' if open => return Err("'/' stands inside curly braces".to_owned()),
            '0'..='9' if open && before == Some('{') => return Err("a {substitution} starts with a digit".to_owned()),
            '~' if i != 0 => return Err("'~' stands elsewhere than at its start".to_owned()),
            '/' | '_' | '~' => {}
            _ if c.is_ascii_alphanumeric() => {}
            _ => return Err(format!("it contains {c:?}; letters, digits, '_', '/', '~' and '{{}}' are allowed")),
        }
        before = Some(c);
    }
    if open { Err("its curly braces do not pair up".to_owned()) } else { check_substitutions(topic) }
}

/// Only three substitutions exist; any other would fail when the topic is made.
fn check_substitutions(topic: &str) -> Result<(), String> {
    for piece in topic.split('{').skip(1) {
        match piece.split('}').next() {
            Some("node" | "ns" | "namespace") => {}
            other => {
                let found = other.unwrap_or_default();
                return Err(format!(
                    "it has the unknown substitution {{{found}}}; there are {{node}}, {{ns}}, {{namespace}}"
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn is_token(part: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    part.chars().all(fits) && part.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, namespace: &str, name: &str) -> bool {
        let node = NodeName::new(namespace, name).expect("valid node name");
        NodePattern::parse(pattern).expect("valid pattern").matches(&node)
    }

    #[test]
    fn patterns_match_as_in_rclcpp() {
        for pattern in
            ["/**", "**", "/*/*", "/robot/node", "robot/node", "/robot/*", "/*/node", "/**/node", "/robot/**"]
        {
            assert!(matches(pattern, "/robot", "node"), "{pattern}");
        }
        for pattern in ["/*", "node", "/node", "/robot", "/other/*", "/robot/node/**/x", "/**/nod", "/*/*/*"] {
            assert!(!matches(pattern, "/robot", "node"), "{pattern}");
        }
        for pattern in ["node", "/node", "/*", "/**", "/**/node", "/node/**"] {
            assert!(matches(pattern, "/", "node"), "{pattern}");
        }
        assert!(matches("/a/**/d/*", "/a/b/c/d", "node"));
    }

    #[test]
    fn a_pattern_that_ends_in_a_wildcard_is_shared_with_nodes_of_other_names() {
        let is_shared = |pattern| NodePattern::parse(pattern).expect("valid pattern").is_shared();
        for pattern in ["/**", "**", "/*", "/robot/*", "/robot/**", "/*/*", "/node/**"] {
            assert!(is_shared(pattern), "{pattern}");
        }
        for pattern in ["/node", "node", "/robot/node", "/*/node", "/**/node"] {
            assert!(!is_shared(pattern), "{pattern}");
        }
    }

    #[test]
    fn names_of_nodes_are_checked() {
        for (namespace, name) in
            [("/", ""), ("/", "1st"), ("/a b", "node"), ("/a//b", "node"), ("/a/", "node"), ("/", "a/b")]
        {
            let message = NodeName::new(namespace, name).expect_err(name).to_string();
            assert!(message.contains("letters, digits"), "{message}");
        }
        assert_eq!(NodeName::new("", "node"), NodeName::new("/", "node"));
    }

    #[test]
    fn broken_patterns_are_refused_in_words() {
        for pattern in ["", "/", "a//b", "/**foo", "/a b", "/1st", "/a/"] {
            let reason = NodePattern::parse(pattern).expect_err(pattern);
            assert!(reason.contains("part"), "{pattern}: {reason}");
        }
    }

    #[test]
    fn many_wildcards_do_not_blow_up() {
        let pattern = format!("/{}x", "**/".repeat(500));
        assert!(!matches(&pattern, &"/a".repeat(500), "node"));
    }

    #[test]
    fn topics_expand_as_in_ros() {
        let node = NodeName::new("robot", "vla").expect("valid");
        assert_eq!(node.to_string(), "/robot/vla");
        assert_eq!(node.expand("/camera/image"), "/camera/image");
        assert_eq!(node.expand("camera/image"), "/robot/camera/image");
        assert_eq!(node.expand("~/chunk"), "/robot/vla/chunk");
        assert_eq!(node.expand("{ns}/{node}/x"), "/robot/vla/x");
        let root = NodeName::new("/", "vla").expect("valid");
        assert_eq!(root.to_string(), "/vla");
        assert_eq!(root.expand("joint_states"), "/joint_states");
        assert_eq!(root.expand("~/chunk"), "/vla/chunk");
        assert_eq!(root.expand("{ns}/x"), "/x");
    }

    #[test]
    fn the_first_rule_that_matches_the_expanded_name_replaces_it() {
        let node = NodeName::new("/left", "vla").expect("valid");
        let rules = [
            ("~/chunk", "/chunks"),
            ("joints", "robot/joints"),
            ("/left/joints", "/too_late"),
            ("rostopic:///left/camera", "rostopic://front"),
        ];
        let rules = rules.map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!(node.resolve("~/chunk", &rules), "/chunks");
        assert_eq!(node.resolve("/left/joints", &rules), "/left/robot/joints");
        assert_eq!(node.resolve("camera", &rules), "/left/front");
        assert_eq!(node.resolve("/joints", &rules), "/joints");
    }

    #[test]
    fn topic_names_are_checked_as_rcl_checks_them() {
        for good in ["a", "/a", "~", "~/a", "a_1/b2", "/{node}/x", "{ns}/x", "_a", "/a/_b"] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/", "a/", "~a", "a~", "1a", "/a/2b", "a//b", "a b", "a-b", "{node", "node}", "{{node}}", "{a/b}",
            "{1a}", "/{x}", "é",
        ] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
    }
}
