//! What a policy is run over: a bag or a data set, as messages on one clock.
//!
//! A [`Recording`] is a list of [`Segment`]s, each with messages in the order of time. A bag is one segment. Every episode of a
//! data set is one: nothing of the episode before it counts, so its run begins with empty inputs and a session that is started
//! again. Episodes follow each other on one timeline with a second in between.

use std::iter;
use std::path::{Path, PathBuf};

use crate::Error;
use vla_bags::{BagMessage, files_of};
use vla_base::time::{Span, Stamp};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

mod bag;
mod dataset;

use bag::BagRecording;
pub use bag::{BagClock, BagSource};
use dataset::DatasetRecording;
pub use dataset::{DatasetSource, RecordedActions};

/// What a policy is run over.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// A rosbag2 bag.
    Bag(BagSource),
    /// A LeRobot data set.
    Dataset(DatasetSource),
}

impl From<BagSource> for Source {
    fn from(bag: BagSource) -> Self {
        Self::Bag(bag)
    }
}

impl From<DatasetSource> for Source {
    fn from(dataset: DatasetSource) -> Self {
        Self::Dataset(dataset)
    }
}

impl<P: Into<PathBuf>> From<P> for Source {
    /// A bag on the clock of its log.
    fn from(bag: P) -> Self {
        Self::Bag(bag.into().into())
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::Bag(BagSource::default())
    }
}

impl Source {
    /// The bag, or the folder of the data set.
    pub fn path(&self) -> &Path {
        match self {
            Self::Bag(source) => &source.bag,
            Self::Dataset(source) => &source.dir,
        }
    }

    /// Its files, for the check that no output replaces one of them.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Bag(source) => files_of(&source.bag),
            Self::Dataset(source) => source.files(),
        }
    }

    /// The settings for a run over this source; [`Recording::open`] and the session need them.
    ///
    /// Those of a bag are the node's own. A data set has no topics: every camera, and one joint state with all keys of the state, is an
    /// input of its own. State keys that the node makes of poses are read as numbers, because a data set holds the policy's own
    /// values and a conversion to a pose and back would not be exact.
    pub fn settings(&self, spec: &PolicySpec, settings: &Settings) -> Settings {
        match self {
            Self::Bag(_) => settings.clone(),
            Self::Dataset(_) => dataset::settings(spec, settings),
        }
    }
}

/// An opened source.
pub struct Recording {
    kind: Kind,
}

enum Kind {
    Bag(BagRecording),
    Dataset(Box<DatasetRecording>),
}

impl Recording {
    /// Opens the source for the inputs of a policy. `settings`: of [`Source::settings`].
    ///
    /// # Errors
    /// A bag that cannot be read, lacks a topic, or whose header stamps and log are of two clocks while none is chosen. A data set that
    /// cannot be read, or lacks a camera or a state key of the policy.
    pub fn open(source: &Source, spec: &PolicySpec, settings: &Settings) -> Result<Self, Error> {
        let kind = match source {
            Source::Bag(source) => Kind::Bag(BagRecording::open(source, settings)?),
            Source::Dataset(source) => Kind::Dataset(Box::new(DatasetRecording::open(source, spec, settings)?)),
        };
        Ok(Self { kind })
    }

    /// The topics of the inputs ([`Inputs::topics`](vla_policy::observation::Inputs::topics)) that messages of this topic are for.
    pub fn inputs(&self, topic: usize) -> impl Iterator<Item = usize> {
        let (bag, dataset) = match &self.kind {
            Kind::Bag(bag) => (Some(bag.inputs(topic)), None),
            Kind::Dataset(_) => (None, Some(iter::once(topic))),
        };
        bag.into_iter().flatten().chain(dataset.into_iter().flatten())
    }

    /// The header stamp of a message of a bag.
    pub fn stamp(&self, message: &BagMessage) -> Option<Stamp> {
        match &self.kind {
            Kind::Bag(bag) => bag.stamp(message),
            Kind::Dataset(_) => None,
        }
    }

    /// Whether messages of this topic have a stamp.
    pub fn is_stamped(&self, topic: usize) -> bool {
        match &self.kind {
            Kind::Bag(bag) => bag.is_stamped(topic),
            Kind::Dataset(dataset) => dataset.is_stamped(topic),
        }
    }

    /// The parts that are run one after the other, in the order of time.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let count = match &self.kind {
            Kind::Bag(_) => 1,
            Kind::Dataset(dataset) => dataset.episodes().len(),
        };
        (0..count).map(|index| Segment { recording: self, index })
    }

    /// First and last time.
    pub fn bounds(&self) -> (Stamp, Stamp) {
        match &self.kind {
            Kind::Bag(bag) => bag.bounds(),
            Kind::Dataset(dataset) => dataset.bounds(),
        }
    }

    /// How long the inputs were there: the time from message to message, without gaps and without the time between segments.
    ///
    /// # Errors
    /// As [`Segment::messages`].
    pub fn covered(&self) -> Result<Span, Error> {
        match &self.kind {
            Kind::Bag(bag) => bag.covered(),
            Kind::Dataset(dataset) => Ok(dataset.covered()),
        }
    }

    /// Rows a second of a data set.
    pub fn fps(&self) -> Option<f64> {
        match &self.kind {
            Kind::Bag(_) => None,
            Kind::Dataset(dataset) => Some(dataset.fps()),
        }
    }
}

/// A part of a recording that is run by itself: a bag, or one episode of a data set.
#[derive(Clone, Copy)]
pub struct Segment<'r> {
    recording: &'r Recording,
    index: usize,
}

impl<'r> Segment<'r> {
    /// The episode of the data set.
    pub fn episode(&self) -> Option<usize> {
        match &self.recording.kind {
            Kind::Bag(_) => None,
            Kind::Dataset(dataset) => dataset.episodes().get(self.index).copied(),
        }
    }

    /// First and last time; of an episode, those of its first and last row.
    pub fn bounds(&self) -> (Stamp, Stamp) {
        match &self.recording.kind {
            Kind::Bag(bag) => bag.bounds(),
            Kind::Dataset(dataset) => dataset.bounds_of(self.index),
        }
    }

    /// The end on the replay's clock, of a segment whose last message came at `last`.
    pub fn end(&self, last: Stamp) -> Stamp {
        match &self.recording.kind {
            Kind::Bag(bag) => bag.end(last),
            Kind::Dataset(_) => self.bounds().1,
        }
    }

    /// The inputs' messages in the order of time, each with its time on the replay's clock. Those of one row of a data set have
    /// the same time: the instruction where it changed, then joints, then cameras.
    ///
    /// # Errors
    /// A topic that is not CDR; a missing or damaged file of the episode.
    pub fn messages(&self) -> Result<Messages<'r>, Error> {
        self.messages_from(None)
    }

    /// As [`Self::messages`]; rows of an episode before `from` are left out.
    ///
    /// # Errors
    /// As [`Self::messages`].
    pub fn messages_from(&self, from: Option<Stamp>) -> Result<Messages<'r>, Error> {
        match &self.recording.kind {
            Kind::Bag(bag) => Ok(Messages::Bag(bag.messages()?)),
            Kind::Dataset(dataset) => Ok(Messages::Dataset(Box::new(dataset.messages(self.index, from)?))),
        }
    }

    /// The recorded actions of an episode; `None` for a bag.
    ///
    /// # Errors
    /// [`vla_datasets::Error::Join`] naming each action key whose column is not known; a missing or damaged file of the episode.
    pub fn actions(&self) -> Result<Option<RecordedActions>, Error> {
        match &self.recording.kind {
            Kind::Bag(_) => Ok(None),
            Kind::Dataset(dataset) => dataset.actions(self.index).map(Some),
        }
    }
}

/// A message and its time on the replay's clock.
pub struct TimedMessage {
    /// When it comes.
    pub time: Stamp,
    /// The message.
    pub message: BagMessage,
}

/// See [`Segment::messages`].
pub enum Messages<'r> {
    /// Of a bag.
    Bag(bag::Timed<'r>),
    /// Of an episode.
    Dataset(Box<dataset::EpisodeMessages<'r>>),
}

impl Iterator for Messages<'_> {
    type Item = Result<TimedMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Bag(messages) => messages.next(),
            Self::Dataset(messages) => messages.next(),
        }
    }
}
