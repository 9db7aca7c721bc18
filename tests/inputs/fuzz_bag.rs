//! Fuzz targets of the bag readers: no panic and no giant allocation, whatever the bytes.

use std::path::Path;

use vla_bags::BagReader;

#[allow(dead_code, reason = "shared with tests/bag.rs")]
use super::bag::fixture;
use vla_trt_tests::fuzz;

fn read_everything(path: &Path) {
    [BagReader::open(path), BagReader::recover(path)].into_iter().flatten().for_each(|bag| read_topics(&bag));
}

fn read_topics(bag: &BagReader) {
    for topic in 0..bag.topics().len() {
        let Ok(messages) = bag.messages(&[topic]) else { continue };
        let messages: Vec<_> = messages.map_while(Result::ok).collect();
        assert!(messages.is_sorted_by_key(|message| message.log_time));
    }
}

/// Without checksums, so that a changed byte is read and not only noticed.
fn mcap_seeds() -> Vec<Vec<u8>> {
    let options = || {
        let options = mcap::WriteOptions::new().chunk_size(Some(400)).compression(None);
        options.calculate_summary_section_crc(false).calculate_chunk_crcs(false)
    };
    [
        options(),
        options().compression(Some(mcap::Compression::Zstd)),
        options().compression(Some(mcap::Compression::Lz4)).emit_summary_records(false),
        options().emit_summary_records(false),
        options().use_chunks(false),
    ]
    .map(|options| fixture::mcap_bytes(options, &fixture::jumbled(40)))
    .to_vec()
}

fn sqlite_seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bag.db3");
    fixture::write_sqlite(&path, &fixture::two_topics(), &fixture::jumbled(40));
    vec![std::fs::read(path).expect("the bytes")]
}

#[test]
fn no_bytes_make_the_mcap_reader_panic() {
    fuzz::check!(3000, mcap_seeds()).for_each(|bytes: &[u8]| {
        let (_dir, path) = fixture::file("bag.mcap", bytes);
        read_everything(&path);
    });
}

#[test]
fn no_records_between_a_header_and_a_footer_make_the_mcap_reader_panic() {
    const FOOTER: &[u8] = b"\x02\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x89MCAP0\r\n";
    // The records alone: mutations cannot spoil the frame, and the file is always read whole.
    let seeds = mcap_seeds().into_iter().map(|file| file[8..file.len() - FOOTER.len()].to_vec()).collect();
    fuzz::check!(3000, seeds).for_each(|bytes: &[u8]| {
        let (_dir, path) = fixture::file("bag.mcap", &[b"\x89MCAP0\r\n", bytes, FOOTER].concat());
        read_everything(&path);
    });
}

#[test]
fn no_bytes_make_the_sqlite_reader_panic() {
    fuzz::check!(1500, sqlite_seeds()).for_each(|bytes: &[u8]| {
        let (_dir, path) = fixture::file("bag.db3", bytes);
        read_everything(&path);
    });
}

#[test]
fn no_text_makes_the_reader_of_metadata_panic() {
    let seed = std::fs::read(fixture::sample().join("metadata.yaml")).expect("the sample's metadata");
    fuzz::check!(1500, vec![seed]).for_each(|bytes: &[u8]| {
        let (dir, _path) = fixture::file("metadata.yaml", bytes);
        assert!(BagReader::open(dir.path()).is_err(), "the files of the bag are not there");
    });
}
