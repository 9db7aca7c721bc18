//! Inference times of a node, from a recording of it: when each of its chunks was inferred, and with which latency.
//!
//! A node's inference begins between two messages; a recorder cannot say between which two, to the microsecond. The chunk names the stamp
//! of every input that it was inferred from, which decides for messages that were logged at about that time.

use std::collections::BTreeMap;

use super::Source;
use super::source::Recording;
use crate::Error;
use vla_base::time::{Span, Stamp};
use vla_messages::ActionChunkMessage;
use vla_runtime::parameters::Settings;

/// A message logged this near an inference may be one of before or after it.
const NEAR: Span = Span::from_nanos(20_000_000);

/// One inference of the recording.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RecordedInference {
    /// When it began.
    pub(super) at: Stamp,
    /// From there to the publication of its chunk.
    pub(super) latency: Span,
    /// Stamp of each input.
    stamps: BTreeMap<String, Stamp>,
}

/// The inferences of a recording, in order.
pub(crate) struct RecordedInferences {
    all: std::vec::IntoIter<RecordedInference>,
    next: Option<RecordedInference>,
}

impl RecordedInferences {
    /// Those of the node that published its chunks on `topic`.
    ///
    /// # Errors
    /// A bag that cannot be read or has no such topic, and chunks that cannot be parsed.
    pub(super) fn load(source: &Source, topic: &str) -> Result<Self, Error> {
        let Source::Bag(source) = source else {
            let problems = vec![
                "a data set has no times of inference; --as-recorded needs a bag of the node (record.path)".to_owned(),
            ];
            return Err(Error::Topics { bag: source.path().to_owned(), problems });
        };
        let bag = source.open()?;
        let wanted = |found: &vla_bags::Topic| found.name == topic && found.type_name == ActionChunkMessage::TYPE;
        let Some(index) = bag.topics().iter().position(wanted) else {
            let problem = format!(
                "no topic {topic} ({}), from which --as-recorded takes the times of inference; record the node with record.path, or \
                 give its name with --node-name and --namespace",
                ActionChunkMessage::TYPE
            );
            return Err(Error::Topics { bag: source.bag.clone(), problems: vec![problem] });
        };
        let inference = |message: Result<vla_bags::BagMessage, vla_bags::Error>| {
            let message = message?;
            let chunk = ActionChunkMessage::parse(&message.data)
                .map_err(|source| Error::Golden { file: bag.path().to_owned(), source })?;
            Ok(RecordedInference {
                at: message.log_time - chunk.inference_latency,
                latency: chunk.inference_latency,
                stamps: chunk.input_names.into_iter().zip(chunk.input_stamps).collect(),
            })
        };
        let all = bag.messages(&[index])?.map(inference).collect::<Result<Vec<_>, Error>>()?;
        let mut all = all.into_iter();
        let next = all.next();
        Ok(Self { all, next })
    }

    /// The next inference before a message that comes at `time` with a `stamp` for these inputs, then the next one, until there is
    /// none.
    pub(super) fn next_before<'n>(
        &mut self,
        time: Stamp,
        stamp: Option<Stamp>,
        mut inputs: impl Iterator<Item = &'n str>,
    ) -> Option<RecordedInference> {
        let next = self.next.as_ref()?;
        let known = stamp.zip(inputs.find_map(|input| next.stamps.get(input)));
        let is_after = match known {
            Some((stamp, used)) if (time - next.at).abs() <= NEAR => stamp > *used,
            _ => time > next.at,
        };
        if is_after { self.take() } else { None }
    }

    /// The next inference after the last message.
    pub(super) fn take(&mut self) -> Option<RecordedInference> {
        std::mem::replace(&mut self.next, self.all.next())
    }
}

/// Names of the inputs that a topic of the bag gives.
pub(super) fn names<'s>(
    recording: &'s Recording,
    settings: &'s Settings,
    inputs: &'s [vla_policy::observation::InputTopic],
    topic: usize,
) -> impl Iterator<Item = &'s str> {
    let of_topic = recording.inputs(topic).filter_map(|input| inputs.get(input));
    of_topic.flat_map(|topic| &topic.inputs).filter_map(|input| Some(settings.inputs.get(*input)?.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(1_760_000_000_000_000_000 + ms * 1_000_000)
    }

    fn inferences(all: &[(i64, i64)]) -> RecordedInferences {
        let inference = |&(ms, stamp): &(i64, i64)| RecordedInference {
            at: at(ms),
            latency: Span::from_millis(50.0),
            stamps: [("top".to_owned(), at(stamp))].into(),
        };
        let mut all: std::vec::IntoIter<_> = all.iter().map(inference).collect::<Vec<_>>().into_iter();
        let next = all.next();
        RecordedInferences { all, next }
    }

    #[test]
    fn a_message_near_an_inference_comes_before_it_when_the_chunk_names_it() {
        let mut recorded = inferences(&[(1000, 990), (2000, 1990)]);
        let mut next = |time, stamp, name| {
            recorded.next_before(at(time), Some(at(stamp)), std::iter::once(name)).map(|inference| inference.at)
        };
        assert_eq!(next(900, 890, "top"), None);
        assert_eq!(next(1001, 990, "top"), None, "it was logged later, and used");
        assert_eq!(next(999, 998, "top"), Some(at(1000)), "it was logged before, and not used");
        assert_eq!(next(999, 998, "top"), None);
        assert_eq!(next(1999, 1998, "other"), None, "the time decides");
        assert_eq!(next(2001, 1998, "other"), Some(at(2000)));
        assert_eq!(next(3000, 3000, "top"), None, "there is no more");
    }
}
