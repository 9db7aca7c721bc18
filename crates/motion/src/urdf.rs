//! Joint limits of a robot description (URDF): type and limits of every joint.
//!
//! URDF has no acceleration; limits of it come from parameters. What a joint's elements mean for a joint that is moved, and
//! which values are placeholders, is decided by [`Joint`], not here: a description has joints that the policy does not move.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::error::Error;

mod joint;

pub(super) use joint::Finding;
pub use joint::{Joint, JointType};

/// The joints of a robot description, in its order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Description {
    joints: Vec<Joint>,
}

impl Description {
    /// Reads a URDF. As URDF parsers do, it ignores namespaces: the elements of simulators (`<gz:system>`) often lack the
    /// declaration of theirs.
    ///
    /// # Errors
    /// [`Error::Urdf`]: text that is not well-formed XML, that ends early, or whose root is no `<robot>`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        // Text between elements is not read.
        config.allow_dangling_amp = true;
        let mut parser = Parser { text, path: Vec::new(), joints: Vec::new(), has_root: false };
        loop {
            let begun = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            match reader.read_event() {
                Ok(Event::Start(element)) => parser.start(&element, begun)?,
                Ok(Event::End(_)) => drop(parser.path.pop()),
                Ok(Event::Eof) => break,
                Ok(_) => {}
                Err(error) => {
                    let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                    return Err(urdf(format!("line {}: not well-formed XML: {error}", line(text, at))));
                }
            }
        }
        match parser.path.last() {
            Some(open) => Err(urdf(format!("the text ends inside <{open}>: it is incomplete"))),
            None if parser.has_root => Ok(Self { joints: parser.joints }),
            None => Err(urdf("expected XML with a <robot> at the top, found no element".to_owned())),
        }
    }

    /// Gives the joints of a name a second one: a description of one arm serves each of several equal arms.
    pub fn add_alias(&mut self, name: &str, alias: &str) {
        let mut all: Vec<Joint> = self.joints(name).cloned().collect();
        all.iter_mut().for_each(|joint| alias.clone_into(&mut joint.name));
        self.joints.extend(all);
    }

    /// The joints of this name: one, in a valid description that has it.
    pub fn joints(&self, name: &str) -> impl Iterator<Item = &Joint> {
        self.joints.iter().filter(move |joint| joint.name == name)
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Elements that are open.
    path: Vec<String>,
    joints: Vec<Joint>,
    has_root: bool,
}

impl Parser<'_> {
    fn start(&mut self, element: &BytesStart<'_>, begun: usize) -> Result<(), Error> {
        let name = element.name().0;
        match (self.path.len(), self.path.last().map(String::as_str)) {
            (0, _) if self.has_root => {
                return Err(urdf(format!("line {}: a second root element <{name}>", line(self.text, begun))));
            }
            (0, _) if name != "robot" => return Err(urdf(format!("expected <robot> at the top, found <{name}>"))),
            (0, _) => self.has_root = true,
            // Joints of transmissions and of ros2_control stand deeper.
            (1, _) if name == "joint" => {
                let line = line(self.text, begun);
                let attribute = |wanted: &str| attribute(element, wanted, line);
                let kind = JointType::of(&attribute("type")?.unwrap_or_default());
                self.joints.push(Joint::new(attribute("name")?.unwrap_or_default(), kind, line));
            }
            (2, Some("joint")) => {
                let line = line(self.text, begun);
                if let Some(joint) = self.joints.last_mut() {
                    joint.open(name);
                    for wanted in joint::attributes(name) {
                        if let Some(value) = attribute(element, wanted, line)? {
                            joint.state(name, wanted, &value, line);
                        }
                    }
                }
            }
            _ => {}
        }
        self.path.push(name.to_owned());
        Ok(())
    }
}

fn attribute(element: &BytesStart<'_>, wanted: &str, line: usize) -> Result<Option<String>, Error> {
    let bad = |error: String| urdf(format!("line {line}, <{}>: not well-formed XML: {error}", element.name().0));
    let found = element.try_get_attribute(wanted).map_err(|error| bad(error.to_string()))?;
    let value = found.map(|found| found.normalized_value(XmlVersion::Implicit1_0).map(|value| value.into_owned()));
    value.transpose().map_err(|error| bad(error.to_string()))
}

/// Line of byte `at`, counted from one; of the element that begins after white space there.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

fn urdf(reason: String) -> Error {
    Error::Urdf { reason }
}

#[cfg(test)]
mod tests;
