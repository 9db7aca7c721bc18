//! The modalities of one embodiment: from JSON to typed objects.

use super::super::known::Place;
use super::super::raw::{ActionFormat, ActionType, Entries, RawActionConfig, RawModality, Representation};
use super::Checker;
use super::object::Object;

/// The modalities that something is computed from; those with problems are missing.
pub(super) struct Modalities {
    pub video: Option<RawModality>,
    pub state: Option<RawModality>,
    pub action: Option<RawModality>,
}

impl Checker {
    /// Video, state, action and language, each there and with names and indices that make sense. Of several language keys the
    /// vendor's policy takes one as the instruction; here it comes from the user.
    pub(super) fn modalities(&mut self, embodiment: &str, entries: &Entries) -> Modalities {
        let at = format!("modality_configs.{embodiment}");
        let object = &mut Object::new(&at, Place::Embodiment, entries);
        let [video, state, action, _] = ["video", "state", "action", "language"].map(|name| {
            let at = format!("{at}.{name}");
            let before = self.problems.len();
            let found: Option<Entries> = self.take::<Option<_>>(object, name).flatten();
            if found.is_none() && self.problems.len() == before {
                self.problems.push(format!("{at}: missing"));
            }
            self.modality(&at, &found?)
        });
        self.rest(object);
        Modalities { video, state, action }
    }

    fn modality(&mut self, at: &str, entries: &Entries) -> Option<RawModality> {
        let object = &mut Object::new(at, Place::Modality, entries);
        let delta_indices: Option<Vec<i64>> = self.required(object, "delta_indices");
        let modality_keys: Option<Vec<String>> = self.required(object, "modality_keys");
        let [sin_cos, mean_std] = ["sin_cos_embedding_keys", "mean_std_embedding_keys"].map(|key| {
            let keys: Option<Vec<String>> = self.take::<Option<_>>(object, key).flatten();
            keys.unwrap_or_default()
        });
        let configs: Option<Vec<Entries>> = self.take::<Option<_>>(object, "action_configs").flatten();
        self.rest(object);
        let before = self.problems.len();
        let configs = configs.map(|configs| {
            let all = configs.iter().enumerate();
            all.filter_map(|(index, config)| self.action_config(&format!("{at}.action_configs[{index}]"), config))
                .collect()
        });
        // A configuration that cannot be read would leave a gap, and move those behind it to other keys.
        let configs_are_whole = self.problems.len() == before;
        let modality = RawModality {
            delta_indices: delta_indices?,
            modality_keys: modality_keys?,
            sin_cos_embedding_keys: sin_cos,
            mean_std_embedding_keys: mean_std,
            action_configs: configs,
        };
        self.keys(at, &modality);
        configs_are_whole.then_some(modality)
    }

    fn keys(&mut self, at: &str, modality: &RawModality) {
        let keys = &modality.modality_keys;
        self.check(!keys.is_empty(), || format!("{at}.modality_keys: expected at least one key, found none"));
        self.check(keys.iter().all(|key| !key.is_empty()), || format!("{at}.modality_keys: an empty key"));
        for (i, key) in keys.iter().enumerate() {
            self.check(!keys[..i].contains(key), || format!("{at}.modality_keys: '{key}' is named twice"));
        }
        self.check(!modality.delta_indices.is_empty(), || {
            format!("{at}.delta_indices: expected at least one index, found none")
        });
    }

    fn action_config(&mut self, at: &str, entries: &Entries) -> Option<RawActionConfig> {
        let object = &mut Object::new(at, Place::ActionConfig, entries);
        let rep: Option<Representation> = self.required(object, "rep");
        let kind: Option<ActionType> = self.required(object, "type");
        let format: Option<ActionFormat> = self.required(object, "format");
        let state_key = self.take::<Option<String>>(object, "state_key").flatten();
        self.rest(object);
        Some(RawActionConfig { rep: rep?, kind: kind?, format: format?, state_key })
    }
}
