//! Data sets that are incomplete, damaged, or of another form: the error names what is wrong.

use std::fs;
use std::path::Path;

use vla_datasets::{Assignment, Dataset, Error, Join, Key, Piece, PolicyKeys, Selection};

use super::{copy, edit, fixture};

const TOP: &str = "observation.images.top";

fn keys(cameras: &[&str], state: &[(&str, usize)], action: &[(&str, usize)]) -> PolicyKeys {
    let key = |(name, width): &(&str, usize)| Key { name: (*name).to_owned(), width: *width, joints: Vec::new() };
    PolicyKeys {
        cameras: cameras.iter().map(|camera| (*camera).to_owned()).collect(),
        state: state.iter().map(key).collect(),
        action: action.iter().map(key).collect(),
    }
}

fn assigned(text: &[&str]) -> Vec<Assignment> {
    text.iter().map(|text| text.parse().expect("an assignment")).collect()
}

fn problems(error: Error) -> Vec<String> {
    match error {
        Error::Join { problems, .. } => problems,
        other => panic!("{other}"),
    }
}

/// The first error of the rows of an episode.
fn row_error(dataset: &Path, episode: usize) -> Error {
    let dataset = Dataset::open(dataset).expect("opens");
    match dataset.rows(episode, &[Piece::whole("observation.state")]) {
        Err(error) => error,
        Ok(mut rows) => rows.find_map(Result::err).expect("an error"),
    }
}

#[test]
fn a_folder_that_is_no_data_set_or_of_another_version_is_refused() {
    let empty = tempfile::tempdir().expect("a folder");
    assert!(matches!(Dataset::open(empty.path()), Err(Error::NotADataset { .. })));
    let old = copy("v21");
    edit(old.path(), "meta/info.json", "\"v2.1\"", "\"v1.6\"");
    assert!(matches!(Dataset::open(old.path()), Err(Error::Version { found, .. }) if found == "v1.6"));
    let pointer = copy("v21");
    fs::write(pointer.path().join("meta/info.json"), "version https://git-lfs.github.com/spec/v1\n").expect("written");
    assert!(matches!(Dataset::open(pointer.path()), Err(Error::Pointer { .. })));
}

#[test]
fn missing_and_damaged_data_files_are_named_with_their_episode() {
    let missing = copy("v21");
    fs::remove_file(missing.path().join("data/chunk-000/episode_000001.parquet")).expect("removed");
    let error = row_error(missing.path(), 1);
    assert!(
        matches!(&error, Error::MissingFile { path, episode: 1 } if path.ends_with("episode_000001.parquet")),
        "{error}"
    );
    Dataset::open(missing.path()).expect("opens").rows(0, &[]).expect("the other episode can be read");

    let damaged = copy("v30_044");
    let file = damaged.path().join("data/chunk-000/file-000.parquet");
    let bytes = fs::read(&file).expect("the file");
    fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    assert!(matches!(row_error(damaged.path(), 0), Error::Parquet { path, .. } if path == file));
    fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n").expect("written");
    assert!(matches!(row_error(damaged.path(), 0), Error::Pointer { path, .. } if path == file));
}

#[test]
fn a_parquet_file_of_another_schema_is_refused_by_column() {
    let other = copy("v30_044");
    let tasks = fs::read(other.path().join("meta/tasks.parquet")).expect("a parquet file");
    fs::write(other.path().join("data/chunk-000/file-000.parquet"), tasks).expect("written");
    let error = row_error(other.path(), 0);
    assert!(matches!(&error, Error::Rows { .. } | Error::Schema { .. }), "{error}");

    // The metadata says that there are 13 numbers, the file has 14.
    let narrow = copy("v21");
    edit(
        narrow.path(),
        "meta/info.json",
        "            \"shape\": [\n                14\n",
        "            \"shape\": [\n                13\n",
    );
    let error = row_error(narrow.path(), 0);
    assert!(matches!(&error, Error::Schema { column, .. } if column == "observation.state"), "{error}");
}

#[test]
fn rows_that_are_not_those_of_the_metadata_are_refused() {
    let longer = copy("v21");
    edit(longer.path(), "meta/episodes.jsonl", "\"length\": 14", "\"length\": 15");
    assert!(matches!(row_error(longer.path(), 0), Error::Rows { episode: 0, .. }));
    let swapped = copy("v21");
    let [first, second] = [0, 1].map(|n| swapped.path().join(format!("data/chunk-000/episode_00000{n}.parquet")));
    fs::copy(second, &first).expect("copied");
    edit(swapped.path(), "meta/episodes.jsonl", "\"length\": 14", "\"length\": 10");
    assert!(matches!(row_error(swapped.path(), 0), Error::Rows { episode: 0, path, .. } if path == first));
}

#[test]
fn episodes_beyond_the_last_are_refused() {
    let dataset = Dataset::open(&fixture("v30_061")).expect("opens");
    let selection: Selection = "1-2".parse().expect("a selection");
    assert!(matches!(dataset.select(Some(&selection)), Err(Error::NoEpisode { episode: 2, last: 1, .. })));
    assert!(matches!(dataset.rows(7, &[]), Err(Error::NoEpisode { episode: 7, .. })));
}

#[test]
fn keys_without_a_column_are_listed_all_at_once() {
    let dataset = Dataset::open(&fixture("v30_061")).expect("opens");
    let wanted = keys(&["top", "belly"], &[("left_arm", 6), ("hand", 1)], &[("left_arm", 6)]);
    let found = problems(Join::new(&dataset, &wanted, &[]).expect_err("no such keys"));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("video.belly") && found[1].contains("state.left_arm") && found[2].contains("state.hand"));

    let columns = [
        "video.belly=observation.images.left_wrist",
        "state.left_arm=observation.state[0:6]",
        "state.hand=observation.state[6]",
    ];
    let join = Join::new(&dataset, &wanted, &assigned(&columns)).expect("all keys have a column");
    assert_eq!(join.cameras[1].1, "observation.images.left_wrist");
    assert_eq!(join.state[1].pieces, [Piece::of("observation.state", 6..7)]);
    assert!(join.actions(&dataset).is_err(), "the actions have none, which only a comparison needs");
}

#[test]
fn widths_that_differ_are_refused_with_both_numbers() {
    let dataset = Dataset::open(&fixture("v21")).expect("opens");
    let wanted = keys(&[], &[("left_arm", 7)], &[("left_arm", 7)]);
    let found = problems(Join::new(&dataset, &wanted, &[]).expect_err("modality.json has 6"));
    assert!(found[0].contains("expected 7 values, found 6") && found[0].contains("modality.json"), "{found:?}");
    let columns = assigned(&["state.left_arm=observation.state[0:7]", "action.left_arm=action[0:3]+action[6]"]);
    let found = problems(Join::new(&dataset, &wanted, &columns).expect_err("4 are not 7"));
    assert!(found.len() == 1 && found[0].starts_with("action.left_arm: expected 7 values, found 4"), "{found:?}");
    let columns = assigned(&["state.left_arm=observation.state[8:15]"]);
    let found = problems(Join::new(&dataset, &wanted, &columns).expect_err("14 elements"));
    assert!(found[0].contains("14 elements"), "{found:?}");
    let columns = assigned(&["state.left_leg=observation.state[0:7]"]);
    let found = problems(Join::new(&dataset, &wanted, &columns).expect_err("no such key"));
    assert!(found.iter().any(|problem| problem.contains("state.left_leg")), "{found:?}");
}

#[test]
fn joints_are_found_by_the_names_of_the_elements() {
    let dataset = Dataset::open(&fixture("v30_061")).expect("opens");
    let mut wanted = keys(&[], &[("both", 3)], &[]);
    wanted.state[0].joints = ["right_waist", "right_shoulder", "left_gripper"].map(str::to_owned).to_vec();
    let join = Join::new(&dataset, &wanted, &[]).expect("the names are known");
    let state = |range| Piece::of("observation.state", range);
    assert_eq!(join.state[0].pieces, [state(7..9), state(6..7)]);
}

#[cfg(not(feature = "video"))]
#[test]
fn without_ffmpeg_a_video_is_refused_with_what_brings_it() {
    let dataset = Dataset::open(&fixture("v21")).expect("opens");
    let error = dataset.frames(0, TOP, Default::default()).expect_err("no decoder");
    assert!(matches!(&error, Error::NoVideo { camera, .. } if camera == TOP), "{error}");
}

#[cfg(feature = "video")]
mod video {
    use super::*;

    /// The first error of the frames of an episode.
    fn frame_error(dataset: &Path, episode: usize) -> Error {
        let dataset = Dataset::open(dataset).expect("opens");
        let mut frames = match dataset.frames(episode, TOP, Default::default()) {
            Ok(frames) => frames,
            Err(error) => return error,
        };
        let rows = dataset.rows(episode, &[]).expect("rows");
        rows.map(|row| row.expect("a row")).find_map(|row| frames.at(&row).err()).expect("an error")
    }

    #[test]
    fn missing_cut_and_damaged_videos_are_named() {
        let dataset = copy("v21");
        let file = dataset.path().join("videos/chunk-000").join(TOP).join("episode_000000.mp4");
        let bytes = fs::read(&file).expect("the video");
        fs::remove_file(&file).expect("removed");
        assert!(matches!(frame_error(dataset.path(), 0), Error::MissingFile { path, .. } if path == file));
        fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
        assert!(matches!(frame_error(dataset.path(), 0), Error::Frame { path, .. } if path == file));
        for name in ["v21", "v30_h264"] {
            let dataset = copy(name);
            let file = match name {
                "v21" => dataset.path().join("videos/chunk-000").join(TOP).join("episode_000000.mp4"),
                _ => dataset.path().join("videos").join(TOP).join("chunk-000/file-000.mp4"),
            };
            let mut damaged = fs::read(&file).expect("the video");
            // In the frames: the index is at the front or at the end.
            let (from, to) = (damaged.len() * 2 / 5, damaged.len() * 3 / 5);
            damaged[from..to].fill(0xa5);
            fs::write(&file, damaged).expect("written");
            let error = frame_error(dataset.path(), 0);
            assert!(matches!(&error, Error::Frame { camera, .. } if camera == TOP), "{error}");
        }
    }

    #[test]
    fn a_video_of_another_rate_or_with_too_few_frames_is_refused() {
        // Rows at 15 Hz, frames at 10 Hz.
        let other = copy("v30_061");
        edit(other.path(), "meta/info.json", "\"fps\": 10", "\"fps\": 15");
        let dataset = Dataset::open(other.path()).expect("opens");
        let mut frames = dataset.frames(0, TOP, Default::default()).expect("opens");
        let mut row = dataset.rows(0, &[]).expect("rows").next().expect("a row").expect("a row");
        assert!(frames.at(&row).is_ok(), "the first frame is at 0 in both");
        (row.frame, row.timestamp) = (1, 1.0 / 15.0);
        assert!(matches!(frames.at(&row), Err(Error::Frame { .. })));

        let short = copy("v21");
        let folder = short.path().join("videos/chunk-000").join(TOP);
        fs::copy(folder.join("episode_000001.mp4"), folder.join("episode_000000.mp4")).expect("copied");
        let error = frame_error(short.path(), 0);
        assert!(matches!(&error, Error::Frame { reason, .. } if reason.contains("1.0000 s")), "{error}");
    }
}
