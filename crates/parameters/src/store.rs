//! The parameters of one node: declared once, then read, described, listed and changed as rclcpp does it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;

use super::declaration::{Declaration, Descriptor};
use super::error::{ENOUGH, Error, Origin, Problems};
use super::nearest::hint;
use super::overrides::Override;
use super::value::Value;

/// Every declared parameter with its value. A value always satisfies its declaration.
///
/// A clone is cheap enough to be the candidate of every change (some eighty entries), which makes a change all or
/// nothing by construction.
#[derive(Clone, Debug)]
pub struct Store {
    /// In the order of the names, as rclcpp lists them.
    entries: BTreeMap<Arc<str>, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    declaration: Arc<Declaration>,
    value: Value,
}

/// One parameter that was set. As in rclcpp it counts as changed also when the value is the same.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// The parameter.
    pub name: String,
    /// Value before.
    pub old: Value,
    /// Value now.
    pub new: Value,
}

/// What `list_parameters` answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Full names.
    pub names: Vec<String>,
    /// What stands before the last dot of those names, each once.
    pub prefixes: Vec<String>,
}

impl Store {
    /// Declares every parameter: its default, or the last override of its name.
    ///
    /// # Errors
    /// Every override that names no parameter, has the wrong type or a forbidden value.
    pub fn declare<'o>(
        declarations: Vec<Declaration>,
        overrides: impl IntoIterator<Item = &'o Override>,
    ) -> Result<Self, Problems> {
        let (store, problems) = Self::declare_with_problems(declarations, overrides);
        problems.or(store)
    }

    /// As [`Store::declare`], and where an override is wrong the default stands in, so that the checks that follow
    /// can tell what else is wrong.
    pub fn declare_with_problems<'o>(
        declarations: Vec<Declaration>,
        overrides: impl IntoIterator<Item = &'o Override>,
    ) -> (Self, Problems) {
        let mut entries = BTreeMap::new();
        let mut problems = Problems::default();
        for declaration in declarations {
            if let Err(rule) = declaration.constraint.check(&declaration.default) {
                let (name, value) = (declaration.name.clone(), declaration.default.clone());
                problems.push(Error::Refused { origin: Origin::Unnamed, name, value, rule });
            }
            match entries.entry(Arc::from(declaration.name.as_str())) {
                MapEntry::Occupied(_) => problems.push(Error::DeclaredTwice { name: declaration.name }),
                MapEntry::Vacant(place) => {
                    let value = declaration.default.clone();
                    place.insert(Entry { declaration: Arc::new(declaration), value });
                }
            }
        }
        let mut store = Self { entries };
        for given in overrides {
            match store.fit(&given.name, given.value.clone(), &given.origin) {
                Ok(value) => store.put(&given.name, value),
                Err(error) => problems.push(error),
            }
            if problems.len() >= ENOUGH {
                break;
            }
        }
        (store, problems)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.keys().map(AsRef::as_ref)
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// What a parameter is.
    pub fn declaration(&self, name: &str) -> Option<&Declaration> {
        self.entries.get(name).map(|entry| entry.declaration.as_ref())
    }

    /// What a parameter is, as the service describes it.
    pub fn describe(&self, name: &str) -> Option<Descriptor<'_>> {
        self.declaration(name).map(Declaration::descriptor)
    }

    /// Answer of `get_parameters`: the values in the order asked, and as in rclcpp nothing at all when one of the
    /// names is unknown.
    pub fn get_parameters(&self, names: &[String]) -> Vec<&Value> {
        names.iter().map(|name| self.get(name)).collect::<Option<_>>().unwrap_or_default()
    }

    /// Answer of `get_parameter_types`, empty when one of the names is unknown.
    pub fn get_parameter_types(&self, names: &[String]) -> Vec<u8> {
        names.iter().map(|name| Some(self.get(name)?.kind().id())).collect::<Option<_>>().unwrap_or_default()
    }

    /// Answer of `describe_parameters`, empty when one of the names is unknown.
    pub fn describe_parameters(&self, names: &[String]) -> Vec<Descriptor<'_>> {
        names.iter().map(|name| self.describe(name)).collect::<Option<_>>().unwrap_or_default()
    }

    /// Answer of `list_parameters`: the names that are, or lie at most `depth` parts below, one of the prefixes;
    /// without prefixes those of at most `depth` parts. A depth of 0 has no bound.
    pub fn list_parameters(&self, prefixes: &[String], depth: u64) -> Listing {
        let near = |rest: &str| depth == 0 || (rest.matches('.').count() as u64) < depth;
        let below = |name: &str, prefix: &str| {
            name == prefix || name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).is_some_and(near)
        };
        let mut listing = Listing::default();
        for name in self.names() {
            let wanted =
                if prefixes.is_empty() { near(name) } else { prefixes.iter().any(|prefix| below(name, prefix)) };
            if !wanted {
                continue;
            }
            listing.names.push(name.to_owned());
            if let Some((prefix, _)) = name.rsplit_once('.')
                && !listing.prefixes.iter().any(|known| known == prefix)
            {
                listing.prefixes.push(prefix.to_owned());
            }
        }
        listing
    }

    /// Sets one parameter.
    ///
    /// # Errors
    /// Why it cannot have that value; it keeps the one it has.
    pub fn set(&mut self, name: &str, value: Value) -> Result<Change, Error> {
        let old = self.get(name).cloned().unwrap_or(Value::NotSet);
        let new = self.settable(name, value)?;
        self.put(name, new.clone());
        Ok(Change { name: name.to_owned(), old, new })
    }

    /// Sets all of these parameters or none.
    ///
    /// # Errors
    /// Why the first that is refused is refused.
    pub fn set_atomically(&mut self, changes: &[(String, Value)]) -> Result<Vec<Change>, Error> {
        let (candidate, made) = self.changed(changes)?;
        *self = candidate;
        Ok(made)
    }

    /// This store with all of the changes made, and what was changed; nothing is committed.
    ///
    /// # Errors
    /// Why the first that is refused is refused.
    pub fn changed(&self, changes: &[(String, Value)]) -> Result<(Self, Vec<Change>), Error> {
        if changes.is_empty() {
            return Err(Error::NothingToSet);
        }
        let mut candidate = self.clone();
        let mut made: Vec<Change> = Vec::with_capacity(changes.len());
        for (name, value) in changes {
            let change = candidate.set(name, value.clone())?;
            // A name given twice takes its last value, in one change.
            match made.iter_mut().find(|earlier| earlier.name == change.name) {
                Some(earlier) => earlier.new = change.new,
                None => made.push(change),
            }
        }
        Ok((candidate, made))
    }

    fn settable(&self, name: &str, value: Value) -> Result<Value, Error> {
        let value = match (self.declaration(name), value) {
            (Some(known), _) if known.read_only => return Err(Error::ReadOnly { name: name.to_owned() }),
            (Some(known), Value::NotSet) => {
                return Err(Error::Unset { name: name.to_owned(), expected: known.kind() });
            }
            (_, value) => value,
        };
        self.fit(name, value, &Origin::Unnamed)
    }

    /// The value as one that the parameter takes.
    fn fit(&self, name: &str, value: Value, origin: &Origin) -> Result<Value, Error> {
        let (origin, owned) = (origin.clone(), name.to_owned());
        let Some(declaration) = self.declaration(name) else {
            return Err(Error::Unknown { origin, name: owned, hint: hint(name, self.names()) });
        };
        let expected = declaration.kind();
        match value.fit(expected) {
            Err(value) => Err(Error::WrongType { origin, name: owned, expected, found: value.kind(), value }),
            Ok(value) => match declaration.constraint.check(&value) {
                Ok(()) => Ok(value),
                Err(rule) => Err(Error::Refused { origin, name: owned, value, rule }),
            },
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.value = value;
        }
    }
}

#[cfg(test)]
mod tests;
