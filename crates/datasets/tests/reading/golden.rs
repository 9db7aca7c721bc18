//! Rows and pixels equal those that LeRobot's loader returned (`golden.json`, written by tests/data/lerobot/make.py).

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

use sha2::{Digest as _, Sha256};
use vla_datasets::{ColorSpace, Dataset, Piece, Version};

use super::fixture;

#[derive(Deserialize)]
struct Golden {
    rows: Vec<GoldenRow>,
    /// By decoder: for each row the hash of each camera's pixels.
    pixels: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

#[derive(Deserialize)]
struct GoldenRow {
    episode: usize,
    frame: usize,
    timestamp: f64,
    task: String,
    state: Vec<f32>,
    action: Vec<f32>,
}

fn golden(name: &str) -> Golden {
    let text = fs::read_to_string(fixture(name).join("golden.json")).expect("golden.json");
    serde_json::from_str(&text).expect("its form")
}

/// Compares all rows, and the pixels where they can be decoded; returns the number of compared frames.
fn compare(name: &str, version: Version, pixels: bool) -> usize {
    let dataset = Dataset::open(&fixture(name)).expect("opens");
    let golden = golden(name);
    assert_eq!((dataset.version(), dataset.fps(), dataset.episodes().len()), (version, 10.0, 2));
    let cameras: Vec<String> = dataset.cameras().map(str::to_owned).collect();
    assert_eq!(cameras, ["observation.images.left_wrist", "observation.images.top"]);
    let pieces = [Piece::whole("observation.state"), Piece::whole("action")];
    let mut expected = golden.rows.iter().enumerate();
    let mut compared = 0;
    for episode in 0..dataset.episodes().len() {
        let open = |camera: &String| dataset.frames(episode, camera, ColorSpace::Tagged).expect("opens");
        let mut frames: Vec<_> = if pixels { cameras.iter().map(open).collect() } else { Vec::new() };
        for row in dataset.rows(episode, &pieces).expect("rows") {
            let row = row.expect("a row");
            let (index, expected) = expected.next().expect("as many rows");
            assert_eq!((episode, row.frame), (expected.episode, expected.frame));
            assert_eq!(row.stored_timestamp, expected.timestamp, "bit by bit");
            assert_eq!(row.timestamp, row.frame as f64 / 10.0, "without the rounding of single precision");
            assert_eq!(row.values, [expected.state.as_slice(), &expected.action].concat(), "{name} row {index}");
            assert_eq!(dataset.task(row.task), Some(expected.task.as_str()));
            for (camera, frames) in cameras.iter().zip(&mut frames) {
                let frame = frames.at(&row).expect("a frame");
                assert_eq!((frame.width, frame.height), (96, 72));
                let hash: String = Sha256::digest(frame.rgb).iter().map(|byte| format!("{byte:02x}")).collect();
                for (decoder, hashes) in &golden.pixels {
                    assert_eq!(hash, hashes[index][camera], "{name}: {camera} row {index} by {decoder}");
                    compared += 1;
                }
            }
        }
    }
    assert!(expected.next().is_none(), "{name} has more rows");
    compared
}

#[test]
fn images_of_both_versions_are_those_that_lerobot_loads() {
    assert_eq!(compare("v21_images", Version::V2, true), 24 * 2 * 2);
    assert_eq!(compare("v30_images", Version::V3, true), 24 * 2 * 2);
}

#[test]
fn rows_of_both_versions_are_those_that_lerobot_loads() {
    compare("v21", Version::V2, false);
    for name in ["v30_044", "v30_061", "v30_h264"] {
        compare(name, Version::V3, false);
    }
}

#[cfg(feature = "video")]
#[test]
fn frames_of_videos_are_bit_by_bit_those_of_pyav_and_torchcodec() {
    for (name, version) in
        [("v21", Version::V2), ("v30_044", Version::V3), ("v30_061", Version::V3), ("v30_h264", Version::V3)]
    {
        assert_eq!(compare(name, version, true), 24 * 2 * 2, "both decoders");
    }
}

#[cfg(feature = "video")]
#[test]
fn rows_that_are_left_out_change_no_frame() {
    let dataset = Dataset::open(&fixture("v30_044")).expect("opens");
    let camera = "observation.images.top";
    let rows: Vec<_> = dataset.rows(1, &[]).expect("rows").map(|row| row.expect("a row")).collect();
    let mut all = dataset.frames(1, camera, ColorSpace::Tagged).expect("opens");
    let each: Vec<Vec<u8>> = rows.iter().map(|row| all.at(row).expect("a frame").rgb.to_vec()).collect();
    let mut some = dataset.frames(1, camera, ColorSpace::Tagged).expect("opens");
    for index in [0, 3, 4, 9] {
        assert_eq!(some.at(&rows[index]).expect("a frame").rgb, each[index], "row {index}");
    }
    assert_eq!(some.at(&rows[9]).expect("the same again").rgb, each[9]);
    let mut late = dataset.frames(1, camera, ColorSpace::Tagged).expect("opens");
    assert_eq!(late.at(&rows[5]).expect("the first that is asked for").rgb, each[5]);
}
