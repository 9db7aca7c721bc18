//! The table of the node's parameters: name, default, allowed values, whether it changes live, description and conversion, once
//! per parameter. Declarations ([`super::declarations`]) and settings ([`super::settings`]) both use these constants.

use ros2_parameters::{Constraint, Declaration, Value};
use vla_base::time::Span;

mod convert;
pub(super) mod engines;
pub(super) mod inputs;
pub(super) mod keys;
pub(super) mod motion;
pub(super) mod node;
pub(super) mod outputs;
pub(super) mod qos;
pub(super) mod record;

pub(super) use convert::{LimitsSource, PoseSource};
use convert::{
    Words, flag, float, float_or_off, floats, integer, integer_or_off, millis, millis_or_off, seconds, strings, text,
    text_or_none, word, words,
};

/// First parts of dotted names of which this node takes every one, also from a parameter file that other nodes share.
pub(super) const GROUPS: &[&str] = &[
    "inputs", "state", "action", "limits", "outputs", "motion", "handover", "engine", "engines", "memory", "watchdog",
    "record",
];

/// One hour, the greatest age, skew or duration in ms.
const LONGEST_MS: f64 = 3_600_000.0;

/// One parameter, or one per camera, key, joint, ...: then `{}` in name, default and description stands for it.
///
/// `T` is what the node makes of a value: a number, a [`Span`], an enum; `None` where a value switches something off.
pub(super) struct Param<T> {
    /// Dotted name. Its suffix is the unit: `_hz`, `_ms`, `_s`, `_mib`.
    pub name: &'static str,
    default: Preset,
    allowed: Allowed,
    live: bool,
    description: &'static str,
    convert: fn(&Value) -> Option<T>,
}

/// A default, and with it the type.
#[derive(Clone, Copy)]
enum Preset {
    Bool(bool),
    Integer(i64),
    Double(f64),
    Text(&'static str),
    NoStrings,
    NoDoubles,
}

/// Allowed values.
#[derive(Clone, Copy)]
enum Allowed {
    Any,
    Integers(i64, i64),
    Doubles(f64, f64),
    NotNan,
    Words(fn() -> Vec<String>),
    OneOf(&'static [&'static str]),
    Topic,
    OptionalTopic,
    Topics,
    InputName,
    /// Depends on the policy: the declaration adds the constraint.
    ByPolicy,
}

impl Param<bool> {
    const fn flag(name: &'static str, default: bool, description: &'static str) -> Self {
        Self::new(name, Preset::Bool(default), Allowed::Any, description, flag)
    }
}

impl Param<f64> {
    const fn double(name: &'static str, default: f64, (from, to): (f64, f64), description: &'static str) -> Self {
        Self::new(name, Preset::Double(default), Allowed::Doubles(from, to), description, float)
    }
}

impl Param<Span> {
    /// In milliseconds.
    const fn millis(name: &'static str, default: f64, (from, to): (f64, f64), description: &'static str) -> Self {
        Self::new(name, Preset::Double(default), Allowed::Doubles(from, to), description, millis)
    }

    /// In seconds.
    const fn seconds(name: &'static str, default: f64, (from, to): (f64, f64), description: &'static str) -> Self {
        Self::new(name, Preset::Double(default), Allowed::Doubles(from, to), description, seconds)
    }
}

impl Param<Option<Span>> {
    /// In milliseconds; zero switches it off.
    const fn millis_or_off(
        name: &'static str,
        default: f64,
        (from, to): (f64, f64),
        description: &'static str,
    ) -> Self {
        Self::new(name, Preset::Double(default), Allowed::Doubles(from, to), description, millis_or_off)
    }
}

impl Param<Option<f64>> {
    /// Zero switches it off.
    const fn double_or_off(
        name: &'static str,
        default: f64,
        (from, to): (f64, f64),
        description: &'static str,
    ) -> Self {
        Self::new(name, Preset::Double(default), Allowed::Doubles(from, to), description, float_or_off)
    }
}

impl Param<Option<String>> {
    /// Empty by default, for nothing.
    const fn text_or_none(name: &'static str, allowed: Allowed, description: &'static str) -> Self {
        Self::new(name, Preset::Text(""), allowed, description, text_or_none)
    }
}

impl Param<String> {
    const fn text(name: &'static str, default: &'static str, allowed: Allowed, description: &'static str) -> Self {
        Self::new(name, Preset::Text(default), allowed, description, text)
    }
}

impl Param<Vec<String>> {
    /// Empty by default.
    const fn strings(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Preset::NoStrings, Allowed::ByPolicy, description, strings)
    }

    /// Empty by default.
    const fn topics(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Preset::NoStrings, Allowed::Topics, description, strings)
    }
}

impl Param<Vec<f64>> {
    /// Empty by default.
    const fn doubles(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Preset::NoDoubles, Allowed::ByPolicy, description, floats)
    }
}

impl Param<Vec<f64>> {
    /// Empty by default; the reader checks number and values.
    const fn numbers(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Preset::NoDoubles, Allowed::Any, description, floats)
    }
}

impl<T: TryFrom<i64>> Param<Option<T>> {
    /// Zero switches it off.
    const fn integer_or_off(
        name: &'static str,
        default: i64,
        (from, to): (i64, i64),
        description: &'static str,
    ) -> Self {
        Self::new(name, Preset::Integer(default), Allowed::Integers(from, to), description, integer_or_off)
    }
}

impl<T: TryFrom<i64>> Param<T> {
    const fn integer(name: &'static str, default: i64, (from, to): (i64, i64), description: &'static str) -> Self {
        Self::new(name, Preset::Integer(default), Allowed::Integers(from, to), description, integer)
    }
}

impl<T: Words> Param<T> {
    /// One word of an enum.
    const fn word(name: &'static str, default: &'static str, description: &'static str) -> Self {
        Self::new(name, Preset::Text(default), Allowed::Words(words::<T>), description, word)
    }
}

impl<T> Param<T> {
    /// A parameter that changes live; see [`Param::fixed`].
    const fn new(
        name: &'static str,
        default: Preset,
        allowed: Allowed,
        description: &'static str,
        convert: fn(&Value) -> Option<T>,
    ) -> Self {
        Self { name, default, allowed, live: true, description, convert }
    }

    /// The same, fixed at the start.
    const fn fixed(self) -> Self {
        Self { live: false, ..self }
    }

    /// The name for one camera, key, joint, ...
    pub(crate) fn name_of(&self, instance: &str) -> String {
        self.name.replace("{}", instance)
    }

    /// The declaration of a parameter that exists once.
    pub(crate) fn declare(&self) -> Declaration {
        self.declare_as("", "")
    }

    /// The declaration for one camera, key, joint, ...
    pub(crate) fn declare_of(&self, instance: &str) -> Declaration {
        self.declare_as(instance, instance)
    }

    /// The declaration with different texts for `{}` in the name and in the description.
    pub(crate) fn declare_as(&self, name: &str, subject: &str) -> Declaration {
        Declaration {
            name: self.name_of(name),
            default: self.default.value_of(name),
            description: self.description.replace("{}", subject),
            constraint: self.allowed.constraint(),
            read_only: !self.live,
        }
    }

    /// What the node makes of a value; `None` for a value that the declaration does not allow.
    pub(crate) fn convert(&self, value: &Value) -> Option<T> {
        (self.convert)(value)
    }

    /// Whether a value has the parameter's type.
    pub(crate) fn has_type(&self, value: &Value) -> bool {
        value.kind() == self.default.value_of("").kind()
    }

    /// The allowed values, for the refusal of another.
    pub(crate) fn expected(&self) -> String {
        self.allowed.constraint().text()
    }
}

impl Preset {
    /// The default; `{}` in a text stands for `instance`.
    fn value_of(self, instance: &str) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Double(value) => Value::Double(value),
            Self::Text(value) => Value::String(value.replace("{}", instance)),
            Self::NoStrings => Value::StringArray(Vec::new()),
            Self::NoDoubles => Value::DoubleArray(Vec::new()),
        }
    }
}

impl Allowed {
    fn constraint(self) -> Constraint {
        match self {
            Self::Any | Self::ByPolicy => Constraint::None,
            Self::Integers(from, to) => Constraint::IntegerRange { from, to, step: 0 },
            Self::Doubles(from, to) => Constraint::DoubleRange { from, to, step: 0.0 },
            Self::NotNan => Constraint::NotNan,
            Self::Words(words) => Constraint::OneOf(words()),
            Self::OneOf(words) => Constraint::OneOf(words.iter().map(|word| (*word).to_owned()).collect()),
            Self::Topic => Constraint::TopicName,
            Self::OptionalTopic => Constraint::OptionalTopicName,
            Self::Topics => Constraint::TopicNames,
            Self::InputName => Constraint::InputName,
        }
    }
}

#[cfg(test)]
mod tests;
