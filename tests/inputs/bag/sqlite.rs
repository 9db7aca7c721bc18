//! rosbag2's SQLite files in.

use rusqlite::Connection;
use vla_bags::{BagReader, Error};

use super::fixture::*;

/// A bag of a few messages, then changed by these statements, then read.
fn changed(sql: &str) -> Result<Vec<Message>, Error> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &jumbled(50));
    Connection::open(&path).expect("the database").execute_batch(sql).expect("changed");
    read(&path)
}

#[test]
fn the_sample_bag_as_sqlite_gives_the_messages_of_the_mcap() {
    let mcap = BagReader::open(&sample()).expect("the sample bag");
    let messages = read_all(&mcap).expect("read");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("aloha_cube.db3");
    write_sqlite(&path, mcap.topics(), &messages);
    let bag = BagReader::open(&path).expect("a bag");
    assert_eq!(read_all(&bag).expect("read"), messages);
    assert_eq!((bag.start(), bag.end()), (mcap.start(), mcap.end()));
    assert_eq!(bag.message_count(), 641);
    for (topic, other) in bag.topics().iter().zip(mcap.topics()) {
        assert_eq!((&topic.name, &topic.type_name), (&other.name, &other.type_name));
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("the folder").collect();
    assert_eq!(left.len(), 1, "reading leaves nothing beside the bag");
}

#[test]
fn messages_come_in_log_time_order_also_without_the_index() {
    assert_eq!(changed("").expect("read"), sorted(&jumbled(50)));
    assert_eq!(changed("DROP INDEX timestamp_idx").expect("read"), sorted(&jumbled(50)));
}

#[test]
fn only_the_topics_asked_for_come() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &jumbled(50));
    let bag = BagReader::open(&path).expect("a bag");
    let joints = bag.find(JOINTS).expect("the topic");
    let read: Vec<_> = bag.messages(&[joints]).expect("messages").map(|message| message.expect("one")).collect();
    assert_eq!(read.len(), jumbled(50).iter().filter(|message| message.0 == JOINTS).count());
    assert!(read.iter().all(|message| message.topic == joints));
}

#[test]
fn a_name_full_of_special_characters_is_only_a_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("b#g?mode=rwc&x=%41 ü.db3");
    write_sqlite(&path, &two_topics(), &jumbled(5));
    assert_eq!(read(&path).expect("read"), sorted(&jumbled(5)));
}

#[test]
fn a_bag_in_write_ahead_mode_is_read_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &jumbled(5));
    Connection::open(&path).expect("the database").execute_batch("PRAGMA journal_mode = WAL").expect("changed");
    assert_eq!(read(&path).expect("read"), sorted(&jumbled(5)));
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1);
    // A recorder that was killed leaves its last messages in the -wal file: they belong to the bag.
    let recorder = Connection::open(&path).expect("the database");
    recorder
        .execute_batch("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 99999, x'00010000')")
        .expect("one more");
    assert_eq!(read(&path).expect("read").len(), 6);
}

#[test]
fn what_is_wrong_inside_is_named() {
    let cases = [
        ("DROP TABLE topics", "without a table 'topics'"),
        ("DROP TABLE messages", "without a table 'messages'"),
        (
            "DROP TABLE messages; CREATE VIEW messages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
             FROM n) SELECT i AS id, 1 AS topic_id, i AS timestamp, x'00' AS data FROM n",
            "without a table 'messages'",
        ),
        ("ALTER TABLE messages RENAME COLUMN data TO payload", "data"),
        ("ALTER TABLE topics RENAME COLUMN type TO kind", "type"),
        ("UPDATE messages SET timestamp = 'noon' WHERE id = 7", "Invalid column type"),
        ("UPDATE messages SET topic_id = 9 WHERE id = 7", "topic_id 9"),
        ("UPDATE messages SET data = 'text' WHERE id = 7", "data as a blob"),
        ("DELETE FROM messages", "is empty"),
        ("UPDATE topics SET serialization_format = 'protobuf'", "'protobuf'"),
    ];
    for (sql, words) in cases {
        assert_says(&changed(sql).expect_err(sql), &["bag.db3", words]);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &jumbled(300));
    let bytes = std::fs::read(&path).expect("the bytes");
    for length in [16, 50, 99, 100, 4000, 4096, bytes.len() / 2, bytes.len() - 1] {
        let (_dir, path) = file("cut.db3", &bytes[..length]);
        assert_says(&read(&path).expect_err("a cut file"), &["cut.db3", "truncated", ".recover"]);
    }
}

#[test]
fn damaged_pages_give_messages_or_an_error_in_words() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &jumbled(60));
    let bytes = std::fs::read(&path).expect("the bytes");
    let broken_path = dir.path().join("broken.db3");
    for at in (0..bytes.len()).step_by(37) {
        let mut broken = bytes.clone();
        for byte in &mut broken[at..(at + 5).min(bytes.len())] {
            *byte ^= 0xa5;
        }
        std::fs::write(&broken_path, &broken).expect("written");
        if let Err(error) = read(&broken_path) {
            assert_says(&error, &["broken.db3"]);
        }
    }
}
