//! From the files as typed to a [`Processor`]: every problem of one embodiment, each with file and key.

use serde::de::DeserializeOwned;

use super::on_use::OnUse;
use super::raw::{
    ActionFormat, ActionType, Keyed, RawActionConfig, RawConfig, RawEmbodiment, RawModality, RawStatistics,
    Representation,
};
use super::{ActionKey, ActionScaling, Conversion, EefValues, PoseFormat, Processor, StateEncoding, StateKey};
use crate::family::Family;
use crate::spec::LONGEST_HISTORY;

mod kwargs;
mod modality;
mod object;
mod statistics;

pub(super) use kwargs::letterbox;

use kwargs::Kwargs;
use modality::Modalities;
use statistics::KeyStatistics;

pub(super) fn processor(
    config: &RawConfig,
    statistics: &RawStatistics,
    embodiment: &str,
) -> Result<Processor, Vec<String>> {
    let mut checker = Checker { problems: Vec::new() };
    let processor = checker.processor(config, statistics, embodiment);
    match processor {
        Some(processor) if checker.problems.is_empty() => Ok(processor),
        _ => Err(checker.problems),
    }
}

struct Checker {
    problems: Vec<String>,
}

impl Checker {
    fn processor(&mut self, config: &RawConfig, statistics: &RawStatistics, embodiment: &str) -> Option<Processor> {
        let class = &config.processor_class;
        let family = Family::of_processor_class(class);
        self.check(family.is_some(), || {
            format!(
                "processor_class: expected {}, found '{class}'; a checkpoint of another model cannot be used",
                Family::processor_classes()
            )
        });
        let family = family?;
        let kwargs = self.kwargs(family, &config.processor_kwargs.rest);
        let modalities = self.embodiment("modality_configs", &config.processor_kwargs.modality_configs, embodiment);
        let values = self.embodiment("statistics", statistics, embodiment);
        let Modalities { video, state, action } = self.modalities(embodiment, &modalities?);
        let cameras = video.as_ref().map(|modality| self.cameras(embodiment, modality));
        let values = values?;
        let state_keys = state.as_ref().map(|modality| self.state(embodiment, modality, &values, &kwargs));
        let action_keys =
            action.as_ref().map(|modality| self.action(embodiment, modality, &values, &kwargs, state_keys.as_deref()));
        let processor = Processor {
            family,
            embodiment: embodiment.to_owned(),
            cameras: cameras?,
            video_deltas: video?.delta_indices,
            state: state_keys?,
            state_deltas: state?.delta_indices,
            exclude_state: kwargs.exclude_state,
            clip_state: kwargs.clip_outliers,
            action: action_keys?,
            action_deltas: action?.delta_indices,
            max_state_dim: kwargs.max_state_dim,
            max_action_dim: kwargs.max_action_dim,
            max_action_horizon: kwargs.max_action_horizon,
            image: kwargs.image?,
            normalise_text: kwargs.formalize_language,
        };
        self.totals(&processor);
        Some(processor)
    }

    /// What a file says of the embodiment.
    fn embodiment<T: DeserializeOwned>(&mut self, file: &str, tags: &Keyed<OnUse<T>>, embodiment: &str) -> Option<T> {
        let found = tags.get(embodiment);
        self.check(found.is_some(), || format!("{file}: no '{embodiment}'; the file has {}", tags.names()));
        self.read(&format!("{file}.{embodiment}"), found?)
    }

    fn read<T: DeserializeOwned>(&mut self, at: &str, found: &OnUse<T>) -> Option<T> {
        found.read().map_err(|problem| self.problems.push(format!("{at}: {problem} of this object"))).ok()
    }

    fn cameras(&mut self, embodiment: &str, video: &RawModality) -> Vec<String> {
        let deltas = &video.delta_indices;
        let ascending = deltas.windows(2).all(|pair| matches!(pair, [before, after] if before < after));
        let in_range = deltas.first().is_some_and(|first| *first >= -LONGEST_HISTORY);
        self.check(ascending && in_range && deltas.last() == Some(&0), || {
            format!(
                "modality_configs.{embodiment}.video.delta_indices: expected ascending control steps from -{LONGEST_HISTORY} to 0 (the \
                 newest frame), the last 0, found {deltas:?}"
            )
        });
        video.modality_keys.clone()
    }

    fn state(
        &mut self,
        embodiment: &str,
        state: &RawModality,
        values: &RawEmbodiment,
        kwargs: &Kwargs,
    ) -> Vec<StateKey> {
        let at = format!("modality_configs.{embodiment}.state");
        let (sin_cos, mean_std) = (&state.sin_cos_embedding_keys, &state.mean_std_embedding_keys);
        self.known(&format!("{at}.sin_cos_embedding_keys"), sin_cos, &state.modality_keys);
        self.known(&format!("{at}.mean_std_embedding_keys"), mean_std, &state.modality_keys);
        let mut keys = Vec::with_capacity(state.modality_keys.len());
        for name in &state.modality_keys {
            let at = format!("statistics.{embodiment}.state.{name}");
            let found = self.entry(&at, values.state.as_ref().and_then(|state| state.get(name)));
            let found = found.and_then(|found| self.of_key(&at, found, kwargs.use_percentiles));
            let Some(found) = found else { continue };
            let encoding = if kwargs.apply_sincos_state_encoding && sin_cos.contains(name) {
                StateEncoding::SinCos
            } else if mean_std.contains(name) {
                let (mean, std) = self.spread(&found);
                StateEncoding::MeanStd { mean, std }
            } else {
                let (low, high) = self.range(&found, kwargs.use_percentiles);
                StateEncoding::Range { low, high }
            };
            keys.push(StateKey { name: name.clone(), width: found.width, encoding });
        }
        keys
    }

    fn action(
        &mut self,
        embodiment: &str,
        action: &RawModality,
        values: &RawEmbodiment,
        kwargs: &Kwargs,
        state: Option<&[StateKey]>,
    ) -> Vec<ActionKey> {
        let at = format!("modality_configs.{embodiment}.action");
        let mean_std = &action.mean_std_embedding_keys;
        self.known(&format!("{at}.mean_std_embedding_keys"), mean_std, &action.modality_keys);
        let configs = action.action_configs.as_deref();
        self.check(configs.is_none_or(|configs| configs.len() == action.modality_keys.len()), || {
            format!(
                "{at}.action_configs: expected one for each of the {} modality_keys, found {}",
                action.modality_keys.len(),
                configs.unwrap_or_default().len()
            )
        });
        let rows = action.delta_indices.len();
        let consecutive = action.delta_indices.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
        self.check(consecutive, || {
            format!(
                "{at}.delta_indices: expected consecutive indices (0, 1, 2, ...; rows are one step apart), found {:?}; \
                 rows at other times are not carried here",
                action.delta_indices
            )
        });
        let mut keys = Vec::with_capacity(action.modality_keys.len());
        for (index, name) in action.modality_keys.iter().enumerate() {
            // The absolute statistics give the width, for relative keys too.
            let stats_at = format!("statistics.{embodiment}.action.{name}");
            let absolute = self.entry(&stats_at, values.action.as_ref().and_then(|action| action.get(name)));
            let absolute = absolute.and_then(|found| self.of_key(&stats_at, found, kwargs.use_percentiles));
            let Some(absolute) = absolute else { continue };
            let width = absolute.width;
            let config = configs.and_then(|configs| configs.get(index));
            let relative = config.filter(|c| c.rep == Representation::Relative && kwargs.use_relative_action);
            let scaling = |checker: &mut Self, found: &KeyStatistics<'_>, percentiles: bool| {
                if mean_std.contains(name) {
                    let (mean, std) = checker.spread(found);
                    ActionScaling::MeanStd { mean, std }
                } else {
                    let (low, high) = checker.range(found, percentiles);
                    ActionScaling::Range { low, high }
                }
            };
            let config_at = format!("{at}.action_configs[{index}]");
            let changes = config.filter(|config| relative.is_some() || config.rep == Representation::Delta);
            let conversion = changes.and_then(|config| self.conversion(&config_at, name, width, config, kwargs, state));
            let scaling = match relative {
                None => scaling(self, &absolute, kwargs.use_percentiles),
                Some(_) => {
                    let stats_at = format!("statistics.{embodiment}.relative_action.{name}");
                    let found = values.relative_action.as_ref().and_then(|relative| relative.get(name));
                    let Some(found) = self.entry(&stats_at, found) else { continue };
                    scaling(self, &KeyStatistics::of_rows(&stats_at, found, rows, width), false)
                }
            };
            let conversion = conversion.unwrap_or(Conversion::Absolute);
            let mut key = ActionKey { name: name.clone(), width, scaling, conversion, eef: None };
            key.eef = EefValues::of(config, conversion, key.decoded_width());
            keys.push(key);
        }
        keys
    }

    /// How rows of a key become absolute; `None` for absolute rows and after a problem. The meaning of delta rows is not in the
    /// files.
    fn conversion(
        &mut self,
        at: &str,
        name: &str,
        width: usize,
        config: &RawActionConfig,
        kwargs: &Kwargs,
        state: Option<&[StateKey]>,
    ) -> Option<Conversion> {
        let delta = config.rep == Representation::Delta;
        if config.kind == ActionType::Eef && delta {
            self.problems.push(format!(
                "{at}: '{name}' is an end effector's (EEF) with rep: DELTA, expected RELATIVE or ABSOLUTE; deltas of poses \
                 are not supported: train with one of the two"
            ));
            return None;
        }
        let state = self.reference(at, name, width, config, state);
        if config.kind == ActionType::NonEef {
            let rep = if delta { "DELTA" } else { "relative" };
            self.check(config.format == ActionFormat::Default, || {
                format!("{at}.format: expected DEFAULT for a {rep} NON_EEF key, found {:?}", config.format)
            });
            let state = state?;
            return Some(if delta { Conversion::Delta { state, rows: None } } else { Conversion::AddState { state } });
        }
        let format = match config.format {
            ActionFormat::Default => PoseFormat::Matrix,
            ActionFormat::XyzRot6d => PoseFormat::Rot6d,
            ActionFormat::XyzRotvec => PoseFormat::Rotvec,
        };
        let predicted = kwargs.relative_poses.predicted(format);
        self.check(width == predicted.width(), || {
            format!(
                "{at}: expected {} values of a relative EEF key ({}), found {width} in its statistics",
                predicted.width(),
                predicted.columns().join(" ")
            )
        });
        Some(Conversion::ComposePose { state: state?, predicted, format })
    }

    /// The state key, of the same width, that actions of the key `name` are changes of.
    fn reference(
        &mut self,
        at: &str,
        name: &str,
        width: usize,
        config: &RawActionConfig,
        state: Option<&[StateKey]>,
    ) -> Option<usize> {
        let key = config.state_key.as_deref().filter(|key| !key.is_empty()).unwrap_or(name);
        let found = state?.iter().position(|held| held.name == key);
        let reference = found.and_then(|index| state?.get(index));
        self.check(reference.is_some(), || {
            format!("{at}.state_key: '{key}' is no state key with statistics, and the actions of '{name}' are relative to it")
        });
        let reference = reference?;
        self.check(reference.width == width, || {
            format!("{at}.state_key: '{key}' has {} values, the actions of '{name}' {width}", reference.width)
        });
        found
    }

    fn entry<T: DeserializeOwned>(&mut self, at: &str, found: Option<&OnUse<T>>) -> Option<T> {
        self.check(found.is_some(), || format!("{at}: missing"));
        self.read(at, found?)
    }

    fn known(&mut self, at: &str, keys: &[String], modality_keys: &[String]) {
        for key in keys {
            self.check(modality_keys.contains(key), || {
                format!("{at}: '{key}' is not among the modality_keys {}", modality_keys.join(", "))
            });
        }
    }

    fn totals(&mut self, processor: &Processor) {
        let (state, action) = (processor.encoded_state_width(), processor.predicted_width());
        self.check(state <= processor.max_state_dim, || {
            format!("max_state_dim: {} is less than the {state} values of the state keys", processor.max_state_dim)
        });
        self.check(action <= processor.max_action_dim, || {
            format!("max_action_dim: {} is less than the {action} values of the action keys", processor.max_action_dim)
        });
        self.check(processor.rows() <= processor.max_action_horizon, || {
            let (rows, most) = (processor.rows(), processor.max_action_horizon);
            format!(
                "max_action_horizon: {most} is less than the {rows} of the action's delta_indices; this embodiment needs a \
                 checkpoint with an action_horizon of at least {rows}"
            )
        });
    }

    fn check(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }
}
