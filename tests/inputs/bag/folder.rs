//! Folders with metadata.yaml.

use std::path::Path;

use mcap::{Compression, WriteOptions};
use vla_bags::{BagReader, METADATA_FILE_NAME, Topic};

use super::fixture::*;

fn metadata(folder: &Path, files: &[&str], extra: &str) {
    let files: String = files.iter().map(|file| format!("  - {file}\n")).collect();
    let text = format!("rosbag2_bagfile_information:\n  version: 5\n  relative_file_paths:\n{files}{extra}");
    std::fs::write(folder.join(METADATA_FILE_NAME), text).expect("written");
}

fn options() -> WriteOptions {
    WriteOptions::new().compression(None).chunk_size(Some(300))
}

#[test]
fn several_files_are_one_bag_in_log_time_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let messages = jumbled(120);
    let names = ["bag_0.mcap", "bag_1.db3", "bag_2.mcap"];
    std::fs::write(dir.path().join(names[0]), mcap_bytes(options(), &messages[..40])).expect("written");
    write_sqlite(&dir.path().join(names[1]), &two_topics(), &messages[40..80]);
    let zstd = options().compression(Some(Compression::Zstd));
    std::fs::write(dir.path().join(names[2]), mcap_bytes(zstd, &messages[80..])).expect("written");
    metadata(dir.path(), &names, "");
    let bag = BagReader::open(dir.path()).expect("a bag");
    assert_eq!(read_all(&bag).expect("read"), sorted(&messages));
    assert_eq!(bag.message_count(), 120);
    assert_eq!(bag.topics().len(), 2);
    assert_eq!((bag.start().nanos(), bag.end().nanos()), (905, 1590));
}

#[test]
fn paths_of_old_versions_begin_with_the_folder_and_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    write_sqlite(&dir.path().join("old.db3"), &two_topics(), &jumbled(9));
    let counts = "  topics_with_message_count:\n  - {message_count: 6, topic_metadata: {name: /joint_states}}\n";
    metadata(dir.path(), &["recorded_elsewhere/old.db3"], counts);
    let bag = BagReader::open(dir.path()).expect("a bag");
    assert_eq!(read_all(&bag).expect("read").len(), 9);
    let joints = bag.find(JOINTS).expect("the topic");
    assert_eq!(bag.topics()[joints].count, Some(6), "SQLite's counts come from the metadata");
}

#[test]
fn messages_packed_one_by_one_are_unpacked() {
    let dir = tempfile::tempdir().expect("a folder");
    let messages = jumbled(20);
    let packed: Vec<Message> = messages
        .iter()
        .map(|(topic, time, data)| (topic.clone(), *time, zstd::encode_all(&data[..], 1).expect("packed")))
        .collect();
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &packed);
    metadata(dir.path(), &["bag.db3"], "  compression_format: zstd\n  compression_mode: MESSAGE\n");
    assert_eq!(read(dir.path()).expect("read"), sorted(&messages));
    // The bare file does not say so; passing the frames on as CDR would be worse than an error.
    assert_says(&read(&path).expect_err("packed"), &["bag.db3", "zstd frame", "metadata.yaml"]);
    // And what is not a frame is not passed on either.
    let plain = dir.path().join("plain.db3");
    write_sqlite(&plain, &two_topics(), &messages);
    metadata(dir.path(), &["plain.db3"], "  compression_format: zstd\n  compression_mode: message\n");
    assert_says(&read(dir.path()).expect_err("not packed"), &["a zstd frame"]);
}

#[test]
fn files_that_are_packed_as_a_whole_are_unpacked_and_leave_nothing_behind() {
    let messages = jumbled(60);
    let dir = tempfile::tempdir().expect("a folder");
    write_sqlite(&dir.path().join("plain.db3"), &two_topics(), &messages);
    let database = std::fs::read(dir.path().join("plain.db3")).expect("written");
    std::fs::remove_file(dir.path().join("plain.db3")).expect("removed");
    for (name, bytes) in [("bag.db3.zstd", database), ("bag.mcap.zstd", mcap_bytes(options(), &messages))] {
        let packed = dir.path().join(name);
        std::fs::write(&packed, zstd::encode_all(&bytes[..], 3).expect("packed")).expect("written");
        metadata(dir.path(), &[name], "  compression_format: zstd\n  compression_mode: FILE\n");
        assert_eq!(read(dir.path()).expect("read"), sorted(&messages), "{name}");
        assert_eq!(read(&packed).expect("the bare file"), sorted(&messages), "{name}");
        let bag = BagReader::open(dir.path()).expect("opens");
        assert_eq!(
            (read_all(&bag).expect("once"), read_all(&bag).expect("twice")),
            (sorted(&messages), sorted(&messages))
        );
        // Named as it was before it was packed, or as it will be.
        metadata(
            dir.path(),
            &[name.trim_end_matches(".zstd")],
            "  compression_format: zstd\n  compression_mode: FILE\n",
        );
        assert_eq!(read(dir.path()).expect("read"), sorted(&messages), "{name}");
        let mine = format!(".vla_trt-{}-", std::process::id());
        let left = |folder: &Path| {
            std::fs::read_dir(folder)
                .expect("a folder")
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with(&mine))
        };
        assert!(!left(&std::env::temp_dir()) && !left(Path::new("/var/tmp")), "no name stays");
    }
}

#[test]
fn types_that_files_do_not_say_are_those_of_the_metadata() {
    let dir = tempfile::tempdir().expect("a folder");
    let topics = two_topics().into_iter().map(|topic| Topic { type_name: String::new(), ..topic });
    write_sqlite(&dir.path().join("bag.db3"), &topics.collect::<Vec<_>>(), &jumbled(10));
    let types = format!(
        "  topics_with_message_count:\n  - topic_metadata: {{name: {JOINTS}, type: sensor_msgs/msg/JointState}}\n    message_count: 6\n"
    );
    metadata(dir.path(), &["bag.db3"], &types);
    let bag = BagReader::open(dir.path()).expect("opens");
    let type_of = |name: &str| bag.topics()[bag.find(name).expect("the topic")].type_name.clone();
    assert_eq!((type_of(JOINTS).as_str(), type_of(TEXT).as_str()), ("sensor_msgs/msg/JointState", ""));
}

#[test]
fn compression_that_is_not_read_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("bag.db3.zstd"), b"\x28\xb5\x2f\xfd").expect("written");
    metadata(dir.path(), &["bag.db3.zstd"], "  compression_format: zstd\n  compression_mode: FILE\n");
    assert_says(&read(dir.path()).expect_err("cut"), &["decompress", "bag.db3.zstd", "TMPDIR", "zstd -d"]);
    metadata(dir.path(), &["bag.db3.zstd"], "  compression_format: lz4\n  compression_mode: FILE\n");
    assert_says(&read(dir.path()).expect_err("packed"), &["metadata.yaml", "'file' (lz4)", "ros2 bag convert"]);
    metadata(dir.path(), &["bag.db3.zstd"], "  compression_format: lz4\n  compression_mode: MESSAGE\n");
    assert_says(&read(dir.path()).expect_err("packed"), &["metadata.yaml", "'message' (lz4)", "ros2 bag convert"]);
}

#[test]
fn what_is_wrong_with_the_metadata_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_says(&read(dir.path()).expect_err("nothing"), &["metadata.yaml", "no .mcap or .db3 file"]);
    std::fs::write(dir.path().join("bag_0.mcap"), mcap_bytes(options(), &jumbled(5))).expect("written");
    assert_says(&read(dir.path()).expect_err("no metadata"), &["bag_0.mcap", "ros2 bag reindex"]);
    metadata(dir.path(), &["bag_0.mcap", "bag_1.mcap"], "");
    assert_says(&read(dir.path()).expect_err("missing"), &["'bag_1.mcap'", "found bag_0.mcap", "ros2 bag reindex"]);
    metadata(dir.path(), &["bag_0.mcap", "bag_0.mcap"], "");
    assert_says(&read(dir.path()).expect_err("twice"), &["'bag_0.mcap' twice"]);
    let path = dir.path().join(METADATA_FILE_NAME);
    for (text, words) in [
        ("", "rosbag2_bagfile_information"),
        ("not: a bag", "rosbag2_bagfile_information"),
        ("rosbag2_bagfile_information: {relative_file_paths: 7}", "relative_file_paths"),
        ("rosbag2_bagfile_information: {relative_file_paths: []}", "at least one file"),
        ("a: [1, 2", "line"),
    ] {
        std::fs::write(&path, text).expect("written");
        assert_says(&read(dir.path()).expect_err(text), &["metadata.yaml", words, "ros2 bag reindex"]);
    }
    // Aliases that multiply end in an error, not in memory.
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, before) in ('b'..='k').zip('a'..='j') {
        bomb.push_str(&format!("{name}: &{name} [{}]\n", format!("*{before}, ").repeat(9)));
    }
    bomb.push_str("rosbag2_bagfile_information: {relative_file_paths: *k}\n");
    std::fs::write(&path, bomb).expect("written");
    assert_says(&read(dir.path()).expect_err("a bomb"), &["metadata.yaml"]);
    // The content decides, not the name: a database behind an .mcap name is read as one.
    write_sqlite(&dir.path().join("named_wrongly.mcap"), &two_topics(), &jumbled(5));
    metadata(dir.path(), &["named_wrongly.mcap"], "");
    assert_eq!(read(dir.path()).expect("read").len(), 5);
}
