//! MCAP files in.

use mcap::{Compression, WriteOptions};
use vla_bags::{BagReader, Error};

use super::fixture::*;

/// Small chunks, so that they overlap in time.
fn options() -> WriteOptions {
    WriteOptions::new().compression(None).chunk_size(Some(200))
}

fn open(bytes: &[u8]) -> Result<Vec<Message>, Error> {
    let (_dir, path) = file("bag.mcap", bytes);
    read(&path)
}

#[test]
fn chunks_of_every_compression_give_the_same_messages_in_log_time_order() {
    let messages = jumbled(300);
    for compression in [None, Some(Compression::Lz4), Some(Compression::Zstd)] {
        let bytes = mcap_bytes(options().compression(compression), &messages);
        assert_eq!(open(&bytes).expect("read"), sorted(&messages), "{compression:?}");
    }
}

#[test]
fn a_file_without_chunks_summary_or_index_reads_the_same() {
    let messages = jumbled(200);
    let variants = [
        options().use_chunks(false),
        options().use_chunks(false).emit_summary_records(false).emit_summary_offsets(false),
        options().emit_summary_records(false),
        options().emit_summary_records(false).emit_summary_offsets(false).emit_message_indexes(false),
        options().emit_message_indexes(false),
        options().emit_chunk_indexes(false),
        options().repeat_channels(false),
        options().repeat_schemas(false).repeat_channels(false),
        options().emit_statistics(false),
        options().calculate_summary_section_crc(false).calculate_chunk_crcs(false),
    ];
    for (number, options) in variants.into_iter().enumerate() {
        let (_dir, path) = file("bag.mcap", &mcap_bytes(options, &messages));
        let bag = BagReader::open(&path).unwrap_or_else(|error| panic!("variant {number}: {error}"));
        assert_eq!(read_all(&bag).expect("read"), sorted(&messages), "variant {number}");
        assert_eq!((bag.start().nanos(), bag.end().nanos()), (905, 1990), "variant {number}");
        assert_eq!(bag.message_count(), 200, "variant {number}");
        let counts: Vec<Option<u64>> = bag.topics().iter().map(|topic| topic.count).collect();
        assert_eq!(counts, [Some(67), Some(133)], "variant {number}");
    }
}

#[test]
fn only_the_topics_asked_for_come() {
    let messages = jumbled(100);
    let (_dir, path) = file("bag.mcap", &mcap_bytes(options(), &messages));
    let bag = BagReader::open(&path).expect("a bag");
    let text = bag.find(TEXT).expect("the topic");
    let times: Vec<i64> =
        bag.messages(&[text]).expect("messages").map(|message| message.expect("one").log_time.nanos()).collect();
    let expected: Vec<i64> =
        sorted(&messages).into_iter().filter(|message| message.0 == TEXT).map(|message| message.1).collect();
    assert_eq!(times, expected);
    assert_eq!(bag.messages(&[]).expect("messages").count(), 0);
    let error = bag.messages(&[7]).err().expect("no such topic");
    assert!(matches!(error, vla_bags::Error::UnknownTopic { index: 7, count: 2, .. }), "{error}");
}

#[test]
fn messages_of_unpacked_chunks_are_slices_of_the_mapped_file() {
    let messages: Vec<Message> = (0..20).map(|i| (JOINTS.to_owned(), 1000 + i, payload(i as usize, 64))).collect();
    let bytes = mcap_bytes(options(), &messages);
    let (_dir, path) = file("bag.mcap", &bytes);
    let bag = BagReader::open(&path).expect("a bag");
    let read: Vec<bytes::Bytes> =
        bag.messages(&[0]).expect("messages").map(|message| message.expect("one").data).collect();
    drop(bag);
    let first = (read[0].as_ptr() as usize, place_of(&bytes, &messages[0].2));
    for (data, (_, _, expected)) in read.iter().zip(&messages) {
        assert_eq!(data, expected);
        assert_eq!(data.as_ptr() as usize - first.0, place_of(&bytes, expected) - first.1);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_with_the_place_and_the_way_to_save_it() {
    let bytes = mcap_bytes(options(), &jumbled(12));
    for length in 0..bytes.len() {
        let error = open(&bytes[..length]).expect_err("a cut file");
        match length {
            0 => assert_says(&error, &["bag.mcap", "empty", "0 bytes"]),
            1..8 => assert_says(&error, &["bag.mcap", "not a ROS 2 bag"]),
            _ => assert_says(&error, &["bag.mcap", "truncated", "mcap recover"]),
        }
    }
}

#[test]
fn any_flipped_byte_gives_messages_or_an_error_in_words() {
    for compression in [None, Some(Compression::Zstd), Some(Compression::Lz4)] {
        let bytes = mcap_bytes(options().compression(compression), &jumbled(12));
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bag.mcap");
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x80 | (at % 128) as u8;
            // A new file each time: the one before may still be mapped.
            std::fs::remove_file(&path).ok();
            std::fs::write(&path, &broken).expect("written");
            if let Err(error) = read(&path) {
                assert_says(&error, &["bag.mcap"]);
            }
        }
    }
}

#[test]
fn a_changed_byte_of_a_chunk_is_found_by_its_checksum() {
    let messages = jumbled(12);
    let mut bytes = mcap_bytes(options(), &messages);
    let at = place_of(&bytes, &messages[11].2);
    bytes[at + 5] ^= 1;
    assert_says(&open(&bytes).expect_err("damaged"), &["bag.mcap", "damaged", "checksum", "mcap recover"]);
}

#[test]
fn unknown_compression_is_named_with_the_known_ones() {
    let bytes =
        mcap_bytes(options().compression(Some(Compression::Zstd)).calculate_summary_section_crc(false), &jumbled(12));
    let text = bytes.escape_ascii().to_string();
    assert!(text.contains("zstd"));
    let mut broken = bytes.clone();
    for at in 0..bytes.len() - 4 {
        if &bytes[at..at + 4] == b"zstd" {
            broken[at..at + 4].copy_from_slice(b"brot");
        }
    }
    assert_says(&open(&broken).expect_err("unknown"), &["bag.mcap", "'brot'", "'lz4' or 'zstd'", "mcap compress"]);
}

/// Where the fields of the first chunk's body lie: start time, end time, unpacked size, checksum.
fn first_chunk(bytes: &[u8]) -> usize {
    let header = 9 + u64::from_le_bytes(bytes[9..17].try_into().expect("8 bytes")) as usize;
    assert_eq!(bytes[8 + header], 6, "a chunk follows the header");
    8 + header + 9
}

#[test]
fn a_chunk_that_claims_to_unpack_to_everything_is_refused_without_taking_memory() {
    for (compression, words) in
        [(None, "unpacked bytes"), (Some(Compression::Zstd), "decompresses to 18446744073709551615")]
    {
        let mut bytes = mcap_bytes(options().compression(compression), &jumbled(12));
        let at = first_chunk(&bytes) + 16;
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_says(&open(&bytes).expect_err("hostile"), &["bag.mcap", words]);
    }
    let mut bytes = mcap_bytes(options().compression(Some(Compression::Lz4)), &jumbled(12));
    let at = first_chunk(&bytes) + 16;
    bytes[at..at + 8].copy_from_slice(&7u64.to_le_bytes());
    assert_says(&open(&bytes).expect_err("too long"), &["expected 7 unpacked bytes", "found more"]);
}

#[test]
fn a_chunk_that_lies_about_its_first_time_does_not_spoil_the_order() {
    let messages: Vec<Message> = (0..4).map(|i| (JOINTS.to_owned(), 1000 + i, payload(i as usize, 10))).collect();
    let mut bytes = mcap_bytes(options().emit_summary_records(false), &messages);
    let at = first_chunk(&bytes);
    bytes[at..at + 8].copy_from_slice(&1002u64.to_le_bytes());
    assert_says(&open(&bytes).expect_err("a lie"), &["messages from 1002 ns", "1000 ns"]);
}

#[test]
fn other_kinds_of_files_are_named() {
    let cases: [(&[u8], &[&str]); 5] = [
        (b"", &["empty", "0 bytes"]),
        (b"#ROSBAG V2.0\n....", &["ROS 1 bag", "rosbags-convert"]),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0, 0], &["decompress", "incomplete frame", "zstd -d"]),
        (&[0x1f, 0x8b, 8, 0], &["gzip", "gunzip"]),
        (b"PK\x03\x04 something", &["first bytes 'PK\\x03\\x04", "expected an MCAP or an SQLite file"]),
    ];
    for (bytes, words) in cases {
        let error = open(bytes).expect_err("not a bag");
        assert_says(&error, &["bag.mcap"]);
        assert_says(&error, words);
    }
    let nowhere = BagReader::open(std::path::Path::new("/nonexistent/bag")).expect_err("nothing there");
    assert_says(&nowhere, &["cannot open /nonexistent/bag", "No such file"]);
    let device = BagReader::open(std::path::Path::new("/dev/null")).expect_err("a device");
    assert_says(&device, &["neither a file nor a folder"]);
}

#[test]
fn a_bag_without_a_message_is_empty() {
    assert_says(&open(&mcap_bytes(options(), &[])).expect_err("empty"), &["bag.mcap", "is empty", "0 topics"]);
}

#[test]
fn topics_that_are_not_cdr_are_refused_when_asked_for_and_not_before() {
    let mut writer = mcap::Writer::new(std::io::Cursor::new(Vec::new())).expect("a writer");
    for (topic, encoding) in [("/ros1", "ros1"), ("/good", "cdr")] {
        let schema = writer.add_schema("std_msgs/msg/String", "ros2msg", b"string data").expect("a schema");
        let channel_id = writer.add_channel(schema, topic, encoding, &Default::default()).expect("a channel");
        let header = mcap::records::MessageHeader { channel_id, sequence: 0, log_time: 5, publish_time: 5 };
        writer.write_to_known_channel(&header, &payload(1, 1)).expect("written");
    }
    writer.finish().expect("finished");
    let (_dir, path) = file("bag.mcap", &writer.into_inner().into_inner());
    let bag = BagReader::open(&path).expect("a bag");
    let error = bag.messages(&[0]).err().expect("not CDR");
    assert_says(&error, &["bag.mcap", "/ros1", "'cdr'", "'ros1'", "rosbags-convert"]);
    assert_eq!(bag.messages(&[1]).expect("CDR").count(), 1);
}

/// A file of loose records without a summary: each topic's channel, by (id, topic, schema), then a message of each.
fn loose(channels: &[(u16, &str, u16)]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let record = |opcode: u8, body: Vec<u8>| [&[opcode][..], &(body.len() as u64).to_le_bytes(), &body].concat();
    let mut bytes = b"\x89MCAP0\r\n".to_vec();
    bytes.extend(record(1, [text("ros2"), text("test")].concat()));
    let schema = [&1u16.to_le_bytes()[..], &text("std_msgs/msg/String"), &text("ros2msg"), &text("")].concat();
    bytes.extend(record(3, schema));
    for (id, topic, schema) in channels {
        let ids = [id.to_le_bytes(), schema.to_le_bytes()].concat();
        bytes.extend(record(4, [ids, text(topic), text("cdr"), vec![0; 4]].concat()));
        let head = [&id.to_le_bytes()[..], &[0; 4], &5u64.to_le_bytes(), &5u64.to_le_bytes()].concat();
        bytes.extend(record(5, [head, payload(1, 1)].concat()));
    }
    bytes.extend(record(15, vec![0; 4]));
    bytes.extend(record(2, vec![0; 20]));
    bytes.extend(b"\x89MCAP0\r\n");
    bytes
}

#[test]
fn what_contradicts_itself_about_a_topic_is_refused_when_it_is_asked_for_and_not_before() {
    let (_dir, path) = file("bag.mcap", &loose(&[(3, "/good", 1), (4, "/one", 1), (4, "/other", 1)]));
    let bag = BagReader::open(&path).expect("a bag");
    let good = bag.find("/good").expect("the topic");
    assert_eq!(bag.messages(&[good]).expect("messages").count(), 1);
    let one = bag.find("/one").expect("the topic");
    let error = bag.messages(&[one]).expect("messages").find_map(Result::err).expect("two channels");
    assert_says(&error, &["bag.mcap", "channel 4", "'/one'", "'/other'"]);
}

#[test]
fn a_channel_whose_schema_is_missing_has_no_type() {
    let (_dir, path) = file("bag.mcap", &loose(&[(3, "/good", 1), (4, "/other", 9)]));
    let bag = BagReader::open(&path).expect("a bag");
    let types: Vec<&str> = bag.topics().iter().map(|topic| topic.type_name.as_str()).collect();
    assert_eq!(types, ["std_msgs/msg/String", ""]);
    assert_eq!(read_all(&bag).expect("read").len(), 2);
}

#[test]
fn a_damaged_chunk_of_topics_that_nobody_reads_is_not_looked_at() {
    // One topic after the other, so that each has chunks of its own.
    let of = |topic: &str, from: usize| -> Vec<Message> {
        (from..from + 20).map(|i| (topic.to_owned(), i as i64, payload(i, 40))).collect()
    };
    let messages = [of(JOINTS, 100), of(TEXT, 200)].concat();
    let mut bytes = mcap_bytes(options(), &messages);
    let at = place_of(&bytes, &messages[30].2);
    bytes[at + 5] ^= 1;
    let (_dir, path) = file("bag.mcap", &bytes);
    let bag = BagReader::open(&path).expect("a bag");
    let count = |topic: &str| -> Result<usize, Error> {
        let messages = bag.messages(&[bag.find(topic).expect("the topic")])?.collect::<Result<Vec<_>, _>>()?;
        Ok(messages.len())
    };
    assert_eq!(count(JOINTS).expect("untouched"), 20);
    assert!(matches!(count(TEXT), Err(Error::Damaged { .. })));
}

#[test]
fn channels_of_one_topic_are_one_topic_unless_their_types_differ() {
    let make = |second: &str| {
        let mut writer = mcap::Writer::new(std::io::Cursor::new(Vec::new())).expect("a writer");
        for (id, type_name) in [(1, "std_msgs/msg/String"), (2, second)] {
            let schema = writer.add_schema(type_name, "ros2msg", b"string data").expect("a schema");
            let metadata = [("publisher".to_owned(), id.to_string())].into();
            let channel_id = writer.add_channel(schema, "/topic", "cdr", &metadata).expect("a channel");
            let header = mcap::records::MessageHeader { channel_id, sequence: 0, log_time: id, publish_time: id };
            writer.write_to_known_channel(&header, &payload(id as usize, 1)).expect("written");
        }
        writer.finish().expect("finished");
        writer.into_inner().into_inner()
    };
    let (_dir, path) = file("bag.mcap", &make("std_msgs/msg/String"));
    let bag = BagReader::open(&path).expect("a bag");
    assert_eq!(bag.topics().len(), 1);
    assert_eq!(bag.topics()[0].count, Some(2));
    assert_eq!(read_all(&bag).expect("read").len(), 2);
    let (_dir, path) = file("bag.mcap", &make("std_msgs/msg/Bool"));
    let bag = BagReader::open(&path).expect("a bag");
    let topics: Vec<_> = bag.topics().iter().map(|topic| (topic.name.as_str(), topic.type_name.as_str())).collect();
    assert_eq!(topics, [("/topic", "std_msgs/msg/String"), ("/topic", "std_msgs/msg/Bool")]);
    assert_eq!([0, 1].map(|topic| bag.messages(&[topic]).expect("CDR").count()), [1, 1], "each without the other");
}

#[test]
fn the_sample_bag_has_its_topics_and_its_times() {
    let bag = BagReader::open(&sample()).expect("the sample bag");
    let topics: Vec<(&str, Option<u64>)> =
        bag.topics().iter().map(|topic| (topic.name.as_str(), topic.count)).collect();
    assert_eq!(
        topics,
        [
            ("/camera/left_wrist/image_raw/compressed", Some(80)),
            ("/camera/right_wrist/image_raw/compressed", Some(80)),
            ("/camera/top/image_raw/compressed", Some(80)),
            ("/instruction", Some(1)),
            ("/joint_states", Some(400)),
        ]
    );
    assert_eq!(bag.start().to_string(), "1760000000.000000000");
    assert_eq!((bag.end() - bag.start()).seconds().round(), 8.0);
    let messages = read_all(&bag).expect("read");
    assert_eq!(messages.len(), 641);
    assert!(messages.is_sorted_by_key(|message| message.1));
}
