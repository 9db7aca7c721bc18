//! What the report shows: the worst moments with their pictures, and predicted beside recorded curves of the worst episodes.
//!
//! Bounded: a fixed number of moments and episodes, curves thinned as [`Trace`] does.

use super::{Episode, Layout, Moment, Observer};
use crate::Error;
use crate::page::{Picture, Trace};
use vla_base::time::Stamp;
use vla_messages::FrameDecoder;
use vla_policy::observation::CameraSample;

/// Moments that are kept.
const MOMENTS: usize = 6;
/// Episodes whose curves are kept.
const EPISODES: usize = 3;
/// Stretches of a curve.
const STRETCHES: usize = 400;

/// Collects what the report of a run shows.
#[derive(Default)]
pub struct Gallery {
    moments: Vec<WorstMoment>,
    episodes: Vec<EpisodeCurves>,
    current: Option<EpisodeCurves>,
    /// Episodes and moments of another run; `None`: those with the largest errors.
    beside: Option<Beside>,
    decoder: FrameDecoder,
}

/// What another run showed.
struct Beside {
    episodes: Vec<usize>,
    /// Episode and observation of its moments, and the rows predicted here.
    moments: Vec<(usize, Stamp, Vec<f32>)>,
}

/// A chunk with a large error.
pub(super) struct WorstMoment {
    /// Mean absolute error over the used rows and columns, normalised where that is known.
    pub(super) error: f64,
    pub(super) episode: usize,
    /// From the first chunk of the episode, s.
    pub(super) seconds: f64,
    pub(super) moment: Moment,
    pub(super) pictures: Vec<Picture>,
}

/// Predicted and recorded curves of one episode.
pub(super) struct EpisodeCurves {
    pub(super) index: usize,
    start: Stamp,
    /// Mean squared error in the robot's units.
    pub(super) mse: f64,
    /// One a column.
    pub(super) recorded: Vec<Trace>,
    /// One a column.
    pub(super) predicted: Vec<Trace>,
    /// Times of the inferences, s.
    pub(super) inferences: Vec<f64>,
    /// Time of the last recorded row, s.
    last: f64,
}

impl Gallery {
    /// A gallery with the episodes and moments of another run.
    pub fn beside(first: &Self) -> Self {
        let moments = first.moments.iter().map(|worst| (worst.episode, worst.moment.at, Vec::new()));
        let episodes = first.episodes.iter().map(|episode| episode.index).collect();
        Self { beside: Some(Beside { episodes, moments: moments.collect() }), ..Self::default() }
    }

    /// The rows that this run predicted at a moment of the other.
    pub(super) fn prediction(&self, moment: &Moment) -> Option<&[f32]> {
        let kept = self.beside.iter().flat_map(|beside| &beside.moments);
        let mut same = kept.filter(|(episode, at, _)| (*episode, *at) == (moment.episode, moment.at));
        same.next().map(|(.., rows)| rows.as_slice()).filter(|rows| !rows.is_empty())
    }

    /// The worst moments, the worst first.
    pub(super) fn moments(&self) -> &[WorstMoment] {
        &self.moments
    }

    /// The episodes, the one with the largest error first.
    pub(super) fn episodes(&self) -> &[EpisodeCurves] {
        &self.episodes
    }

    fn offer(&mut self, layout: &Layout, moment: &Moment, seconds: f64) {
        let Some(error) = mean_error(layout, moment).filter(|error| *error > 0.0) else { return };
        let place = self.moments.partition_point(|kept| kept.error >= error);
        if place >= MOMENTS {
            return;
        }
        let decoder = &mut self.decoder;
        let picture = |camera: &CameraSample| {
            Picture::of_message(&camera.name, (camera.transport, camera.options), &camera.bytes, decoder)
        };
        let pictures = moment.cameras.iter().map(picture).collect();
        let kept = Moment { cameras: Vec::new(), ..moment.clone() };
        self.moments.insert(place, WorstMoment { error, episode: moment.episode, seconds, moment: kept, pictures });
        self.moments.truncate(MOMENTS);
    }
}

impl Observer for Gallery {
    fn moment(&mut self, layout: &Layout, moment: &Moment) -> Result<(), Error> {
        let current = self.current.get_or_insert_with(|| EpisodeCurves::new(layout, moment));
        let seconds = current.add(layout, moment);
        match &mut self.beside {
            None => self.offer(layout, moment, seconds),
            Some(beside) => {
                let same = |kept: &&mut (usize, Stamp, Vec<f32>)| (kept.0, kept.1) == (moment.episode, moment.at);
                if let Some((.., rows)) = beside.moments.iter_mut().find(same) {
                    rows.clone_from(&moment.predicted);
                }
            }
        }
        Ok(())
    }

    fn episode(&mut self, _layout: &Layout, episode: &Episode) -> Result<(), Error> {
        let Some(mut curves) = self.current.take() else { return Ok(()) };
        curves.mse = episode.errors.robot.map_or(0.0, |errors| errors.mse);
        match &self.beside {
            Some(beside) if !beside.episodes.contains(&curves.index) => {}
            Some(_) => self.episodes.push(curves),
            None => {
                let place = self.episodes.partition_point(|kept| kept.mse >= curves.mse);
                self.episodes.insert(place, curves);
                self.episodes.truncate(EPISODES);
            }
        }
        Ok(())
    }
}

impl EpisodeCurves {
    fn new(layout: &Layout, first: &Moment) -> Self {
        let traces = || layout.columns.iter().map(|_| Trace::new(STRETCHES)).collect();
        let (recorded, predicted) = (traces(), traces());
        Self {
            index: first.episode,
            start: first.start,
            mse: 0.0,
            recorded,
            predicted,
            inferences: Vec::new(),
            last: f64::NEG_INFINITY,
        }
    }

    /// Adds the used rows of a chunk; returns the time of its first row, s.
    fn add(&mut self, layout: &Layout, moment: &Moment) -> f64 {
        let begins = (moment.start - self.start).seconds();
        if self.inferences.len() < STRETCHES {
            self.inferences.push(begins);
        }
        // Each chunk is a curve of its own.
        self.predicted.iter_mut().for_each(|trace| trace.push(begins, f64::NAN));
        for (row, (predicted, recorded)) in moment.rows(layout.width()).take(layout.used.min(moment.known)).enumerate()
        {
            let x = begins + row as f64 * layout.step.seconds();
            for (column, (predicted, recorded)) in predicted.iter().zip(recorded).enumerate() {
                if let (Some(ours), Some(theirs)) = (self.predicted.get_mut(column), self.recorded.get_mut(column)) {
                    ours.push(x, f64::from(*predicted));
                    // Rows of two chunks may be due at the same time.
                    if x > self.last {
                        theirs.push(x, f64::from(*recorded));
                    }
                }
            }
            self.last = self.last.max(x);
        }
        begins
    }
}

/// Mean absolute error over the used rows.
fn mean_error(layout: &Layout, moment: &Moment) -> Option<f64> {
    let rows = layout.used.min(moment.known);
    let mean = |values: usize, sum: f64| (values > 0).then(|| sum / values as f64);
    let sum = |rows: &mut dyn Iterator<Item = (&[f32], &[f32])>| {
        rows.flat_map(|(one, other)| one.iter().zip(other))
            .map(|(one, other)| (f64::from(*one) - f64::from(*other)).abs())
            .fold((0, 0.0), |(count, sum), error| (count + 1, sum + error))
    };
    let (count, normalised) = sum(&mut moment.normalised_rows(layout.normalised_width()).take(rows));
    let (values, robot) = sum(&mut moment.rows(layout.width()).take(rows));
    mean(count, normalised).or_else(|| mean(values, robot))
}
