//! One JSON object of the files: known keys are taken out of it, and those that remain are judged by the table of known keys.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::known::{Harmless, KnownKey, Place};
use super::super::on_use::OnUse;
use super::super::raw::Entries;
use super::Checker;

/// An object and which of its keys were taken.
pub(super) struct Object<'o> {
    /// Its path in the file; empty for the processor's arguments, whose keys stand alone in messages.
    at: &'o str,
    place: Place,
    entries: &'o Entries,
    taken: Vec<&'static str>,
}

impl<'o> Object<'o> {
    pub(crate) fn new(at: &'o str, place: Place, entries: &'o Entries) -> Self {
        Self { at, place, entries, taken: Vec::new() }
    }

    fn path(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }
}

impl Checker {
    /// The value of `key`; `None` when it is absent, or of another type, which is a problem.
    pub(super) fn take<T: DeserializeOwned>(&mut self, object: &mut Object<'_>, key: &'static str) -> Option<T> {
        object.taken.push(key);
        let found = object.entries.get(key)?;
        let read = found.read_as();
        read.map_err(|problem| self.problems.push(format!("{}: {problem} of this value", object.path(key)))).ok()
    }

    /// As [`Self::take`], of a key that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, object: &mut Object<'_>, key: &'static str) -> Option<T> {
        self.check(object.entries.get(key).is_some(), || format!("{}: missing", object.path(key)));
        self.take(object, key)
    }

    /// Judges the keys that were not taken.
    pub(super) fn rest(&mut self, object: &Object<'_>) {
        for (key, value) in object.entries.0.iter().filter(|(key, _)| !object.taken.contains(&key.as_str())) {
            self.problems.extend(judged(object, key, value));
        }
    }
}

/// Why an object cannot have this key with this value.
fn judged(object: &Object<'_>, key: &str, value: &OnUse<Value>) -> Option<String> {
    let (path, found) = (object.path(key), value.excerpt());
    let Some(known) = KnownKey::find(object.place, key) else {
        return Some(format!(
            "{path}: unknown key, found {found}; another version's processor may compute something with it. Only if its author \
             says that it has no effect at inference, remove it from a copy of the file"
        ));
    };
    let harmless = known.values == Harmless::Any || value.read().is_ok_and(|value| known.values.contains(&value));
    (!harmless).then(|| {
        format!("{path}: expected {}, found {found} ({}); this is not computed here", known.values.text(), known.why)
    })
}
