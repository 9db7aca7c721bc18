//! Schemas, channels and the topics that they make.

use std::collections::BTreeMap;
use std::path::Path;

use ::mcap::records::{self, Record};

use super::super::{Error, Topic};
use super::damaged;

#[derive(Clone, Debug)]
struct Channel {
    record: records::Channel,
    topic: usize,
}

impl Channel {
    fn is(&self, other: &records::Channel) -> bool {
        self.record.topic == other.topic && self.record.schema_id == other.schema_id
    }
}

/// What channel ids mean in one file.
#[derive(Debug, Default)]
pub(super) struct Registry {
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, Channel>,
    topics: Vec<Topic>,
    conflicts: Vec<Conflict>,
}

/// Two descriptions of one id. Nobody is concerned who reads none of its topics.
#[derive(Debug)]
struct Conflict {
    of: Described,
    /// Name, or topic, of the first description and of the other.
    first: String,
    other: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Described {
    Schema(u16),
    Channel(u16),
}

impl Registry {
    /// Takes note of a Schema or Channel record (others are ignored). A repeated one must say the same: [`Self::judge`].
    pub(super) fn add(&mut self, record: Record<'_>) {
        match record {
            Record::Schema { header, .. } => match self.schemas.get(&header.id) {
                None => {
                    self.schemas.insert(header.id, header.name);
                }
                Some(known) if *known == header.name => {}
                Some(known) => {
                    let of = Described::Schema(header.id);
                    self.conflicts.push(Conflict { of, first: known.clone(), other: header.name });
                }
            },
            Record::Channel(channel) => self.add_channel(channel),
            _ => {}
        }
    }

    /// A channel whose schema is not in the file has no type.
    fn add_channel(&mut self, record: records::Channel) {
        if let Some(known) = self.channels.get(&record.id) {
            if !known.is(&record) {
                let (first, other) = (known.record.topic.clone(), record.topic);
                self.conflicts.push(Conflict { of: Described::Channel(record.id), first, other });
            }
            return;
        }
        let type_name = self.schemas.get(&record.schema_id).filter(|_| record.schema_id != 0);
        let type_name = type_name.cloned().unwrap_or_default();
        let topic = Topic {
            name: record.topic.clone(),
            type_name,
            serialization: record.message_encoding.clone(),
            count: None,
        };
        let index = super::super::merge_topic(&mut self.topics, topic);
        self.channels.insert(record.id, Channel { record, topic: index });
    }

    /// Checks that the descriptions of the wanted topics are of one mind.
    ///
    /// # Errors
    /// The first conflict about one of them.
    pub(super) fn judge(&self, path: &Path, wanted: &dyn Fn(usize) -> bool) -> Result<(), Error> {
        let of_schema = |id, channel: &Channel| channel.record.schema_id == id && wanted(channel.topic);
        let concerns = |conflict: &&Conflict| match conflict.of {
            Described::Schema(id) => self.channels.values().any(|channel| of_schema(id, channel)),
            Described::Channel(id) => self.topic_of(id).is_some_and(wanted) || self.is_named(&conflict.other, wanted),
        };
        let Some(Conflict { of, first, other }) = self.conflicts.iter().find(concerns) else { return Ok(()) };
        let place = match of {
            Described::Schema(id) => format!("schema {id}"),
            Described::Channel(id) => format!("channel {id}"),
        };
        Err(damaged(path, place, format!("'{first}' again"), quoted(other)))
    }

    /// A channel record repeated inside a chunk must be the one that the summary gave, when one of the two is about a wanted topic.
    pub(super) fn agree(
        &self,
        path: &Path,
        record: &records::Channel,
        wanted: &dyn Fn(usize) -> bool,
    ) -> Result<(), Error> {
        let known = self.channels.get(&record.id);
        let concerned = known.is_some_and(|known| wanted(known.topic)) || self.is_named(&record.topic, wanted);
        if !concerned || known.is_some_and(|known| known.is(record)) {
            return Ok(());
        }
        let expected = known.map_or("no such channel".to_owned(), |known| quoted(&known.record.topic));
        Err(damaged(path, format!("channel {}", record.id), expected, quoted(&record.topic)))
    }

    /// Whether a wanted topic has this name.
    fn is_named(&self, name: &str, wanted: &dyn Fn(usize) -> bool) -> bool {
        self.topics.iter().enumerate().any(|(index, topic)| topic.name == name && wanted(index))
    }

    /// The topic of a channel.
    pub(super) fn topic_of(&self, channel: u16) -> Option<usize> {
        self.channels.get(&channel).map(|channel| channel.topic)
    }

    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The topics, with counts summed over their channels when `counts` are known.
    pub(super) fn into_topics(self, counts: Option<&BTreeMap<u16, u64>>) -> (Self, Vec<Topic>) {
        let mut topics = self.topics.clone();
        if let Some(counts) = counts {
            for (id, channel) in &self.channels {
                if let Some(topic) = topics.get_mut(channel.topic) {
                    let count = counts.get(id).copied().unwrap_or(0);
                    topic.count = Some(topic.count.unwrap_or(0).saturating_add(count));
                }
            }
        }
        (self, topics)
    }
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}
