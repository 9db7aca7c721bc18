//! One row of a data set as the arrays of an inference.

use std::collections::BTreeMap;

use super::inputs::{IMAGE, INSTRUCTION, NOISE, STATE};
use crate::Error;
use crate::replay::DatasetSource;
use vla_base::tensor::HostTensor;
use vla_datasets::{Dataset, Join, Key, PolicyKeys, Row};
use vla_policy::{PolicySpec, initial_noise};

/// A row of a data set.
#[derive(Clone, PartialEq, Debug)]
pub struct Moment {
    /// The data set; its choice of episodes is not used.
    pub source: DatasetSource,
    /// The episode.
    pub episode: usize,
    /// The row in it.
    pub frame: usize,
    /// Seed of the noise.
    pub seed: u64,
}

/// The arrays that [`super::Inputs::new`] takes, of one row: frames, state and instruction of the data set, and noise of the seed.
///
/// A policy with frames of several times gets the rows nearest to them; times before the episode are its first row, as in training.
///
/// # Errors
/// [`Error::Dataset`] for a row, camera or key that the data set does not have, or a file that cannot be read.
pub fn arrays(spec: &PolicySpec, moment: &Moment) -> Result<BTreeMap<String, HostTensor>, Error> {
    let Moment { source, episode, frame, seed } = moment;
    let dataset = Dataset::open(&source.dir)?;
    let join = Join::new(&dataset, &keys(spec), &source.columns)?;
    let pieces: Vec<_> = join.state.iter().flat_map(|joined| joined.pieces.iter().cloned()).collect();
    let rows = dataset.rows_with_task(*episode, &pieces, join.task.as_deref())?;
    let (length, last) = (rows.length(), rows.length().saturating_sub(1));
    if *frame >= length {
        let (path, episode, frame) = (source.dir.clone(), *episode, *frame);
        return Err(vla_datasets::Error::NoFrame { path, episode, frame, last }.into());
    }
    let wanted = wanted_rows(spec, *frame, dataset.fps());
    let mut kept: Vec<Row> = Vec::with_capacity(wanted.len());
    for row in rows.take(frame + 1) {
        let row = row?;
        if wanted.contains(&row.frame) {
            kept.push(row);
        }
    }
    let mut arrays = BTreeMap::new();
    for (camera, feature) in &join.cameras {
        let tensor = frames(&dataset, *episode, feature, source, &kept, &wanted)?;
        arrays.insert(format!("{IMAGE}{camera}"), tensor);
    }
    let own = kept.last().ok_or_else(|| Error::Internal("no row".to_owned()))?;
    let mut rest = own.values.as_slice();
    for (key, width) in &spec.state {
        let (values, others) = rest.split_at_checked(*width).unwrap_or((rest, &[]));
        rest = others;
        arrays.insert(format!("{STATE}{key}"), made(HostTensor::from_f32(&[1, values.len()], values.to_vec()))?);
    }
    let mut noise = vec![0.0; spec.action.horizon * spec.action.dims];
    initial_noise(*seed, &mut noise);
    arrays.insert(NOISE.to_owned(), made(HostTensor::from_f32(&[spec.action.horizon, spec.action.dims], noise))?);
    let text = dataset.task(own.task).unwrap_or_default().as_bytes().to_vec();
    arrays.insert(INSTRUCTION.to_owned(), made(HostTensor::from_u8(&[text.len()], text))?);
    Ok(arrays)
}

/// The frames of a camera at the wanted rows, `[height, width, 3]`, or `[times, height, width, 3]`.
fn frames(
    dataset: &Dataset,
    episode: usize,
    feature: &str,
    source: &DatasetSource,
    kept: &[Row],
    wanted: &[usize],
) -> Result<HostTensor, Error> {
    let mut frames = dataset.frames(episode, feature, source.color)?;
    let (mut size, mut pixels) = ((0, 0), Vec::new());
    // The first row stands for all times before the episode.
    for number in wanted {
        let Some(row) = kept.iter().find(|row| row.frame == *number) else { continue };
        let frame = frames.at(row)?;
        size = (frame.height, frame.width);
        pixels.extend_from_slice(frame.rgb);
    }
    let dims = [wanted.len(), size.0, size.1, 3];
    made(HostTensor::from_u8(if wanted.len() > 1 { &dims } else { &dims[1..] }, pixels))
}

fn made(tensor: Option<HostTensor>) -> Result<HostTensor, Error> {
    tensor.ok_or_else(|| Error::Internal("an array of another size than its values".to_owned()))
}

/// The rows whose frames the policy reads, ascending, the observation's own last; a row may be in it several times.
fn wanted_rows(spec: &PolicySpec, frame: usize, fps: f64) -> Vec<usize> {
    let row = |delta: &i64| {
        let back = (-delta).max(0) as f64 * spec.action.step.seconds() * fps;
        frame.saturating_sub(back.round() as usize)
    };
    let mut rows: Vec<usize> = spec.video_history.iter().map(row).collect();
    if rows.is_empty() {
        rows.push(frame);
    }
    rows
}

fn keys(spec: &PolicySpec) -> PolicyKeys {
    let key = |(name, width): &(String, usize)| Key { name: name.clone(), width: *width, joints: Vec::new() };
    PolicyKeys {
        cameras: spec.cameras.clone(),
        state: spec.state.iter().map(key).collect(),
        action: spec.action.keys.iter().map(key).collect(),
    }
}
