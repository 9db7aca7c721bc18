//! Fuzz targets of the bag readers: no panic, no giant allocation, whatever the bytes.
//!
//! A bounded count here; `cargo bolero test fuzz_mcap` and `fuzz_sqlite` run on under libFuzzer.

use std::path::Path;
use std::sync::OnceLock;

use vla_trt::bag::BagReader;

#[path = "bag/fixture.rs"]
#[allow(dead_code, reason = "shared with tests/bag.rs")]
mod fixture;

/// Overwrites, at relative places, then a cut: reaches much deeper than bytes from nowhere.
type Damage = (Vec<(u16, u8)>, Option<u16>);

fn damaged(valid: &[u8], (changes, cut): &Damage) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for (at, value) in changes {
        let at = usize::from(*at) % bytes.len();
        bytes[at] = *value;
    }
    if let Some(cut) = cut {
        bytes.truncate(usize::from(*cut) % bytes.len());
    }
    bytes
}

fn read_everything(path: &Path) {
    let Ok(bag) = BagReader::open(path) else { return };
    for topic in 0..bag.topics().len() {
        let Ok(messages) = bag.messages(&[topic]) else { continue };
        // A hostile file may repeat a chunk, not invent data without end.
        let bytes: usize = messages.take(10_000).map_while(Result::ok).map(|message| message.data.len()).sum();
        assert!(bytes < 256 << 20);
    }
}

fn valid_mcap() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let options = || mcap::WriteOptions::new().chunk_size(Some(400)).calculate_summary_section_crc(false);
        [
            options().compression(None).calculate_chunk_crcs(false),
            options().compression(Some(mcap::Compression::Zstd)).calculate_chunk_crcs(false),
            options().compression(Some(mcap::Compression::Lz4)).emit_summary_records(false),
            options().use_chunks(false),
        ]
        .map(|options| fixture::mcap_bytes(options, &fixture::jumbled(40)))
        .to_vec()
    })
}

fn valid_sqlite() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bag.db3");
        fixture::write_sqlite(&path, &fixture::two_topics(), &fixture::jumbled(40));
        std::fs::read(path).expect("the bytes")
    })
}

#[test]
fn fuzz_mcap() {
    bolero::check!().with_type::<(u8, Damage)>().with_iterations(3000).for_each(|(which, damage)| {
        let files = valid_mcap();
        let (_dir, path) = fixture::file("bag.mcap", &damaged(&files[usize::from(*which) % files.len()], damage));
        read_everything(&path);
    });
}

#[test]
fn fuzz_mcap_from_nothing() {
    bolero::check!().with_type::<Vec<u8>>().with_iterations(1000).for_each(|bytes| {
        let mut content = b"\x89MCAP0\r\n".to_vec();
        content.extend_from_slice(bytes);
        content.extend_from_slice(b"\x02\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x89MCAP0\r\n");
        let (_dir, path) = fixture::file("bag.mcap", &content);
        read_everything(&path);
    });
}

#[test]
fn fuzz_sqlite() {
    bolero::check!().with_type::<Damage>().with_iterations(1000).for_each(|damage| {
        let (_dir, path) = fixture::file("bag.db3", &damaged(valid_sqlite(), damage));
        read_everything(&path);
    });
}

#[test]
fn fuzz_metadata() {
    bolero::check!().with_type::<(Damage, String)>().with_iterations(1000).for_each(|(damage, text)| {
        let valid = std::fs::read(fixture::sample().join("metadata.yaml")).expect("the sample's metadata");
        for content in [damaged(&valid, damage), text.as_bytes().to_vec()] {
            let (dir, _path) = fixture::file("metadata.yaml", &content);
            if let Ok(bag) = BagReader::open(dir.path()) {
                panic!("a folder without a bag was opened: {:?}", bag.path());
            }
        }
    });
}
