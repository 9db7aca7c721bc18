//! Action keys with `rep: DELTA`: what a row is added to is decided by the data set, and no file of a checkpoint says it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{ActionKey, Conversion, Processor};

/// What a row of a joint key with `rep: DELTA` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaRows {
    /// The change from the row before: row i is the state plus the sum of rows 0 to i.
    Cumulative,
    /// The change from the observed state: row i is the state plus row i.
    FromState,
}

impl DeltaRows {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Cumulative, Self::FromState];

    /// As in policy.yaml and in parameters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cumulative => "cumulative",
            Self::FromState => "from_state",
        }
    }
}

impl fmt::Display for DeltaRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for DeltaRows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|rows| rows.word() == text);
        found.ok_or_else(|| format!("expected cumulative or from_state, found '{text}'"))
    }
}

impl ActionKey {
    /// Whether predictions are deltas, and what their rows are; `Some(None)` where nothing has said it yet.
    pub fn delta(&self) -> Option<Option<DeltaRows>> {
        match self.conversion {
            Conversion::Delta { rows, .. } => Some(rows),
            Conversion::Absolute | Conversion::AddState { .. } | Conversion::ComposePose { .. } => None,
        }
    }
}

impl Processor {
    /// Says what the rows of each DELTA key are. `option` writes how a key is given a value, for messages.
    ///
    /// # Errors
    /// Every key that has no deltas, and every one with deltas that `given` leaves out or whose rows it cannot be.
    pub fn set_deltas(
        &mut self,
        given: &BTreeMap<String, DeltaRows>,
        option: impl Fn(&str, DeltaRows) -> String,
    ) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        let deltas = self.action.iter().filter(|key| key.delta().is_some());
        let names: Vec<&str> = deltas.map(|key| key.name.as_str()).collect();
        for (key, rows) in given.iter().filter(|(key, _)| !names.contains(&key.as_str())) {
            let keys = if names.is_empty() { "the policy has none".to_owned() } else { names.join(", ") };
            problems
                .push(format!("{}: expected a joint key with rep: DELTA ({keys}), found '{key}'", option(key, *rows)));
        }
        let first = self.action_deltas.first().copied().unwrap_or_default();
        for key in &mut self.action {
            let Conversion::Delta { rows, .. } = &mut key.conversion else { continue };
            let [sum, single] = DeltaRows::ALL.map(|rows| option(&key.name, rows));
            match given.get(&key.name) {
                None => problems.push(format!(
                    "action key '{}' has rep: DELTA, and its files do not say what a row is added to; give {sum} where a row \
                     is the change from the row before (row i = state + rows 0 to i), or {single} where it is the change \
                     from the observed state (row i = state + row i)",
                    key.name
                )),
                Some(DeltaRows::Cumulative) if first != 0 => problems.push(format!(
                    "{sum}: expected action.delta_indices that begin at 0, found {first}: the changes before are not \
                     predicted and cannot be summed up; give {single} if that is what the rows are"
                )),
                Some(given) => *rows = Some(*given),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
