//! Any messages, any chunking: what goes in comes out, in order.

use mcap::{Compression, WriteOptions};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::fixture::*;

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let topic = prop_oneof![Just(TEXT.to_owned()), Just(JOINTS.to_owned())];
    // Few distinct times: ties matter.
    let time = prop_oneof![0i64..20, Just(i64::MAX), 1_760_000_000_000_000_000..1_760_000_000_000_000_003i64];
    // CDR never begins with zstd's magic; every other content is allowed.
    let data = prop::collection::vec(any::<u8>(), 0..200)
        .prop_filter("zstd's magic", |data| !data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    prop::collection::vec((topic, time, data), 1..60)
}

fn options() -> impl Strategy<Value = WriteOptions> {
    let compression = prop_oneof![Just(None), Just(Some(Compression::Lz4)), Just(Some(Compression::Zstd))];
    (compression, prop_oneof![Just(None), (0u64..2000).prop_map(Some)], any::<[bool; 6]>()).prop_map(
        |(compression, size, [chunks, summary, indexes, repeat, statistics, crc])| {
            WriteOptions::new()
                .compression(compression)
                .chunk_size(size)
                .use_chunks(chunks)
                .emit_summary_records(summary)
                .emit_message_indexes(indexes)
                .repeat_channels(repeat)
                .emit_statistics(statistics)
                .calculate_chunk_crcs(crc)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_mcap_file_gives_its_messages_in_order(messages in messages(), options in options()) {
        let (_dir, path) = file("bag.mcap", &mcap_bytes(options, &messages));
        prop_assert_eq!(read(&path).expect("read"), sorted(&messages));
    }

    #[test]
    fn every_sqlite_file_gives_its_messages_in_order(messages in messages()) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bag.db3");
        write_sqlite(&path, &two_topics(), &messages);
        prop_assert_eq!(read(&path).expect("read"), sorted(&messages));
    }

    #[test]
    fn any_bytes_behind_the_magic_end_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for magic in [&b"\x89MCAP0\r\n"[..], b"SQLite format 3\0"] {
            let mut content = magic.to_vec();
            content.extend_from_slice(&bytes);
            let (_dir, path) = file("bag", &content);
            prop_assert!(read(&path).is_err());
        }
    }
}
