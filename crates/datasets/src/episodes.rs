//! The episodes: length, and where their rows and videos are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;
use crate::dataset::read_text;
use crate::info::{Info, Storage};
use crate::table::Table;

/// One episode of a data set.
#[derive(Clone, PartialEq, Debug)]
pub struct Episode {
    /// Its number.
    pub index: usize,
    /// Its rows.
    pub length: usize,
    /// Folder and file of the rows; zero in v2, whose paths come from the number alone.
    pub(crate) data: Place,
    /// First row in that file.
    pub(crate) first_row: usize,
    /// Places of the videos by camera; empty in v2.
    pub(crate) videos: BTreeMap<String, VideoPlace>,
}

/// Numbers of a folder and of a file in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Place {
    pub(crate) chunk: usize,
    pub(crate) file: usize,
}

/// Where the frames of one episode are in a video file.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct VideoPlace {
    pub(crate) chunk: usize,
    pub(crate) file: usize,
    /// Time of the episode's first frame in the file, in s.
    pub(crate) from: f64,
}

impl Episode {
    /// Where the frames of a camera are.
    pub(crate) fn video(&self, camera: &str) -> VideoPlace {
        self.videos.get(camera).copied().unwrap_or_default()
    }
}

/// A line of `meta/episodes.jsonl`.
#[derive(Deserialize)]
struct Line {
    episode_index: usize,
    length: usize,
}

/// The episodes of `meta/episodes.jsonl`.
pub(crate) fn of_v2(root: &Path, _info: &Info) -> Result<Vec<Episode>, Error> {
    let path = root.join("meta/episodes.jsonl");
    let text = read_text(&path)?;
    let mut episodes = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refused = |reason: String| Error::metadata(&path, format!("line {}: {reason}", number + 1));
        let line: Line = serde_json::from_str(line).map_err(|error| refused(error.to_string()))?;
        let next = episodes.len();
        if line.episode_index != next {
            return Err(refused(format!("expected episode_index {next}, found {}", line.episode_index)));
        }
        episodes.push(Episode {
            index: next,
            length: line.length,
            data: Place::default(),
            first_row: 0,
            videos: BTreeMap::new(),
        });
    }
    Ok(episodes)
}

/// The episodes of `meta/episodes/chunk-*/file-*.parquet`.
pub(crate) fn of_v3(root: &Path, info: &Info) -> Result<Vec<Episode>, Error> {
    let folder = root.join("meta/episodes");
    let mut files = Vec::new();
    for chunk in entries(&folder)?.into_iter().filter(|entry| entry.is_dir()) {
        files.extend(entries(&chunk)?.into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "parquet")));
    }
    let mut episodes = Vec::new();
    // The row of the data set that is the first of each data file.
    let mut first: BTreeMap<Place, usize> = BTreeMap::new();
    for file in files {
        add_v3(&file, info, &mut first, &mut episodes)?;
    }
    Ok(episodes)
}

/// Adds the episodes of one file of the metadata.
fn add_v3(
    file: &Path,
    info: &Info,
    first: &mut BTreeMap<Place, usize>,
    episodes: &mut Vec<Episode>,
) -> Result<(), Error> {
    let table = Table::open(file)?;
    let column = |name: &str| table.numbers(name);
    let [index, length, chunk, data_file, from] = [
        column("episode_index")?,
        column("length")?,
        column("data/chunk_index")?,
        column("data/file_index")?,
        column("dataset_from_index")?,
    ];
    let cameras = info.features.iter().filter(|(_, feature)| feature.storage == Storage::Video);
    let mut videos = Vec::new();
    for (camera, _) in cameras {
        let column = |name: &str| table.numbers(&format!("videos/{camera}/{name}"));
        videos.push((camera, column("chunk_index")?, column("file_index")?, column("from_timestamp")?));
    }
    for row in 0..index.len() {
        let count = |column: &[f64], name: &str| {
            let value = column.get(row).copied().unwrap_or(f64::NAN);
            let whole = value >= 0.0 && value.fract() == 0.0 && value < 2f64.powi(53);
            whole.then_some(value as usize).ok_or_else(|| {
                Error::metadata(file, format!("row {row}: {name}: expected a whole number of 0 or more, found {value}"))
            })
        };
        let next = episodes.len();
        let number = count(&index, "episode_index")?;
        if number != next {
            return Err(Error::metadata(file, format!("row {row}: expected episode_index {next}, found {number}")));
        }
        let data = Place { chunk: count(&chunk, "data/chunk_index")?, file: count(&data_file, "data/file_index")? };
        let begins = count(&from, "dataset_from_index")?;
        let start = *first.entry(data).or_insert(begins);
        let first_row = begins.checked_sub(start).ok_or_else(|| {
            let reason = format!("row {row}: dataset_from_index: expected {start} or more, found {begins}");
            Error::metadata(file, reason)
        })?;
        let mut places = BTreeMap::new();
        for (camera, chunk, video, from) in &videos {
            let from = from.get(row).copied().filter(|from| from.is_finite() && *from >= 0.0);
            let from = from.ok_or_else(|| {
                Error::metadata(file, format!("row {row}: videos/{camera}/from_timestamp: expected 0 or more"))
            })?;
            let (chunk, video) = (count(chunk, "videos chunk_index")?, count(video, "videos file_index")?);
            places.insert((*camera).clone(), VideoPlace { chunk, file: video, from });
        }
        let length = count(&length, "length")?;
        episodes.push(Episode { index: next, length, data, first_row, videos: places });
    }
    Ok(())
}

/// The entries of a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut listed: Vec<PathBuf> = listed.map_err(Error::io(folder))?;
    listed.sort_unstable();
    Ok(listed)
}
