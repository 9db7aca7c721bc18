//! The JSON document of an evaluation (docs/eval.md). The same recording, policies and parameters give the same bytes.

use serde::Serialize;

use super::{ActionsFrom, Comparison, Episode, EpisodeMean, Figures, Options, Outcome, Skipped};
use crate::Error;
use vla_runtime::parameters::Settings;

/// Version of the document's schema.
const FORMAT: u32 = 1;

/// Everything that an evaluation found.
#[derive(Debug, Serialize)]
pub struct Document<'o> {
    format: u32,
    recording: String,
    actions: Actions,
    /// Rows of each chunk that are used before the next inference.
    stride: usize,
    /// Most control steps of an episode.
    steps: Option<usize>,
    /// Time from row to row.
    step_s: f64,
    seed: u64,
    denoise_steps: u32,
    columns: Vec<Column<'o>>,
    policies: Vec<PolicyResult<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'o Comparison>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
enum Actions {
    Dataset,
    JointStates,
    Topics { topics: Vec<String>, ahead_s: f64 },
}

#[derive(Debug, Serialize)]
struct Column<'o> {
    name: &'o str,
    key: &'o str,
    joint: bool,
    continuous: bool,
}

#[derive(Debug, Serialize)]
struct PolicyResult<'o> {
    policy: &'o str,
    fingerprint: &'o str,
    random_weights: bool,
    engine: &'o str,
    /// Rows of a chunk.
    rows: usize,
    inferences: u64,
    skipped: u64,
    #[serde(flatten)]
    figures: &'o Figures,
    episode_mean: Option<EpisodeMean>,
    episodes: &'o [Episode],
    reasons: &'o [Skipped],
}

impl<'o> PolicyResult<'o> {
    fn new(outcome: &'o Outcome) -> Self {
        Self {
            policy: &outcome.policy,
            fingerprint: &outcome.fingerprint,
            random_weights: outcome.random_weights,
            engine: &outcome.engine,
            rows: outcome.layout.rows,
            inferences: outcome.inferences,
            skipped: outcome.skipped_count(),
            figures: &outcome.figures,
            episode_mean: outcome.episode_mean(),
            episodes: &outcome.episodes,
            reasons: &outcome.skipped,
        }
    }
}

impl<'o> Document<'o> {
    /// The document of one policy, or of two that were compared.
    pub fn new(
        options: &Options,
        settings: &Settings,
        first: &'o Outcome,
        second: Option<(&'o Outcome, &'o Comparison)>,
    ) -> Self {
        let layout = &first.layout;
        let columns = layout.columns.iter().enumerate().map(|(index, column)| Column {
            name: &column.name,
            key: layout.key_of(index).map_or("", |key| &key.key),
            joint: column.is_joint,
            continuous: column.continuous,
        });
        let actions = match &options.actions {
            ActionsFrom::Dataset => Actions::Dataset,
            ActionsFrom::JointStates => Actions::JointStates,
            ActionsFrom::Topics { names, ahead } => {
                Actions::Topics { topics: names.clone(), ahead_s: ahead.unwrap_or(layout.step).seconds() }
            }
        };
        Self {
            format: FORMAT,
            recording: options.source.path().display().to_string(),
            actions,
            stride: layout.used,
            steps: options.steps,
            step_s: layout.step.seconds(),
            seed: settings.seed,
            denoise_steps: settings.denoise_steps,
            columns: columns.collect(),
            policies: [Some(first), second.map(|(second, _)| second)]
                .into_iter()
                .flatten()
                .map(PolicyResult::new)
                .collect(),
            comparison: second.map(|(_, comparison)| comparison),
        }
    }

    /// The text of the document, indented, with a newline at its end.
    ///
    /// # Errors
    /// [`Error::Internal`], for a defect of this program.
    pub fn to_json(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(text + "\n")
    }
}
