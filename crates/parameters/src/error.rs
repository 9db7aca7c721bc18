//! Problems with parameters.

use std::fmt;

use super::value::{Value, ValueType};

/// Most problems that one report lists.
const LISTED: usize = 50;

/// Checking stops after this many problems: finding the nearest known names takes time.
pub(super) const ENOUGH: usize = 4 * LISTED;

/// A line of a parameter file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceLocation {
    /// The file as given.
    pub file: String,
    /// Counted from one; `None` where the YAML parser does not report it.
    pub line: Option<usize>,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// A live change, or the declared default.
    #[default]
    Unnamed,
    /// A parameter file.
    File(SourceLocation),
    /// An argument of the command line, as typed.
    Argument(String),
}

impl fmt::Display for Origin {
    /// A prefix for a message: `aloha.yaml:12: `, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => Ok(()),
            Self::File(place) => write!(f, "{place}: "),
            Self::Argument(argument) => write!(f, "{argument}: "),
        }
    }
}

/// One problem with the parameters.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the parameter file {file}: {reason}; give the path of an existing YAML file")]
    Unreadable {
        /// The path as given.
        file: String,
        /// The system's message.
        reason: String,
    },
    /// The file is longer or holds more than a parameter file does.
    #[error("the parameter file {file} has more than {limit}; check that it is a parameter file")]
    TooLarge {
        /// The path as given.
        file: String,
        /// The limit with its unit.
        limit: String,
    },
    /// A robot description that gives no limits.
    #[error("limits_file {file}: {reason}")]
    Description {
        /// The path as given.
        file: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Not YAML.
    #[error("{place}: not valid YAML: {message}")]
    Syntax {
        /// Where reading stopped.
        place: SourceLocation,
        /// The parser's message.
        message: String,
    },
    /// The file does not have the form of a ROS 2 parameter file.
    #[error(
        "{place}: {what}; expected\n/**:                  # or /namespace/node\n  ros__parameters:\n    name: value"
    )]
    Form {
        /// Where.
        place: SourceLocation,
        /// What was found instead.
        what: String,
    },
    /// A section name that can match no node.
    #[error("{place}: the section '{section}' names no node: {reason}; write it like /namespace/node, /*/node or /**")]
    Section {
        /// Where.
        place: SourceLocation,
        /// The name, with the keys above it.
        section: String,
        /// Which part is wrong.
        reason: String,
    },
    /// A name that no node can have.
    #[error(
        "'{name}' in the namespace '{namespace}' names no node; use letters, digits and '_', no part starting with a digit"
    )]
    NodeName {
        /// As given.
        namespace: String,
        /// As given.
        name: String,
    },
    /// A key given twice in one file.
    #[error("{place}: '{key}' is given twice, first on line {first}; keep one of the two")]
    Duplicate {
        /// The second time.
        place: SourceLocation,
        /// Full path of the key.
        key: String,
        /// Line of the first time.
        first: usize,
    },
    /// A value of no parameter type.
    #[error("{origin}'{name}' {reason}")]
    BadValue {
        /// Where.
        origin: Origin,
        /// The parameter.
        name: String,
        /// What was found and what to write.
        reason: String,
    },
    /// Not of the form `name:=value`.
    #[error("'{argument}' is not of the form [node:]name:=value, such as rate_hz:=5.0")]
    Argument {
        /// As typed.
        argument: String,
    },
    /// Not a rule for names.
    #[error("'{rule}': expected {expected}")]
    Remap {
        /// As typed.
        rule: String,
        /// The form, with an example.
        expected: &'static str,
    },
    /// There is no parameter of that name.
    #[error("{origin}there is no parameter '{name}': {hint}")]
    Unknown {
        /// Where it was given.
        origin: Origin,
        /// The name as given.
        name: String,
        /// The nearest known name, or the known ones beside it.
        hint: String,
    },
    /// A value of another type.
    #[error("{origin}parameter '{name}' is of type {expected}; {value} is of type {found}")]
    WrongType {
        /// Where it was given.
        origin: Origin,
        /// The parameter.
        name: String,
        /// Its type.
        expected: ValueType,
        /// Type of the value.
        found: ValueType,
        /// The value.
        value: Value,
    },
    /// A value of the right type that the declaration forbids.
    #[error("{origin}parameter '{name}' cannot be {value}: {rule}")]
    Refused {
        /// Where it was given.
        origin: Origin,
        /// The parameter.
        name: String,
        /// The value.
        value: Value,
        /// What is allowed.
        rule: String,
    },
    /// A live change of a read-only parameter.
    #[error("parameter '{name}' is read-only while the node runs: set it in the parameter file and restart")]
    ReadOnly {
        /// The parameter.
        name: String,
    },
    /// A value was unset.
    #[error("parameter '{name}' cannot be unset: it is of type {expected}; set a value instead")]
    Unset {
        /// The parameter.
        name: String,
        /// Its type.
        expected: ValueType,
    },
    /// An atomic change without parameters.
    #[error("no parameter was given to set")]
    NothingToSet,
    /// Two declarations of one name: the policy uses a name twice.
    #[error("parameter '{name}' would be declared twice; the policy uses one name for two things")]
    DeclaredTwice {
        /// The parameter.
        name: String,
    },
    /// A parameter that must be given and was not.
    #[error("parameter '{name}' is not set: {needs}")]
    Missing {
        /// The parameter.
        name: String,
        /// What to give.
        needs: String,
    },
    /// Values that are each valid but contradict each other.
    #[error("{what}")]
    Conflict {
        /// The parameters, the one to change first.
        names: Vec<String>,
        /// The contradiction, and what to do.
        what: String,
    },
}

impl Error {
    /// The parameters that this is about.
    pub fn names(&self) -> &[String] {
        match self {
            Self::BadValue { name, .. }
            | Self::Unknown { name, .. }
            | Self::WrongType { name, .. }
            | Self::Refused { name, .. }
            | Self::ReadOnly { name }
            | Self::Unset { name, .. }
            | Self::DeclaredTwice { name }
            | Self::Missing { name, .. } => std::slice::from_ref(name),
            Self::Conflict { names, .. } => names,
            _ => &[],
        }
    }
}

/// All problems, reported at once. Never empty when it is an error.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Problems(Vec<Error>);

impl Problems {
    /// The problems in the order found.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// Number of problems.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one.
    pub fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    /// Adds the other problems, except those about parameters that already have one: they are consequences of it.
    pub fn extend_without_follow_ups(&mut self, others: Problems) {
        let known: Vec<String> = self.0.iter().flat_map(Error::names).cloned().collect();
        self.0.extend(others.0.into_iter().filter(|error| !error.names().iter().any(|name| known.contains(name))));
    }

    /// `value` when nothing is wrong.
    ///
    /// # Errors
    /// These problems.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl Extend<Error> for Problems {
    fn extend<I: IntoIterator<Item = Error>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl IntoIterator for Problems {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Error> for Problems {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for Problems {
    /// One alone as a sentence, several as a list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} problems with the parameters:", self.0.len())?;
        for error in self.0.iter().take(LISTED) {
            write!(f, "\n  - {}", error.to_string().replace('\n', "\n      "))?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Problems {}
