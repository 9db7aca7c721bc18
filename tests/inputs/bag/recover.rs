//! Bags that a recorder did not finish, and damaged ones, read as far as they go.

use mcap::{Compression, WriteOptions};
use vla_bags::{BagReader, Error, Topic};

use super::fixture::*;

fn options() -> WriteOptions {
    WriteOptions::new().compression(None).chunk_size(Some(200))
}

fn recovered(path: &std::path::Path) -> Result<Vec<Message>, Error> {
    read_all(&BagReader::recover(path)?)
}

/// Messages with rising log times, so that what is written before a cut is what is read.
fn rising(count: usize) -> Vec<Message> {
    (0..count).map(|i| (if i % 3 == 0 { TEXT } else { JOINTS }.to_owned(), 1000 + i as i64, payload(i, 30))).collect()
}

#[test]
fn a_whole_file_reads_the_same_with_and_without_recovery() {
    let messages = jumbled(200);
    for options in [options(), options().use_chunks(false), options().emit_summary_records(false)] {
        let (_dir, path) = file("bag.mcap", &mcap_bytes(options, &messages));
        assert_eq!(recovered(&path).expect("read"), sorted(&messages));
    }
}

#[test]
fn a_file_cut_anywhere_gives_the_messages_before_the_cut() {
    let messages = rising(12);
    for compression in [None, Some(Compression::Zstd), Some(Compression::Lz4)] {
        let bytes = mcap_bytes(options().compression(compression), &messages);
        let mut most = 0;
        for length in 0..bytes.len() {
            let (_dir, path) = file("bag.mcap", &bytes[..length]);
            let found = recovered(&path).unwrap_or_default();
            assert!(messages.starts_with(&found), "{compression:?}, {length} bytes: {found:?}");
            assert!(found.len() >= most, "{compression:?}, {length} bytes: fewer than of a shorter file");
            most = found.len();
        }
        assert_eq!(most, messages.len(), "{compression:?}: all of them before the summary");
    }
}

#[test]
fn a_cut_chunk_gives_its_messages_before_the_cut() {
    let messages = rising(400);
    let bytes = mcap_bytes(options().chunk_size(None), &messages);
    let (_dir, path) = file("bag.mcap", &bytes[..bytes.len() / 2]);
    assert!(matches!(read(&path), Err(Error::Truncated { .. })), "it is refused unless asked for");
    let bag = BagReader::recover(&path).expect("read");
    let found = read_all(&bag).expect("read");
    assert!(found.len() > 100 && found.len() < 300, "{}", found.len());
    assert!(messages.starts_with(&found));
    assert_eq!(bag.message_count(), found.len() as u64);
    assert_eq!((bag.start().nanos(), bag.end().nanos()), (1000, 999 + found.len() as i64));
}

#[test]
fn a_damaged_chunk_costs_no_message_of_another() {
    let messages = rising(60);
    let mut bytes = mcap_bytes(options().compression(Some(Compression::Zstd)).calculate_chunk_crcs(true), &messages);
    let frames: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd])).collect();
    assert!(frames.len() > 5);
    bytes[frames[2] + 3] ^= 1;
    let (_dir, path) = file("bag.mcap", &bytes);
    assert!(matches!(read(&path), Err(Error::Damaged { .. })));
    let found = recovered(&path).expect("read");
    assert!(found.len() >= 50 && found.len() < 60, "{}", found.len());
    assert_eq!(found.first(), messages.first());
    assert_eq!(found.last(), messages.last());
}

#[test]
fn a_folder_without_metadata_gives_all_of_its_files_in_order_also_packed_and_cut_ones() {
    let (dir, messages) = (tempfile::tempdir().expect("a folder"), rising(90));
    let name = |number: usize, end: &str| dir.path().join(format!("bag_{number}.{end}"));
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("packed");
    std::fs::write(name(9, "mcap.zstd"), pack(&mcap_bytes(options(), &messages[..30]))).expect("written");
    std::fs::write(name(10, "mcap"), mcap_bytes(options(), &messages[30..60])).expect("written");
    let last = mcap_bytes(options(), &messages[60..]);
    std::fs::write(name(11, "mcap"), &last[..last.len() / 2]).expect("written");
    std::fs::write(name(12, "mcap"), b"").expect("written");
    assert!(matches!(read(dir.path()), Err(Error::NotABag { .. })));
    let found = recovered(dir.path()).expect("read");
    assert!(found.len() > 62 && messages.starts_with(&found), "{}", found.len());
    assert_eq!(vla_bags::files_of(dir.path()).len(), 5, "an output must not be one of them");
}

#[test]
fn a_packed_file_that_is_cut_gives_the_messages_before_the_cut() {
    let messages = rising(20_000);
    let packed = zstd::encode_all(&mcap_bytes(options(), &messages)[..], 3).expect("packed");
    let (_dir, path) = file("bag.mcap.zstd", &packed[..packed.len() * 3 / 4]);
    assert!(matches!(read(&path), Err(Error::Unpacking { .. })));
    let found = recovered(&path).expect("read");
    assert!(found.len() > 1000 && messages.starts_with(&found), "{}", found.len());
}

#[test]
fn a_cut_database_gives_the_rows_that_are_there() {
    let (dir, messages) = (tempfile::tempdir().expect("a folder"), rising(2000));
    let path = dir.path().join("bag.db3");
    write_sqlite(&path, &two_topics(), &messages);
    assert_eq!(recovered(&path).expect("whole"), messages);
    let whole = std::fs::read(&path).expect("read");
    let mut numbers = Vec::new();
    for tenths in [9, 6, 3] {
        std::fs::write(&path, &whole[..whole.len() * tenths / 10]).expect("written");
        assert!(matches!(read(&path), Err(Error::Truncated { .. } | Error::Sqlite { .. })), "{tenths}");
        let found = recovered(&path).unwrap_or_default();
        assert!(found.iter().all(|message| messages.contains(message)), "{tenths}");
        numbers.push(found.len());
    }
    assert!(numbers[0] > 100 && numbers[0] < 2000 && numbers.is_sorted_by(|a, b| a >= b), "{numbers:?}");
}

#[test]
fn nothing_that_can_be_read_is_refused_as_before() {
    for bytes in [&b""[..], b"PK\x03\x04", b"\x89MCAP0\r\n"] {
        let (_dir, path) = file("bag.mcap", bytes);
        let error = BagReader::recover(&path).expect_err("no message");
        assert_says(&error, &["bag.mcap"]);
    }
    let dir = tempfile::tempdir().expect("a folder");
    assert!(matches!(BagReader::recover(dir.path()), Err(Error::NotABag { .. })));
    let topics: Vec<Topic> = two_topics();
    write_sqlite(&dir.path().join("bag_0.db3"), &topics, &[]);
    assert!(matches!(BagReader::recover(dir.path()), Err(Error::Empty { .. })));
}
