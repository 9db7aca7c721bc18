//! Open-loop evaluation: a policy's predicted actions beside recorded ones, as numbers.
//!
//! The policy runs on the recorded observations, one inference every `used` rows of a chunk; nothing that it predicts changes what
//! it sees next. Row `i` of a chunk is compared with the action that was recorded for the row's due time. The figures are those
//! of the vendor's `open_loop_eval.py`: mean squared and mean absolute error over all compared rows and columns of an episode, and
//! the mean of those over the episodes ([`Outcome::episode_mean`]). They are predictions alone: limits, hand-over and
//! trajectories of the motion are not part of them.
//!
//! Memory holds the chunks whose recorded actions have not come yet; figures are sums.

use serde::Serialize;

use crate::Error;
use crate::replay::Source;
use vla_base::time::{Span, Stamp};
use vla_policy::Policy;
use vla_policy::observation::CameraSample;
use vla_runtime::parameters::Settings;

mod against;
mod document;
mod dump;
mod figures;
mod gallery;
mod layout;
mod recorded;
pub mod report;
mod run;
mod schedule;
mod sums;

pub use against::{Against, ColumnComparison, Comparison, Predictions, Ratio, comparable};
pub use document::Document;
pub use dump::Dump;
pub use figures::{ColumnErrors, ErrorPair, Errors, Figures, KeyErrors, RowErrors};
pub use gallery::Gallery;
pub use layout::{Column, Layout};

/// Rows of a chunk that the vendor's evaluation uses (`action_horizon` of `open_loop_eval.py`).
pub const VENDOR_STRIDE: usize = 16;

/// What to evaluate on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The recording.
    pub source: Source,
    /// The recorded actions.
    pub actions: ActionsFrom,
    /// Rows of each chunk that are used before the next inference; `None`: [`VENDOR_STRIDE`], or all of a shorter chunk.
    pub stride: Option<usize>,
    /// Most control steps of each episode; `None`: all.
    pub steps: Option<usize>,
    /// Whether the observer wants the frames of each observation.
    pub pictures: bool,
}

impl Options {
    /// Rows that are used of a chunk with `rows` rows.
    ///
    /// # Errors
    /// [`Error::Stride`] when a chunk has fewer.
    fn used(&self, rows: usize) -> Result<usize, Error> {
        match self.stride {
            None => Ok(VENDOR_STRIDE.min(rows).max(1)),
            Some(stride) if (1..=rows).contains(&stride) => Ok(stride),
            Some(stride) => Err(Error::Stride { stride, rows }),
        }
    }
}

/// Where recorded actions come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionsFrom {
    /// The actions of a data set: row `i` of a chunk is compared with the action of the `i`-th row from its observation on.
    Dataset,
    /// The measured positions of the joints of a bag, at the due times of the rows.
    JointStates,
    /// Commands of a bag, at the due times of the rows.
    Topics {
        /// Topics that together give every column.
        names: Vec<String>,
        /// Time from a command without a time of execution (`JointState`, `Float64MultiArray`) to that time; `None`: one step.
        ahead: Option<Span>,
    },
}

/// One chunk beside the recorded actions.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Counts the chunks of the run.
    pub index: usize,
    /// Its episode.
    pub episode: usize,
    /// Stamp of the observation.
    pub at: Stamp,
    /// Due time of row 0.
    pub start: Stamp,
    /// Leading rows that have a recorded action; only these are compared.
    pub known: usize,
    /// `[rows, columns]`, the robot's units.
    pub predicted: Vec<f32>,
    /// The same of the recorded actions; NaN from row `known` on.
    pub recorded: Vec<f32>,
    /// `[rows, normalised columns]`.
    pub normalised_predicted: Vec<f32>,
    /// The same of the recorded actions; NaN from row `known` on.
    pub normalised_recorded: Vec<f32>,
    /// The state of the observation in the model's units, to which relative actions refer.
    pub state: Vec<f32>,
    /// Frames of the observation, where the options ask for them.
    pub cameras: Vec<CameraSample>,
}

impl Moment {
    /// Predicted and recorded rows of `width` columns.
    pub fn rows(&self, width: usize) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.predicted.chunks_exact(width.max(1)).zip(self.recorded.chunks_exact(width.max(1)))
    }

    /// The same normalised.
    pub fn normalised_rows(&self, width: usize) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.normalised_predicted.chunks_exact(width.max(1)).zip(self.normalised_recorded.chunks_exact(width.max(1)))
    }
}

/// Receives the chunks of a run in order, each once its recorded actions are known.
pub trait Observer {
    /// A chunk.
    ///
    /// # Errors
    /// When it cannot be written; the run then ends.
    fn moment(&mut self, layout: &Layout, moment: &Moment) -> Result<(), Error>;

    /// The end of an episode.
    ///
    /// # Errors
    /// As [`Self::moment`].
    fn episode(&mut self, layout: &Layout, episode: &Episode) -> Result<(), Error>;
}

/// Several observers of one run, each in its turn.
pub struct Observers<'o>(pub Vec<&'o mut dyn Observer>);

impl Observer for Observers<'_> {
    fn moment(&mut self, layout: &Layout, moment: &Moment) -> Result<(), Error> {
        self.0.iter_mut().try_for_each(|observer| observer.moment(layout, moment))
    }

    fn episode(&mut self, layout: &Layout, episode: &Episode) -> Result<(), Error> {
        self.0.iter_mut().try_for_each(|observer| observer.episode(layout, episode))
    }
}

/// Counts and errors of one episode.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Episode {
    /// Its number in the data set; 0 of a bag.
    pub index: usize,
    /// Chunks.
    pub inferences: u64,
    /// Compared rows among those used.
    pub rows: u64,
    /// Inference times without a chunk: an input broke a rule, or the inference failed.
    pub skipped: u64,
    /// Inference times whose observation was the last one's.
    pub unchanged: u64,
    /// Inference times before every input had come.
    pub waiting: u64,
    /// Errors over used rows and all columns.
    #[serde(flatten)]
    pub errors: ErrorPair,
}

impl Episode {
    fn new(index: usize) -> Self {
        let errors = ErrorPair::default();
        Self { index, inferences: 0, rows: 0, skipped: 0, unchanged: 0, waiting: 0, errors }
    }
}

/// An inference time without a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its episode.
    pub episode: usize,
    /// The time, ns.
    pub at_ns: i64,
    /// Why.
    pub reason: String,
}

/// The result of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Name of the policy.
    pub policy: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether its weights are random: its errors say nothing.
    pub random_weights: bool,
    /// The engine kind that ran it.
    pub engine: String,
    /// Rows and columns.
    pub layout: Layout,
    /// Chunks.
    pub inferences: u64,
    /// Errors over all episodes.
    pub figures: Figures,
    /// Each episode.
    pub episodes: Vec<Episode>,
    /// The first inference times without a chunk.
    pub skipped: Vec<Skipped>,
    /// Inputs that were waited for last.
    waited_for: String,
}

/// The mean over episodes of each episode's errors: the number that the vendor's evaluation prints last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpisodeMean {
    /// Mean of the episodes' mean squared errors.
    pub mse: f64,
    /// Mean of the episodes' mean absolute errors.
    pub mae: f64,
}

impl Outcome {
    fn new(layout: &Layout, policy: &Policy) -> Self {
        let spec = policy.spec();
        Self {
            policy: spec.name.clone(),
            fingerprint: spec.fingerprint.clone(),
            random_weights: spec.random_weights,
            engine: policy.engine_kind().to_owned(),
            inferences: 0,
            figures: figures::Tally::new(layout).figures(layout),
            layout: layout.clone(),
            episodes: Vec::new(),
            skipped: Vec::new(),
            waited_for: String::new(),
        }
    }

    /// The mean over the episodes that had anything to compare, in the robot's units; `None` when none had.
    pub fn episode_mean(&self) -> Option<EpisodeMean> {
        let errors: Vec<Errors> = self.episodes.iter().filter_map(|episode| episode.errors.robot).collect();
        let count = Some(errors.len() as f64).filter(|count| *count > 0.0)?;
        let mean = |of: fn(&Errors) -> f64| errors.iter().map(of).sum::<f64>() / count;
        Some(EpisodeMean { mse: mean(|errors| errors.mse), mae: mean(|errors| errors.mae) })
    }

    /// Inference times without a chunk.
    pub fn skipped_count(&self) -> u64 {
        self.episodes.iter().map(|episode| episode.skipped).sum()
    }
}

/// Runs `policy` over the recording. `observer` receives each chunk beside the recorded actions, `progress` the fraction that is
/// done.
///
/// # Errors
/// [`Error::Stride`]; [`Error::RecordedActions`] and [`Error::Topics`] for recorded actions that are missing;
/// [`Error::NoObservation`] when the policy gave no chunk; a recording that cannot be read; the first error of `observer`.
pub fn run(
    policy: &mut Policy,
    settings: &Settings,
    options: &Options,
    observer: &mut dyn Observer,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome, Error> {
    run::run(policy, settings, options, observer, progress)
}
