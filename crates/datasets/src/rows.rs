//! The rows of an episode.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use crate::table::{Column, Table};
use crate::{Dataset, Error, Piece, Storage};

/// Columns that LeRobot adds to every data set.
pub(crate) mod columns {
    /// Seconds since the start of the episode.
    pub(crate) const TIMESTAMP: &str = "timestamp";
    /// Number of the row in its episode.
    pub(crate) const FRAME: &str = "frame_index";
    /// Number of the episode.
    pub(crate) const EPISODE: &str = "episode_index";
    /// Number of the task.
    pub(crate) const TASK: &str = "task_index";
}

/// Rows that are read at once.
const BATCH: usize = 256;
/// Part of a period by which a timestamp may differ from `frame_index / fps` and count as equal: timestamps are stored in single
/// precision.
const ROUNDING: f64 = 0.01;

/// One row of an episode.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Number in the episode.
    pub frame: usize,
    /// Seconds since the start of the episode; `frame / fps` where the stored timestamp is the same but for rounding.
    pub timestamp: f64,
    /// The stored timestamp, with which a loader asks for the frames.
    pub stored_timestamp: f64,
    /// Number of the task: [`Dataset::task`].
    pub task: Option<i64>,
    /// The elements of the pieces, one after the other.
    pub values: Vec<f32>,
}

/// See [`Dataset::rows`].
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    episode: usize,
    fps: f64,
    /// Rows to come.
    left: usize,
    length: usize,
    fixed: [Column; 3],
    task: Option<Column>,
    columns: Vec<Column>,
    pieces: Vec<(usize, Range<usize>)>,
    widths: Vec<usize>,
    batch: VecDeque<Row>,
}

impl Rows {
    pub(crate) fn open(dataset: &Dataset, episode: usize, pieces: &[Piece], task: &str) -> Result<Self, Error> {
        let described = dataset.episode(episode)?;
        let table = dataset.table(described)?;
        check_rows(&table, described.first_row, described.length, episode, dataset)?;
        let first = described.first_row;
        let one = |name: &str| table.number_column(name, 1, first);
        let fixed = [one(columns::TIMESTAMP)?, one(columns::FRAME)?, one(columns::EPISODE)?];
        let (mut names, mut placed) = (Vec::<&str>::new(), Vec::new());
        let (mut opened, mut widths) = (Vec::new(), Vec::new());
        for piece in pieces {
            let width = width_of(dataset, piece, &table)?;
            let place = names.iter().position(|name| *name == piece.column);
            if place.is_none() {
                names.push(&piece.column);
                opened.push(table.number_column(&piece.column, width, first)?);
                widths.push(width);
            }
            placed.push((place.unwrap_or(names.len() - 1), piece.elements.clone().unwrap_or(0..width)));
        }
        let task = table.has(task).then(|| one(task)).transpose()?;
        Ok(Self {
            path: table.path().to_owned(),
            episode,
            fps: dataset.fps(),
            left: described.length,
            length: described.length,
            fixed,
            task,
            columns: opened,
            pieces: placed,
            widths,
            batch: VecDeque::with_capacity(BATCH),
        })
    }

    /// Rows of the episode.
    pub fn length(&self) -> usize {
        self.length
    }

    fn wrong(&self, expected: String, found: String) -> Error {
        Error::Rows { path: self.path.clone(), episode: self.episode, expected, found }
    }

    /// Reads the next rows.
    fn fill(&mut self) -> Result<(), Error> {
        let wanted = self.left.min(BATCH);
        let mut fixed: [Vec<f64>; 3] = Default::default();
        let mut task = Vec::new();
        let mut values = vec![Vec::new(); self.columns.len()];
        for (column, values) in self.fixed.iter_mut().zip(&mut fixed) {
            read_exactly(column, wanted, 1, values)?;
        }
        if let Some(column) = &mut self.task {
            read_exactly(column, wanted, 1, &mut task)?;
        }
        for ((column, values), width) in self.columns.iter_mut().zip(&mut values).zip(&self.widths) {
            read_exactly(column, wanted, *width, values)?;
        }
        let [timestamps, frames, episodes] = fixed;
        if timestamps.len() < wanted {
            let found = format!("{}", self.length - self.left + timestamps.len());
            return Err(self.wrong(format!("{} rows", self.length), found));
        }
        for row in 0..wanted {
            let number = self.length - self.left + row;
            let at = |column: &[f64]| column.get(row).copied().unwrap_or(f64::NAN);
            let (timestamp, frame, episode) = (at(&timestamps), at(&frames), at(&episodes));
            if episode != self.episode as f64 || frame != number as f64 {
                let expected = format!("row {number} to be frame {number} of it");
                return Err(self.wrong(expected, format!("frame {frame} of episode {episode}")));
            }
            let exact = number as f64 / self.fps;
            if !timestamp.is_finite() {
                return Err(self.wrong(format!("a timestamp in row {number}"), format!("{timestamp}")));
            }
            let rounded = (timestamp - exact).abs() * self.fps <= ROUNDING;
            let mut elements = Vec::new();
            for (column, part) in &self.pieces {
                let (width, all) = (self.widths[*column], &values[*column]);
                let part = all.get(row * width + part.start..row * width + part.end).unwrap_or_default();
                elements.extend(part.iter().map(|value| *value as f32));
            }
            self.batch.push_back(Row {
                frame: number,
                timestamp: if rounded { exact } else { timestamp },
                stored_timestamp: timestamp,
                task: task.get(row).map(|task| *task as i64),
                values: elements,
            });
        }
        self.left -= wanted;
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty()
            && self.left > 0
            && let Err(error) = self.fill()
        {
            self.left = 0;
            return Some(Err(error));
        }
        self.batch.pop_front().map(Ok)
    }
}

/// Reads `rows` rows across the ends of row groups, or fewer at the end of the file.
fn read_exactly(column: &mut Column, rows: usize, width: usize, values: &mut Vec<f64>) -> Result<(), Error> {
    while values.len() < rows * width {
        if column.read_numbers(rows - values.len() / width.max(1), values)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Refuses a file that has fewer rows than the metadata says, or in v2 another number.
fn check_rows(table: &Table, first: usize, length: usize, episode: usize, dataset: &Dataset) -> Result<(), Error> {
    let (found, needed) = (table.row_count(), first.saturating_add(length));
    let whole = match dataset.version() {
        crate::Version::V2 => found == length,
        crate::Version::V3 => found >= needed,
    };
    if whole {
        return Ok(());
    }
    let expected = format!("{needed} rows in the file");
    Err(Error::Rows { path: table.path().to_owned(), episode, expected, found: format!("{found}") })
}

/// The width of a piece's column; refuses elements that it does not have.
fn width_of(dataset: &Dataset, piece: &Piece, table: &Table) -> Result<usize, Error> {
    let schema = |expected: String, found: String| Error::Schema {
        path: table.path().to_owned(),
        column: piece.column.clone(),
        expected,
        found,
    };
    let feature = dataset.features().get(&piece.column).filter(|feature| feature.storage == Storage::Numbers);
    let width = feature.map(crate::Feature::width);
    let width = width.ok_or_else(|| schema("a feature of numbers in meta/info.json".into(), "none".into()))?;
    match &piece.elements {
        Some(elements) if elements.end > width => {
            Err(schema(format!("{} elements for {piece}", elements.end), format!("{width}")))
        }
        _ => Ok(width),
    }
}
