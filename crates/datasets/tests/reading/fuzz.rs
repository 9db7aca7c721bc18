//! Metadata of any content gives a data set or an error, and nothing else.

use std::fs;

use bolero::check;
use vla_datasets::{Assignment, Dataset, Join, Key, Piece, PolicyKeys, Selection};

use super::copy;

/// Files of the metadata that the input replaces one after the other.
const FILES: [&str; 4] = ["meta/info.json", "meta/modality.json", "meta/episodes.jsonl", "meta/tasks.jsonl"];

#[test]
fn metadata_of_any_content_is_read_or_refused() {
    let dataset = copy("v21");
    let originals = FILES.map(|file| fs::read(dataset.path().join(file)).expect("the file"));
    let keys = PolicyKeys {
        cameras: vec!["top".to_owned()],
        state: vec![Key { name: "left_arm".to_owned(), width: 6, joints: Vec::new() }],
        action: Vec::new(),
    };
    check!().with_iterations(400).for_each(|input: &[u8]| {
        let (Some(choice), rest) = (input.first(), input.get(1..).unwrap_or_default()) else { return };
        let file = usize::from(*choice) % FILES.len();
        let original = &originals[file];
        // Half of the inputs are the original with bytes changed: they reach further.
        let content = if *choice < 128 { rest.to_vec() } else { changed(original, rest) };
        fs::write(dataset.path().join(FILES[file]), content).expect("written");
        if let Ok(opened) = Dataset::open(dataset.path()) {
            drop(Join::new(&opened, &keys, &[]));
            for episode in 0..opened.episodes().len().min(3) {
                let rows = opened.rows(episode, &[Piece::of("observation.state", 0..6)]);
                rows.into_iter().flatten().take(40).for_each(drop);
            }
        }
        fs::write(dataset.path().join(FILES[file]), original).expect("written");
        let text = String::from_utf8_lossy(rest);
        drop((text.parse::<Piece>(), text.parse::<Selection>(), text.parse::<Assignment>()));
    });
}

/// The original with bytes replaced at places that the input chooses.
fn changed(original: &[u8], input: &[u8]) -> Vec<u8> {
    let mut content = original.to_vec();
    for change in input.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % content.len().max(1);
        if let Some(byte) = content.get_mut(place) {
            *byte = change[2];
        }
    }
    content
}
