//! MCAP files out.

use std::path::Path;

use vla_bags::{BagReader, BagWriter, Qos};
use vla_base::time::Stamp;
use vla_recorder::Error;

use super::fixture::*;

fn write(path: &Path, messages: &[Message]) {
    let mut bag = BagWriter::create(path).expect("a bag");
    let joints = bag.add_topic(JOINTS, "sensor_msgs/msg/JointState", "string data").expect("a topic");
    let text = bag.add_topic_with_qos(TEXT, "std_msgs/msg/String", "string data", Qos::LATCHED).expect("a topic");
    for (topic, time, data) in messages {
        let id = if topic == TEXT { text } else { joints };
        bag.write(id, Stamp::from_nanos(*time), data).expect("written");
    }
    bag.finish().expect("finished");
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.mcap");
    let messages: Vec<Message> = jumbled(5000);
    write(&path, &messages);
    let bag = BagReader::open(&path).expect("a bag");
    assert_eq!(read_all(&bag).expect("read"), sorted(&messages));
    assert_eq!(bag.topics()[0].name, JOINTS);
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1);
}

#[test]
fn the_file_says_what_rosbag2_expects() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.mcap");
    write(&path, &jumbled(10));
    let bytes = std::fs::read(&path).expect("the bytes");
    let summary = mcap::Summary::read(&bytes).expect("a summary").expect("one");
    assert_eq!(summary.stats.as_ref().expect("statistics").message_count, 10);
    assert!(!summary.chunk_indexes.is_empty());
    for channel in summary.channels.values() {
        assert_eq!(channel.message_encoding, "cdr");
        assert_eq!(channel.schema.as_ref().expect("a schema").encoding, "ros2msg");
        let qos: serde_yaml::Value =
            serde_yaml::from_str(&channel.metadata["offered_qos_profiles"]).expect("QoS is YAML");
        let latched = channel.topic == TEXT;
        assert_eq!(qos[0]["history"], 1);
        assert_eq!(qos[0]["depth"], if latched { 1 } else { 10 });
        assert_eq!(qos[0]["reliability"], 1);
        assert_eq!(qos[0]["durability"], if latched { 1 } else { 2 });
        assert_eq!(qos[0]["liveliness_lease_duration"]["sec"], 9_223_372_036u64);
    }
    let index = summary.metadata_indexes.iter().find(|index| index.name == "rosbag2").expect("rosbag2's metadata");
    let record = mcap::read::metadata(&bytes, index).expect("the record");
    let yaml: serde_yaml::Value = serde_yaml::from_str(&record.metadata["serialized_metadata"]).expect("YAML");
    assert_eq!(yaml["message_count"], 10);
    assert_eq!(yaml["starting_time"]["nanoseconds_since_epoch"], 905);
    assert_eq!(yaml["duration"]["nanoseconds"], 135);
    let topics = yaml["topics_with_message_count"].as_sequence().expect("topics");
    assert_eq!(topics[1]["topic_metadata"]["name"], TEXT);
    assert_eq!(topics[1]["message_count"], 4);
}

#[test]
fn the_same_messages_give_the_same_bytes_under_any_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let (one, two) = (dir.path().join("one.mcap"), dir.path().join("another_name.mcap"));
    write(&one, &jumbled(3000));
    write(&two, &jumbled(3000));
    assert_eq!(std::fs::read(one).expect("bytes"), std::fs::read(two).expect("bytes"));
}

#[test]
fn a_bag_that_is_not_finished_leaves_the_old_one_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.mcap");
    write(&path, &jumbled(3));
    let before = std::fs::read(&path).expect("bytes");
    let mut bag = BagWriter::create(&path).expect("a bag");
    let topic = bag.add_topic("/new", "std_msgs/msg/String", "string data").expect("a topic");
    bag.write(topic, Stamp::from_nanos(1), &payload(1, 1000)).expect("written");
    drop(bag);
    assert_eq!(std::fs::read(&path).expect("bytes"), before);
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1);
    write(&path, &jumbled(4));
    assert_eq!(read(&path).expect("read").len(), 4, "a finished bag replaces the old one");
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = BagWriter::create(dir.path()).err().expect("a folder");
    assert!(matches!(folder, Error::Output(vla_base::sys::fs::Error::NoFile { .. })), "{folder}");
    let nowhere = BagWriter::create(&dir.path().join("none/out.mcap")).err().expect("no such folder");
    assert!(matches!(nowhere, Error::Output(vla_base::sys::fs::Error::NoFolder { .. })), "{nowhere}");
    let mut bag = BagWriter::create(&dir.path().join("out.mcap")).expect("a bag");
    let topic = bag.add_topic(TEXT, "std_msgs/msg/String", "string data").expect("a topic");
    assert_eq!(bag.add_topic(TEXT, "std_msgs/msg/String", "string data").expect("the same"), topic);
    let other = bag.add_topic(TEXT, "std_msgs/msg/Bool", "bool data").expect_err("another type");
    assert!(matches!(other, Error::ConflictingTypes { .. }), "{other}");
    let early = bag.write(topic, Stamp::from_nanos(-5), b"").expect_err("before the epoch");
    assert!(matches!(early, Error::LogTime { nanos: -5, .. }), "{early}");
}
