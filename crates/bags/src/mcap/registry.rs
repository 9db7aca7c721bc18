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

/// What channel ids mean in one file.
#[derive(Debug, Default)]
pub(super) struct Registry {
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, Channel>,
    topics: Vec<Topic>,
}

impl Registry {
    /// Takes note of a Schema or Channel record (others are ignored); a repeated one must say the same.
    pub(super) fn add(&mut self, path: &Path, record: Record<'_>) -> Result<(), Error> {
        match record {
            Record::Schema { header, .. } => match self.schemas.get(&header.id) {
                None => {
                    self.schemas.insert(header.id, header.name);
                    Ok(())
                }
                Some(known) if *known == header.name => Ok(()),
                Some(known) => Err(damaged(
                    path,
                    format!("schema {}", header.id),
                    format!("'{known}' again"),
                    quoted(&header.name),
                )),
            },
            Record::Channel(channel) => self.add_channel(path, channel),
            _ => Ok(()),
        }
    }

    fn add_channel(&mut self, path: &Path, record: records::Channel) -> Result<(), Error> {
        if self.channels.contains_key(&record.id) {
            return self.agree(path, &record);
        }
        let type_name = match (record.schema_id, self.schemas.get(&record.schema_id)) {
            (0, _) => String::new(),
            (_, Some(name)) => name.clone(),
            (id, None) => {
                let place = format!("channel {} ({})", record.id, record.topic);
                return Err(damaged(path, place, format!("schema {id} before it"), "no such schema".to_owned()));
            }
        };
        let topic = Topic {
            name: record.topic.clone(),
            type_name,
            serialization: record.message_encoding.clone(),
            count: None,
        };
        let index = super::super::merge_topic(&mut self.topics, topic);
        self.channels.insert(record.id, Channel { record, topic: index });
        Ok(())
    }

    /// A channel record repeated inside a chunk must be the one that the summary gave.
    pub(super) fn agree(&self, path: &Path, record: &records::Channel) -> Result<(), Error> {
        match self.channels.get(&record.id) {
            Some(known) if known.record.topic == record.topic && known.record.schema_id == record.schema_id => Ok(()),
            known => Err(damaged(
                path,
                format!("channel {}", record.id),
                known.map_or("no such channel".to_owned(), |known| quoted(&known.record.topic)),
                quoted(&record.topic),
            )),
        }
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
