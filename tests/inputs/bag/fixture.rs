//! Bags made in memory by other libraries than the one under test.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;
use mcap::{WriteOptions, Writer};
use rusqlite::Connection;
use vla_bags::{BagReader, Error, Topic};

/// A message as the tests see it: topic, log time (ns), data.
pub(crate) type Message = (String, i64, Vec<u8>);

pub(crate) const JOINTS: &str = "/joint_states";
pub(crate) const TEXT: &str = "/instruction";

/// The project's sample bag.
pub(crate) fn sample() -> PathBuf {
    vla_trt_tests::root().join("data/aloha_cube")
}

/// A payload that looks like CDR and can be found again in a file.
pub(crate) fn payload(number: usize, length: usize) -> Vec<u8> {
    let mut data = vec![0, 1, 0, 0];
    data.extend_from_slice(&(number as u64).to_le_bytes());
    data.extend((0..length).map(|byte| (byte * 31 + number * 7) as u8));
    data
}

/// Messages of two topics whose times jump back now and then, with equal times among them.
pub(crate) fn jumbled(count: usize) -> Vec<Message> {
    (0..count)
        .map(|i| {
            let topic = if i % 3 == 0 { TEXT } else { JOINTS };
            let time = 1_000 + 10 * (i as i64 / 2) - if i % 7 == 0 { 95 } else { 0 };
            (topic.to_owned(), time, payload(i, i % 40))
        })
        .collect()
}

/// Log-time order, equal times as they were written.
pub(crate) fn sorted(messages: &[Message]) -> Vec<Message> {
    let mut sorted = messages.to_vec();
    sorted.sort_by_key(|message| message.1);
    sorted
}

/// An MCAP file with these messages, in this order.
pub(crate) fn mcap_bytes(options: WriteOptions, messages: &[Message]) -> Vec<u8> {
    let mut writer = Writer::with_options(Cursor::new(Vec::new()), options.profile("ros2")).expect("a writer");
    let mut channels = BTreeMap::new();
    for (number, (topic, time, data)) in messages.iter().enumerate() {
        let channel_id = *channels.entry(topic.clone()).or_insert_with(|| {
            let name = if topic == TEXT { "std_msgs/msg/String" } else { "sensor_msgs/msg/JointState" };
            let schema = writer.add_schema(name, "ros2msg", b"string data").expect("a schema");
            writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).expect("a channel")
        });
        let time = *time as u64;
        let header = MessageHeader { channel_id, sequence: number as u32, log_time: time, publish_time: time };
        writer.write_to_known_channel(&header, data).expect("written");
    }
    writer.finish().expect("finished");
    writer.into_inner().into_inner()
}

/// All messages of an opened bag.
pub(crate) fn read_all(bag: &BagReader) -> Result<Vec<Message>, Error> {
    let topics: Vec<usize> = (0..bag.topics().len()).collect();
    bag.messages(&topics)?
        .map(|message| {
            let message = message?;
            Ok((bag.topics()[message.topic].name.clone(), message.log_time.nanos(), message.data.to_vec()))
        })
        .collect()
}

/// Opens and reads everything.
pub(crate) fn read(path: &Path) -> Result<Vec<Message>, Error> {
    read_all(&BagReader::open(path)?)
}

/// Writes a file into a new folder; the folder lives as long as the first value.
pub(crate) fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    (dir, path)
}

/// Fails unless the error's text holds every one of these.
#[track_caller]
pub(crate) fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "expected '{word}' in: {text}");
    }
}

/// The only place of these bytes in a file.
#[track_caller]
pub(crate) fn place_of(bytes: &[u8], part: &[u8]) -> usize {
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(part)).collect();
    assert_eq!(places.len(), 1, "places of the part: {places:?}");
    places[0]
}

/// The tables that rosbag2 of Jazzy makes.
const SCHEMA: &str = "
    CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
    CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
        serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
        encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
        data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
    INSERT INTO schema VALUES (4, 'jazzy');";

/// A .db3 file with these messages, in this order.
pub(crate) fn write_sqlite(path: &Path, topics: &[Topic], messages: &[Message]) {
    let mut connection = Connection::open(path).expect("a database");
    // Nothing is synced: the tests write thousands of these.
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY").expect("settings");
    connection.execute_batch(SCHEMA).expect("tables");
    let all = connection.transaction().expect("a transaction");
    for (id, topic) in topics.iter().enumerate() {
        let values = (id as i64 + 1, &topic.name, &topic.type_name, &topic.serialization);
        all.execute("INSERT INTO topics VALUES (?1, ?2, ?3, ?4, '', '')", values).expect("a topic");
    }
    for (name, time, data) in messages {
        let topic = topics.iter().position(|topic| topic.name == *name).expect("the topic") as i64 + 1;
        all.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?1, ?2, ?3)", (topic, time, data))
            .expect("a message");
    }
    all.commit().expect("committed");
}

/// The topics of [`jumbled`].
pub(crate) fn two_topics() -> Vec<Topic> {
    [(TEXT, "std_msgs/msg/String"), (JOINTS, "sensor_msgs/msg/JointState")]
        .map(|(name, type_name)| Topic {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            serialization: "cdr".to_owned(),
            count: None,
        })
        .to_vec()
}
