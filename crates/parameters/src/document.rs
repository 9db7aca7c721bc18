//! YAML text as a tree that remembers the line of every key, keeps duplicate keys, and knows quoted text from plain.
//!
//! serde shows a visitor none of this. It does hand out text as slices of the input, and where such a slice lies in
//! the input tells its line, and by the character before it whether it was quoted.

use std::cell::Cell;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};

/// A parameter file of this size is a mistake (a bag, a model).
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Keys and values in one file. Aliases can repeat much with few bytes.
pub(super) const MAX_NODES: usize = 50_000;

/// One value of the file.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node {
    /// Nothing, `null` or `~`.
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    Text {
        text: String,
        /// Neither quoted, nor a block, nor tagged as text.
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// Key of a mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub text: String,
    /// Counted from one.
    pub line: usize,
}

/// Why text is not a tree.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Unreadable {
    /// More than [`MAX_BYTES`] or [`MAX_NODES`].
    TooLarge(String),
    /// Not YAML.
    Syntax { line: Option<usize>, message: String },
}

impl Node {
    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a bool",
            Self::Integer(_) => "an integer",
            Self::Double(_) => "a double",
            Self::Text { .. } => "a string",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a map",
        }
    }
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge(format!("{} KiB", MAX_BYTES >> 10)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reader = Reader::new(text);
    let result = reader.deserialize(serde_yaml::Deserializer::from_str(text));
    if reader.nodes.get() > MAX_NODES {
        return Err(Unreadable::TooLarge(format!("{MAX_NODES} keys and values")));
    }
    result.map_err(|error| {
        let line = error.location().map(|at| at.line());
        Unreadable::Syntax { line, message: error.to_string() }
    })
}

/// The seed of every value of one text.
struct Reader<'t> {
    text: &'t str,
    /// Byte at which each line starts.
    lines: Vec<usize>,
    nodes: Cell<usize>,
    /// Line of the last key whose place was seen: a key written with escapes is no slice of the input.
    line: Cell<usize>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines, nodes: Cell::new(0), line: Cell::new(1) }
    }

    /// Where a slice of the text starts in it, in bytes.
    fn offset(&self, slice: &'t str) -> Option<usize> {
        let at = (slice.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (at + slice.len() <= self.text.len()).then_some(at)
    }

    fn count<E: de::Error>(&self) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > MAX_NODES { Err(E::custom("too large")) } else { Ok(()) }
    }

    fn borrowed(&self, text: &'t str) -> Node {
        let before = self.offset(text).and_then(|at| self.text.get(..at)).unwrap_or_default();
        let quoted = before.ends_with(['\'', '"']) || before.trim_end().ends_with("!!str");
        Node::Text { text: text.to_owned(), plain: !quoted }
    }
}

impl<'t> DeserializeSeed<'t> for &Reader<'t> {
    type Value = Node;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for &Reader<'t> {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.count()?;
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Node, E> {
        self.count()?;
        Ok(Node::Bool(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Node, E> {
        self.count()?;
        Ok(Node::Integer(v))
    }

    /// Beyond 64 bits with sign a number is a double, as in `rcl`.
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Node, E> {
        self.count()?;
        Ok(i64::try_from(v).map_or(Node::Double(v as f64), Node::Integer))
    }

    fn visit_i128<E: de::Error>(self, v: i128) -> Result<Node, E> {
        self.visit_f64(v as f64)
    }

    fn visit_u128<E: de::Error>(self, v: u128) -> Result<Node, E> {
        self.visit_f64(v as f64)
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Node, E> {
        self.count()?;
        Ok(Node::Double(v))
    }

    fn visit_borrowed_str<E: de::Error>(self, v: &'t str) -> Result<Node, E> {
        self.count()?;
        Ok(self.borrowed(v))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Node, E> {
        self.count()?;
        // Escaped, folded or a block: never plain on one line.
        Ok(Node::Text { text: v.to_owned(), plain: false })
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut access: A) -> Result<Node, A::Error> {
        self.count()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn visit_map<A: MapAccess<'t>>(self, mut access: A) -> Result<Node, A::Error> {
        self.count()?;
        let mut items = Vec::new();
        while let Some(key) = access.next_key_seed(KeyReader(self))? {
            items.push((key, access.next_value_seed(self)?));
        }
        Ok(Node::Mapping(items))
    }

    fn visit_enum<A: EnumAccess<'t>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("tags like !name have no meaning here; remove the tag"))
    }
}

/// The seed of every key. Keys are taken as they are written: `1` and `true` are texts here.
struct KeyReader<'r, 't>(&'r Reader<'t>);

impl<'t> DeserializeSeed<'t> for KeyReader<'_, 't> {
    type Value = Key;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'t> for KeyReader<'_, 't> {
    type Value = Key;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name as key")
    }

    fn visit_borrowed_str<E: de::Error>(self, v: &'t str) -> Result<Key, E> {
        if let Some(at) = self.0.offset(v) {
            self.0.line.set(self.0.lines.partition_point(|&start| start <= at));
        }
        self.visit_str(v)
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Key, E> {
        self.0.count()?;
        Ok(Key { text: v.to_owned(), line: self.0.line.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> Vec<(Key, Node)> {
        match read(text).expect("valid YAML") {
            Node::Mapping(items) => items,
            other => panic!("not a map: {other:?}"),
        }
    }

    fn text(text: &str, plain: bool) -> Node {
        Node::Text { text: text.to_owned(), plain }
    }

    #[test]
    fn keys_know_their_line_and_duplicates_stay() {
        let items = mapping("# é comment\na: 1\n\n'b': 2\r\na: 3\n\"c\\x41\": 4\n? d\n: {e: 5,\n f: 6}\n");
        let lines: Vec<(&str, usize)> = items.iter().map(|(key, _)| (key.text.as_str(), key.line)).collect();
        assert_eq!(lines, [("a", 2), ("b", 4), ("a", 5), ("cA", 5), ("d", 7)]);
        let Some((_, Node::Mapping(inner))) = items.last() else { panic!("{items:?}") };
        assert_eq!(inner.iter().map(|(key, _)| key.line).collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn a_byte_order_mark_moves_no_line() {
        let items = mapping("\u{feff}a: yes\nb: 'yes'\n");
        assert_eq!(items.iter().map(|(key, _)| key.line).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(
            items.into_iter().map(|(_, node)| node).collect::<Vec<_>>(),
            [text("yes", true), text("yes", false)]
        );
    }

    #[test]
    fn quoted_text_is_known_from_plain_text() {
        let items = mapping("a: yes\nb: 'yes'\nc: \"yes\"\nd: \"y\\x65s\"\ne: |\n  yes\nf: !!str yes\ng: [on, 'on']\n");
        let nodes: Vec<Node> = items.into_iter().map(|(_, node)| node).collect();
        let expected = [
            text("yes", true),
            text("yes", false),
            text("yes", false),
            text("yes", false),
            text("yes\n", false),
            text("yes", false),
            Node::Sequence(vec![text("on", true), text("on", false)]),
        ];
        assert_eq!(nodes, expected);
    }

    #[test]
    fn scalars_are_typed_as_yaml_types_them() {
        let Ok(Node::Sequence(items)) = read("[1, -2, 0x10, 1.5, 1e3, -.INF, True, ~, '1', 18446744073709551615, 010]")
        else {
            panic!("not a list")
        };
        let expected = [
            Node::Integer(1),
            Node::Integer(-2),
            Node::Integer(16),
            Node::Double(1.5),
            Node::Double(1000.0),
            Node::Double(f64::NEG_INFINITY),
            Node::Bool(true),
            Node::Null,
            text("1", false),
            Node::Double(18446744073709551615.0),
            text("010", true),
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn aliases_cannot_make_a_small_file_large() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..8 {
            let last = i - 1;
            bomb += &format!(
                "a{i}: &a{i} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n"
            );
        }
        assert!(matches!(read(&bomb), Err(Unreadable::TooLarge(_) | Unreadable::Syntax { .. })));
    }

    #[test]
    fn broken_yaml_is_located() {
        let Err(Unreadable::Syntax { line, message }) = read("a: 1\nb: [1, 2\nc: 3\n") else { panic!("accepted") };
        assert!(matches!(line, Some(2..=4)), "{line:?} {message}");
        assert!(matches!(read("a: !tag 1\n"), Err(Unreadable::Syntax { line: Some(1), .. })));
        assert!(matches!(read(&"[".repeat(100_000)), Err(Unreadable::Syntax { .. })));
        assert!(matches!(read("a: 1\n---\nb: 2\n"), Err(Unreadable::Syntax { .. })));
    }
}
