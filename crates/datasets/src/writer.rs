//! Writes data sets of version 3.0, with cameras as PNG images inside the parquet files.
//!
//! ```text
//! let mut writer = Writer::create(folder, layout)?;
//! writer.row(&NewRow { state, action, frames, task })?;   // and so on
//! writer.end_episode()?;
//! writer.finish()?;
//! ```
//!
//! Memory holds a few rows: they are written as row groups of 32 rows.

use std::fs;
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Compression};
use vla_base::sys::fs::Replacement;

use crate::{Error, Frame};

mod columns;
mod metadata;
mod statistics;

use columns::{Column, TableWriter};
use statistics::Statistics;

/// Rows of a row group.
const GROUP: usize = 32;
/// Bytes of a data file after which the next episode begins another, as in LeRobot.
const FILE_BYTES: usize = 100 << 20;
/// Files in a folder.
const CHUNK: usize = 1000;

/// What a data set contains.
#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    /// Rows a second.
    pub fps: f64,
    /// Name of the kind of robot; may be empty.
    pub robot_type: String,
    /// Names of the state's elements.
    pub state: Vec<String>,
    /// Names of the action's elements.
    pub action: Vec<String>,
    /// Cameras by their short names, such as `top`, with width and height.
    pub cameras: Vec<(String, usize, usize)>,
    /// Keys of the state and of the actions with their widths, in the order of the elements, for `meta/modality.json`.
    pub keys: [Vec<(String, usize)>; 2],
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct NewRow<'r> {
    /// As many values as [`Layout::state`].
    pub state: &'r [f32],
    /// As many values as [`Layout::action`].
    pub action: &'r [f32],
    /// One a camera, in their order.
    pub frames: &'r [Frame<'r>],
    /// The instruction.
    pub task: &'r str,
}

/// Writes one data set into a folder.
pub struct Writer {
    root: PathBuf,
    layout: Layout,
    table: Option<TableWriter<Replacement>>,
    /// Number of the data file.
    file: usize,
    rows: Batch,
    tasks: Vec<String>,
    episodes: Vec<WrittenEpisode>,
    /// First row of the episode that is being written, and its tasks.
    begins: usize,
    episode_tasks: Vec<usize>,
    /// Rows so far.
    count: usize,
    statistics: [Statistics; 2],
}

/// Rows that are not written yet.
#[derive(Default)]
struct Batch {
    state: Vec<f32>,
    action: Vec<f32>,
    images: Vec<Vec<Vec<u8>>>,
    timestamps: Vec<f32>,
    frames: Vec<i64>,
    episodes: Vec<i64>,
    indices: Vec<i64>,
    tasks: Vec<i64>,
}

/// An episode in the data files.
pub(crate) struct WrittenEpisode {
    pub(crate) first: usize,
    pub(crate) length: usize,
    pub(crate) file: usize,
    pub(crate) tasks: Vec<usize>,
}

impl Writer {
    /// Begins a data set in a folder, which is made where it does not exist. The folder is complete after [`Self::finish`] only: write
    /// into a temporary one.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn create(root: &Path, layout: Layout) -> Result<Self, Error> {
        let meta = root.join("meta/episodes/chunk-000");
        fs::create_dir_all(&meta).map_err(Error::io(&meta))?;
        let statistics = [Statistics::new(layout.state.len()), Statistics::new(layout.action.len())];
        let rows = Batch { images: vec![Vec::new(); layout.cameras.len()], ..Batch::default() };
        Ok(Self {
            root: root.to_owned(),
            layout,
            table: None,
            file: 0,
            rows,
            tasks: Vec::new(),
            episodes: Vec::new(),
            begins: 0,
            episode_tasks: Vec::new(),
            count: 0,
            statistics,
        })
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.count
    }

    /// Appends a row to the current episode.
    ///
    /// # Errors
    /// [`Error::Layout`] for a row of another form; a file that cannot be written.
    pub fn row(&mut self, row: &NewRow<'_>) -> Result<(), Error> {
        self.check(row)?;
        let frame = self.count - self.begins;
        let task = self.task(row.task);
        for (images, frame) in self.rows.images.iter_mut().zip(row.frames) {
            images.push(encoded(frame)?);
        }
        let [state, action] = &mut self.statistics;
        state.add(row.state);
        action.add(row.action);
        let rows = &mut self.rows;
        rows.state.extend_from_slice(row.state);
        rows.action.extend_from_slice(row.action);
        rows.timestamps.push((frame as f64 / self.layout.fps) as f32);
        rows.frames.push(frame as i64);
        rows.episodes.push(self.episodes.len() as i64);
        rows.indices.push(self.count as i64);
        rows.tasks.push(task as i64);
        self.count += 1;
        if self.rows.frames.len() >= GROUP { self.flush() } else { Ok(()) }
    }

    /// Ends the current episode; without rows it does nothing.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end_episode(&mut self) -> Result<(), Error> {
        if self.count == self.begins {
            return Ok(());
        }
        self.flush()?;
        self.episodes.push(WrittenEpisode {
            first: self.begins,
            length: self.count - self.begins,
            file: self.file,
            tasks: std::mem::take(&mut self.episode_tasks),
        });
        self.begins = self.count;
        if self.table.as_ref().is_some_and(|table| table.bytes() > FILE_BYTES) {
            self.close()?;
            self.file += 1;
        }
        Ok(())
    }

    /// Ends the last episode and writes the metadata.
    ///
    /// # Errors
    /// [`Error::Layout`] for a data set without a row; a file that cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.end_episode()?;
        self.close()?;
        if self.episodes.is_empty() {
            return Err(Error::Layout { path: self.root, what: "rows", expected: 1, found: 0 });
        }
        let contents = metadata::Contents {
            layout: &self.layout,
            tasks: &self.tasks,
            episodes: &self.episodes,
            rows: self.count,
            statistics: &self.statistics,
        };
        metadata::write(&self.root, &contents)
    }

    fn check(&self, row: &NewRow<'_>) -> Result<(), Error> {
        let layout = &self.layout;
        let fits = |what: &'static str, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(Error::Layout { path: self.root.clone(), what, expected, found }),
        };
        fits("values of the state", layout.state.len(), row.state.len())?;
        fits("values of the action", layout.action.len(), row.action.len())?;
        fits("frames", layout.cameras.len(), row.frames.len())?;
        for ((_, width, height), frame) in layout.cameras.iter().zip(row.frames) {
            fits("pixels in a row of a frame", *width, frame.width)?;
            fits("rows of a frame", *height, frame.height)?;
        }
        Ok(())
    }

    /// The number of a task.
    fn task(&mut self, text: &str) -> usize {
        let known = self.tasks.iter().position(|task| task == text);
        let task = known.unwrap_or_else(|| {
            self.tasks.push(text.to_owned());
            self.tasks.len() - 1
        });
        if !self.episode_tasks.contains(&task) {
            self.episode_tasks.push(task);
        }
        task
    }

    /// Writes the rows that are held as a row group.
    fn flush(&mut self) -> Result<(), Error> {
        if self.rows.frames.is_empty() {
            return Ok(());
        }
        let rows = &mut self.rows;
        let mut columns = vec![
            Column::lists("observation.state", &rows.state, self.layout.state.len()),
            Column::lists("action", &rows.action, self.layout.action.len()),
        ];
        let names = self.layout.cameras.iter().map(|(name, ..)| feature(name));
        columns.extend(names.zip(&rows.images).map(|(name, images)| Column::images(name, images)));
        columns.extend([
            Column::floats("timestamp", &rows.timestamps),
            Column::integers("frame_index", &rows.frames),
            Column::integers("episode_index", &rows.episodes),
            Column::integers("index", &rows.indices),
            Column::integers("task_index", &rows.tasks),
        ]);
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(TableWriter::create(&data_file(&self.root, self.file)?, &columns, None)?),
        };
        table.write(&columns)?;
        let images = vec![Vec::new(); self.layout.cameras.len()];
        self.rows = Batch { images, ..Batch::default() };
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.table.take().map_or(Ok(()), TableWriter::finish)
    }
}

/// The feature of a camera.
pub(crate) fn feature(camera: &str) -> String {
    format!("observation.images.{camera}")
}

/// Numbers of folder and file.
pub(crate) fn place(file: usize) -> (usize, usize) {
    (file / CHUNK, file % CHUNK)
}

fn data_file(root: &Path, file: usize) -> Result<PathBuf, Error> {
    let (chunk, file) = place(file);
    let folder = root.join(format!("data/chunk-{chunk:03}"));
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    Ok(folder.join(format!("file-{file:03}.parquet")))
}

/// A frame as a PNG file.
fn encoded(frame: &Frame<'_>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, frame.width as u32, frame.height as u32);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(frame.rgb));
    written.map_err(|error| Error::Png { reason: error.to_string() })?;
    Ok(bytes)
}
