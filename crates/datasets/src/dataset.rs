//! A data set: its metadata and the paths of its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::episodes::{self, Episode};
use crate::info::{Feature, Info, Storage};
use crate::modality::Modality;
use crate::rows::columns;
use crate::table::Table;
use crate::template::{Field, fill};
use crate::{ColorSpace, Error, Frames, Piece, Rows, Selection, tasks};

/// Format of a data set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// v2.0 and v2.1: one parquet file and one video a camera for each episode.
    V2,
    /// v3.0: several episodes in one file.
    V3,
}

impl Version {
    pub(crate) fn of(codebase_version: &str) -> Option<Self> {
        match codebase_version {
            "v2.0" | "v2.1" => Some(Self::V2),
            "v3.0" => Some(Self::V3),
            _ => None,
        }
    }
}

/// An opened data set. Holds its metadata, no rows and no frames.
#[derive(Debug)]
pub struct Dataset {
    root: PathBuf,
    info: Info,
    episodes: Vec<Episode>,
    tasks: BTreeMap<i64, String>,
    modality: Option<Modality>,
}

impl Dataset {
    /// Opens the folder that contains `meta/info.json`.
    ///
    /// # Errors
    /// [`Error::NotADataset`], [`Error::Version`], and what is missing or wrong in the metadata.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("meta/info.json");
        if !path.is_file() {
            return Err(Error::NotADataset { path: root.to_owned() });
        }
        let info = Info::parse(&path, &read_text(&path)?)?;
        let modality = root.join("meta/modality.json");
        let modality = match modality.exists() {
            true => Some(Modality::parse(&modality, &read_text(&modality)?)?),
            false => None,
        };
        let (episodes, tasks) = match info.version {
            Version::V2 => (episodes::of_v2(root, &info)?, tasks::of_v2(root)?),
            Version::V3 => (episodes::of_v3(root, &info)?, tasks::of_v3(root)?),
        };
        if episodes.is_empty() {
            return Err(Error::metadata(&path, "expected one episode or more, found none"));
        }
        Ok(Self { root: root.to_owned(), info, episodes, tasks, modality })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The format.
    pub fn version(&self) -> Version {
        self.info.version
    }

    /// Rows a second.
    pub fn fps(&self) -> f64 {
        self.info.fps
    }

    /// The features by name.
    pub fn features(&self) -> &BTreeMap<String, Feature> {
        &self.info.features
    }

    /// Names of the features that are cameras.
    pub fn cameras(&self) -> impl Iterator<Item = &str> {
        let cameras = self.info.features.iter();
        cameras
            .filter(|(_, feature)| matches!(feature.storage, Storage::Video | Storage::Images))
            .map(|(name, _)| name.as_str())
    }

    /// The episodes.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// The chosen episodes; all without a choice.
    ///
    /// # Errors
    /// [`Error::NoEpisode`].
    pub fn select(&self, selection: Option<&Selection>) -> Result<Vec<usize>, Error> {
        let count = self.episodes.len();
        let Some(selection) = selection else { return Ok((0..count).collect()) };
        selection.of(count).map_err(|episode| self.no_episode(episode))
    }

    /// The instruction of a task.
    pub fn task(&self, index: Option<i64>) -> Option<&str> {
        self.tasks.get(&index?).map(String::as_str)
    }

    /// The rows of an episode, with the elements of `pieces` one after the other.
    ///
    /// # Errors
    /// [`Error::NoEpisode`]; a file that is missing, damaged, or of another schema.
    pub fn rows(&self, episode: usize, pieces: &[Piece]) -> Result<Rows, Error> {
        self.rows_with_task(episode, pieces, None)
    }

    /// As [`Self::rows`], with the index of the task from this column in place of `task_index`.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn rows_with_task(&self, episode: usize, pieces: &[Piece], task: Option<&str>) -> Result<Rows, Error> {
        Rows::open(self, episode, pieces, task.unwrap_or(columns::TASK))
    }

    /// The frames of a camera at the rows of an episode: see [`Frames`].
    ///
    /// # Errors
    /// [`Error::NoCamera`], [`Error::NoEpisode`], [`Error::NoVideo`]; a file that is missing or damaged.
    pub fn frames(&self, episode: usize, camera: &str, color: ColorSpace) -> Result<Frames, Error> {
        Frames::open(self, episode, camera, color)
    }

    /// The files of the chosen episodes and of the metadata, whether or not they exist.
    pub fn files(&self, episodes: &[usize]) -> Vec<PathBuf> {
        let mut files = vec![self.root.join("meta/info.json")];
        for episode in episodes.iter().filter_map(|episode| self.episodes.get(*episode)) {
            files.extend(self.data_file(episode).ok());
            files.extend(self.cameras().filter_map(|camera| self.video_file(episode, camera).ok()));
        }
        files.dedup();
        files
    }

    pub(crate) fn modality(&self) -> Option<&Modality> {
        self.modality.as_ref()
    }

    /// # Errors
    /// [`Error::NoEpisode`].
    pub(crate) fn episode(&self, episode: usize) -> Result<&Episode, Error> {
        self.episodes.get(episode).ok_or_else(|| self.no_episode(episode))
    }

    fn no_episode(&self, episode: usize) -> Error {
        Error::NoEpisode { path: self.root.clone(), episode, last: self.episodes.len().saturating_sub(1) }
    }

    /// Opens the parquet file of an episode.
    pub(crate) fn table(&self, episode: &Episode) -> Result<Table, Error> {
        let path = self.data_file(episode)?;
        if !path.exists() {
            return Err(Error::MissingFile { path, episode: episode.index });
        }
        Table::open(&path)
    }

    fn data_file(&self, episode: &Episode) -> Result<PathBuf, Error> {
        self.filled(&self.info.data_path, episode, episode.data.chunk, episode.data.file, "")
    }

    /// The video of a camera.
    pub(crate) fn video_file(&self, episode: &Episode, camera: &str) -> Result<PathBuf, Error> {
        let place = episode.video(camera);
        self.filled(&self.info.video_path, episode, place.chunk, place.file, camera)
    }

    fn filled(
        &self,
        pattern: &str,
        episode: &Episode,
        chunk: usize,
        file: usize,
        camera: &str,
    ) -> Result<PathBuf, Error> {
        let fields = [
            ("episode_chunk", Field::Number(episode.index / self.info.chunk_size)),
            ("episode_index", Field::Number(episode.index)),
            ("chunk_index", Field::Number(chunk)),
            ("file_index", Field::Number(file)),
            ("video_key", Field::Text(camera)),
        ];
        let relative = fill(pattern, &fields);
        let relative = relative.map_err(|reason| {
            Error::metadata(&self.root.join("meta/info.json"), format!("path pattern '{pattern}': {reason}"))
        })?;
        Ok(self.root.join(relative))
    }
}

/// Reads a text file of the metadata.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    if text.starts_with(LFS) {
        return Err(Error::Pointer { path: path.to_owned(), kind: "JSON" });
    }
    Ok(text)
}

/// First line of a Git LFS pointer.
pub(crate) const LFS: &str = "version https://git-lfs";
