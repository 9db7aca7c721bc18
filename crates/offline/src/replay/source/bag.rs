//! A bag: the topics of the policy's inputs, on the chosen clock.
//!
//! A recorder logs the time of arrival on its own clock. Samples carry the time of their sender. Where the two are the same
//! clock, the log is the time that a node would have seen. A simulator's stamps begin at zero while its recorder's clock shows
//! the date; a bag that was recorded from another bag's playback has the dates of both. Such a bag is refused until it is said
//! which clock counts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::TimedMessage;
use crate::Error;
use crate::replay::ticks::{LONGEST_SILENCE, is_gap};
use vla_bags::{BagMessage, BagReader, Messages};
use vla_base::time::{Span, Stamp};
use vla_messages::sample_stamp;
use vla_policy::observation::{InputKind, InputTopic};
use vla_runtime::parameters::Settings;

/// Maximum plausible delay from a sample's sender to the recorder.
const LONGEST_DELAY: Span = Span::from_nanos(60_000_000_000);
/// Samples of each input that show its clock, and messages that are looked through for them.
const SAMPLES: usize = 9;
const MESSAGES: usize = 4096;
/// What a simulator publishes its time with.
const CLOCK_TYPE: &str = "rosgraph_msgs/msg/Clock";

/// The clock that a replay runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BagClock {
    /// The recorder's: each message comes at its log time.
    Log,
    /// The senders': messages come in the order of the log, and the clock shows the latest header stamp so far.
    Header,
}

impl FromStr for BagClock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "log" => Ok(Self::Log),
            "header" => Ok(Self::Header),
            _ => Err(format!("expected log or header, found '{text}'")),
        }
    }
}

/// A bag, and how it is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BagSource {
    /// The bag: a file or a folder.
    pub bag: PathBuf,
    /// The clock; `None`: the log's, where the header stamps are of the same.
    pub clock: Option<BagClock>,
    /// Reads what is left of a bag that is cut or damaged ([`BagReader::recover`]), which is refused otherwise.
    pub recover: bool,
}

impl BagSource {
    /// Opens the bag.
    pub(crate) fn open(&self) -> Result<BagReader, vla_bags::Error> {
        if self.recover { BagReader::recover(&self.bag) } else { BagReader::open(&self.bag) }
    }
}

impl<P: Into<PathBuf>> From<P> for BagSource {
    fn from(bag: P) -> Self {
        Self { bag: bag.into(), ..Self::default() }
    }
}

/// A bag opened for the inputs of a policy.
pub(super) struct BagRecording {
    bag: BagReader,
    /// Topic of the bag and topic of the inputs ([`InputTopic::of`]).
    topics: Vec<(usize, usize)>,
    /// Topics of the inputs, with the name of the first input of each.
    inputs: Vec<(InputTopic, String)>,
    /// Message type of each topic of the bag that is read for its stamps.
    stamped: Vec<Option<&'static str>>,
    /// The first header stamp, when the replay runs on those.
    start: Option<Stamp>,
}

impl BagRecording {
    /// Opens the bag and finds the topics of the inputs.
    ///
    /// # Errors
    /// A bag that cannot be read, lacks a topic, or whose header stamps and log are of two clocks while none is chosen.
    pub(super) fn open(source: &BagSource, settings: &Settings) -> Result<Self, Error> {
        let bag = source.open()?;
        let inputs = input_topics(settings);
        let topics = join_topics(&bag, settings, &inputs, &source.bag)?;
        let mut stamped = vec![None; bag.topics().len()];
        for (topic, input) in &topics {
            // Static transforms may have been stamped long before the bag.
            let is_stamped = |topic: &&InputTopic| topic.kind.is_stamped() && !topic.is_static;
            let kind = inputs.get(*input).map(|(topic, _)| topic).filter(is_stamped).map(|topic| topic.kind);
            if let (Some(kind), Some(slot)) = (kind, stamped.get_mut(*topic)) {
                *slot = Some(kind.type_name());
            }
        }
        let mut recording = Self { bag, topics, inputs, stamped, start: None };
        if source.clock != Some(BagClock::Log) {
            let clocks = recording.clocks()?;
            match source.clock {
                Some(_) => recording.start = Some(header_start(&source.bag, &clocks)?),
                None => one_clock(&recording.bag, &clocks)?,
            }
        }
        Ok(recording)
    }

    /// The header stamp of a message.
    pub(super) fn stamp(&self, message: &BagMessage) -> Option<Stamp> {
        stamp_of(&self.stamped, message)
    }

    /// The topics of the inputs ([`Inputs::topics`](vla_policy::observation::Inputs::topics)) that this topic of the bag gives.
    pub(super) fn inputs(&self, topic: usize) -> impl Iterator<Item = usize> {
        self.topics.iter().filter(move |(wanted, _)| *wanted == topic).map(|(_, input)| *input)
    }

    /// Whether messages of this topic have a stamp.
    pub(super) fn is_stamped(&self, topic: usize) -> bool {
        self.stamped.get(topic).is_some_and(Option::is_some)
    }

    /// First and last time in the log.
    pub(super) fn bounds(&self) -> (Stamp, Stamp) {
        (self.bag.start(), self.bag.end())
    }

    /// The end on the replay's clock: the log's, or that of the last message.
    pub(super) fn end(&self, last: Stamp) -> Stamp {
        if self.start.is_some() { last } else { self.bag.end() }
    }

    /// How long the inputs were there: the time from message to message without the gaps.
    ///
    /// # Errors
    /// As [`Self::messages`].
    pub(super) fn covered(&self) -> Result<Span, Error> {
        let (mut covered, mut last) = (0i64, None);
        for message in self.messages()? {
            let time = message?.time;
            if let Some(last) = last.filter(|last| !is_gap(*last, time)) {
                covered = covered.saturating_add((time - last).nanos().max(0));
            }
            last = Some(time);
        }
        Ok(Span::from_nanos(covered))
    }

    /// The inputs' messages in the order of the log, each with its time on the replay's clock.
    ///
    /// # Errors
    /// A topic that is not CDR.
    pub(super) fn messages(&self) -> Result<Timed<'_>, Error> {
        let clock = self.start.map(HeaderClock::new);
        Ok(Timed { messages: self.raw()?, stamped: &self.stamped, clock })
    }

    fn raw(&self) -> Result<Messages<'_>, Error> {
        let wanted: Vec<usize> = self.topics.iter().map(|(topic, _)| *topic).collect();
        Ok(self.bag.messages(&wanted)?)
    }

    /// The first samples of each input that have a stamp.
    fn clocks(&self) -> Result<Vec<InputClock>, Error> {
        let stamped = self.topics.iter().filter(|(topic, _)| self.is_stamped(*topic));
        let named = stamped.filter_map(|(topic, input)| Some((*topic, self.inputs.get(*input)?.1.clone())));
        let mut clocks: Vec<_> = named.map(|(topic, name)| InputClock { topic, name, samples: Vec::new() }).collect();
        for message in self.raw()?.take(MESSAGES) {
            if clocks.iter().all(|clock| clock.samples.len() >= SAMPLES) {
                break;
            }
            let message = message?;
            let Some(stamp) = stamp_of(&self.stamped, &message) else { continue };
            let reads = |clock: &&mut InputClock| clock.topic == message.topic && clock.samples.len() < SAMPLES;
            clocks.iter_mut().filter(reads).for_each(|clock| clock.samples.push((stamp, message.log_time)));
        }
        clocks.retain(|clock| !clock.samples.is_empty());
        clocks.iter_mut().for_each(|clock| clock.samples.sort_by_key(|(stamp, log)| *stamp - *log));
        Ok(clocks)
    }
}

/// Header stamps of an input beside their log times, by the distance of the two.
struct InputClock {
    topic: usize,
    name: String,
    samples: Vec<(Stamp, Stamp)>,
}

impl InputClock {
    /// The sample in the middle: one wrong stamp or log time does not decide.
    fn middle(&self) -> (Stamp, Stamp) {
        self.samples.get(self.samples.len() / 2).copied().unwrap_or_default()
    }

    fn ahead(&self) -> Span {
        let (stamp, log) = self.middle();
        stamp - log
    }
}

impl fmt::Display for InputClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stamp, log) = self.middle();
        write!(f, "input '{}': header stamp {stamp}, logged at {log}", self.name)
    }
}

/// Without a choice, the header stamps must be of the log's clock.
fn one_clock(bag: &BagReader, clocks: &[InputClock]) -> Result<(), Error> {
    let other = clocks.iter().filter(|clock| clock.ahead().abs() > LONGEST_DELAY);
    let inputs: Vec<String> = other.map(InputClock::to_string).collect();
    if inputs.is_empty() {
        return Ok(());
    }
    let simulated = bag.topics().iter().find(|topic| topic.type_name == CLOCK_TYPE).map(|topic| topic.name.clone());
    Err(Error::TwoClocks { bag: bag.path().to_owned(), inputs, simulated })
}

/// The first header stamp, when all inputs' are of one clock.
fn header_start(bag: &Path, clocks: &[InputClock]) -> Result<Stamp, Error> {
    let refused = |reason: String| Error::HeaderClock { bag: bag.to_owned(), reason };
    let first = clocks.first().ok_or_else(|| refused("no input's first messages have one".to_owned()))?;
    if let Some(other) = clocks.iter().find(|clock| !are_near(clock.ahead(), first.ahead())) {
        return Err(refused(format!("two inputs' are of different clocks ({first}; {other})")));
    }
    let near = |clock: &InputClock, (stamp, log): (Stamp, Stamp)| are_near(stamp - log, clock.ahead());
    let usual = clocks.iter().flat_map(|clock| clock.samples.iter().filter(move |sample| near(clock, **sample)));
    usual.map(|(stamp, _)| *stamp).min().ok_or_else(|| refused("no two stamps are near each other".to_owned()))
}

fn are_near(one: Span, other: Span) -> bool {
    one.nanos().abs_diff(other.nanos()) <= LONGEST_DELAY.nanos().unsigned_abs()
}

/// The stamp of a message of an input that has one; zero was never set.
fn stamp_of(stamped: &[Option<&'static str>], message: &BagMessage) -> Option<Stamp> {
    let type_name = stamped.get(message.topic).copied().flatten()?;
    sample_stamp(type_name, &message.data).ok().filter(|stamp| *stamp != Stamp::default())
}

/// See [`BagRecording::messages`].
pub struct Timed<'r> {
    messages: Messages<'r>,
    stamped: &'r [Option<&'static str>],
    /// `None`: the log's.
    clock: Option<HeaderClock>,
}

impl Iterator for Timed<'_> {
    type Item = Result<TimedMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = match self.messages.next()? {
            Ok(message) => message,
            Err(error) => return Some(Err(error.into())),
        };
        let time = match &mut self.clock {
            Some(clock) => clock.at(stamp_of(self.stamped, &message)),
            None => message.log_time,
        };
        Some(Ok(TimedMessage { time, message }))
    }
}

/// The senders' clock, read off the stamps in the order in which messages arrived.
struct HeaderClock {
    now: Stamp,
    /// The last stamp was far from `now`.
    jumped: bool,
}

impl HeaderClock {
    fn new(start: Stamp) -> Self {
        Self { now: start, jumped: false }
    }

    /// The time when a message with this stamp arrives: that of the latest stamp. One stamp far ahead or behind is wrong; two
    /// in a row are a pause, or a simulation that was started again.
    fn at(&mut self, stamp: Option<Stamp>) -> Stamp {
        let Some(stamp) = stamp else { return self.now };
        let jump = (stamp - self.now).abs() > LONGEST_SILENCE;
        if stamp > self.now && !jump || jump && self.jumped {
            self.now = stamp;
        }
        self.jumped = jump && !self.jumped;
        self.now
    }
}

/// The topics of the inputs, each with the name of its first input.
fn input_topics(settings: &Settings) -> Vec<(InputTopic, String)> {
    let named = |topic: InputTopic| {
        let first = topic.inputs.first().and_then(|index| settings.inputs.get(*index))?;
        Some((topic, first.name.clone()))
    };
    InputTopic::of(&settings.inputs).into_iter().filter_map(named).collect()
}

/// (topic of the bag, topic of the inputs) for every topic of the inputs; a bag may do without the instruction topic when the
/// parameters give one. A topic without a type is taken for what is expected of it.
fn join_topics(
    bag: &BagReader,
    settings: &Settings,
    inputs: &[(InputTopic, String)],
    path: &Path,
) -> Result<Vec<(usize, usize)>, Error> {
    let mut joined = Vec::new();
    let mut problems = Vec::new();
    for (index, (topic, input)) in inputs.iter().enumerate() {
        let expected = topic.kind.type_name();
        // A relative topic of the settings is what a node in the root namespace would subscribe.
        let name = if topic.name.starts_with('/') { topic.name.to_string() } else { format!("/{}", topic.name) };
        let named: Vec<_> = bag.topics().iter().enumerate().filter(|(_, topic)| topic.name == name).collect();
        // Of two serializations the one that can be read.
        let of_type = |type_name: &str| {
            let mut found = named.iter().filter(|(_, topic)| topic.type_name == type_name);
            found.clone().find(|(_, topic)| topic.serialization == "cdr").or_else(|| found.next())
        };
        if let Some((found_at, found)) = of_type(expected).or_else(|| of_type("")) {
            if found.type_name.is_empty() {
                tracing::warn!("the bag has no type of topic {name}; it is read as {expected} for input '{input}'");
            }
            if named.len() > 1 {
                tracing::warn!("the bag has {name} with several types; only {expected} is read for input '{input}'");
            }
            joined.push((*found_at, index));
        } else if let Some((_, found)) = named.first() {
            problems.push(format!("topic {name}: expected {expected} for input '{input}', found {}", found.type_name));
        } else if topic.is_static {
            tracing::info!(
                "the bag has no topic {name} ({expected}) for input '{input}'; only moving transforms are known"
            );
        } else if topic.kind != InputKind::Instruction {
            problems.push(format!("no topic {name} ({expected}) for input '{input}'"));
        } else if settings.instruction.is_empty() {
            problems.push(format!(
                "no topic {name} ({expected}) and no instruction: set the parameter `instruction`, or record the topic"
            ));
        }
    }
    if problems.is_empty() {
        return Ok(joined);
    }
    let has: Vec<String> = bag.topics().iter().map(|topic| format!("{} ({})", topic.name, topic.type_name)).collect();
    problems.push(format!("the bag has {}; set inputs.*.topic in the parameters", has.join(", ")));
    Err(Error::Topics { bag: path.to_owned(), problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Stamp {
        Stamp::default() + Span::from_seconds(seconds)
    }

    #[test]
    fn the_header_clock_shows_the_latest_stamp_and_one_wrong_stamp_does_not_move_it() {
        let mut clock = HeaderClock::new(at(42.0));
        let stamps = [None, Some(42.1), Some(42.05), Some(1e9), Some(42.2), Some(0.5), Some(42.3), None];
        let times: Vec<Stamp> = stamps.iter().map(|stamp| clock.at(stamp.map(at))).collect();
        assert_eq!(times, [42.0, 42.1, 42.1, 42.1, 42.2, 42.2, 42.3, 42.3].map(at));
    }

    #[test]
    fn the_header_clock_follows_a_pause_and_a_simulation_that_starts_again() {
        let mut clock = HeaderClock::new(at(42.0));
        let stamps = [42.1, 300.0, 300.1, 300.2, 0.1, 0.2, 0.3];
        assert_eq!(stamps.map(|stamp| clock.at(Some(at(stamp)))), [42.1, 42.1, 300.1, 300.2, 300.2, 0.2, 0.3].map(at));
    }
}
