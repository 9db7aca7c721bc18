//! Bags to a LeRobot data set: the observations that the node would have had, at a fixed rate, with recorded commands or the joint
//! positions that followed as actions.
//!
//! A moment at which an input is missing or breaks a rule of the parameters ends the episode; the next whole observation begins
//! another. Each bag begins a new episode.

use std::path::Path;

use crate::Error;
use crate::commands::CommandTopics;
use crate::commands::timeline::Timeline;
use crate::replay::complaints::Complaints;
use crate::replay::source::{Recording, TimedMessage};
use crate::replay::ticks::Ticks;
use crate::replay::{BagSource, Source};
use vla_base::time::{Span, Stamp};
use vla_datasets::Frame;
use vla_datasets::writer::{Layout, NewRow, Writer};
use vla_messages::{CompressedImageView, FrameDecoder, ImageView, Pixels};
use vla_policy::PolicySpec;
use vla_policy::observation::{CameraSample, Exif, Inputs, JointMap, Observation, StateReader, Transport};
use vla_runtime::parameters::Settings;

/// Events without an observation that a message shows.
const REASONS: usize = 3;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Episodes.
    pub episodes: usize,
    /// Rows of all of them.
    pub rows: usize,
    /// Moments without a whole observation.
    pub left_out: usize,
}

/// Writes the bags to `folder` at `fps` rows a second. `commands`: topics with the recorded actions; none: the joint positions that
/// followed. `progress` receives the fraction of each bag, and its number.
///
/// # Errors
/// [`Error::Topics`], [`Error::RecordedActions`] for `commands` that a bag does not have or that lack a joint.
/// [`Error::NoJoints`] for state or action keys that joints do not give; [`Error::NoObservation`] when no bag has one; a bag that cannot
/// be read, a frame that cannot be decoded or has another size than the first, a file that cannot be written.
pub fn write(
    spec: &PolicySpec,
    settings: &Settings,
    bags: &[BagSource],
    commands: &[String],
    fps: f64,
    folder: &Path,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<Written, Error> {
    check(spec, settings)?;
    let mut converter = Converter::new(settings, fps, folder)?;
    let joints: Vec<String> = settings.action.iter().flat_map(|map| map.joints.iter().cloned()).collect();
    for (index, bag) in bags.iter().enumerate() {
        let recording = Recording::open(&Source::from(bag.clone()), spec, settings)?;
        let step = Span::from_millis(1000.0 / fps);
        let topics = match commands {
            [] => None,
            names => Some(CommandTopics::open(bag, names, step, &joints, step, settings)?),
        };
        converter.bag(&recording, topics.as_ref(), &mut |fraction| progress(index, fraction))?;
    }
    let bag = bags.first().map(|bag| bag.bag.clone()).unwrap_or_default();
    converter.finish().ok_or(Error::NoObservation { bag, reasons: Vec::new() })?
}

/// A data set has numbers only: each key must be of joints.
fn check(spec: &PolicySpec, settings: &Settings) -> Result<(), Error> {
    let without = |keys: &[(String, usize)], maps: &[JointMap], group: &str| {
        let missing = keys.iter().filter(|(key, _)| !maps.iter().any(|map| map.key == *key));
        missing.map(|(key, _)| format!("{group}.{key}")).collect::<Vec<_>>()
    };
    let mut keys = without(&spec.state, &settings.state, "state");
    keys.extend(without(&spec.action.keys, &settings.action, "action"));
    if keys.is_empty() { Ok(()) } else { Err(Error::NoJoints { keys }) }
}

struct Converter<'a> {
    settings: &'a Settings,
    fps: f64,
    folder: &'a Path,
    writer: Option<Writer>,
    state: StateReader,
    action: StateReader,
    /// The last row, which waits for its action.
    pending: Option<Pending>,
    /// The commands so far, where they are the actions.
    commands: Option<Timeline>,
    /// The episode has a row.
    open: bool,
    decoders: Vec<FrameDecoder>,
    observation: Observation,
    complaints: Complaints,
    written: Written,
    reasons: Vec<String>,
}

/// A row without its action.
#[derive(Default)]
struct Pending {
    at: Stamp,
    state: Vec<f32>,
    /// Positions of the action's joints at this row.
    positions: Vec<f32>,
    frames: Vec<(usize, usize, Vec<u8>)>,
    task: String,
}

impl<'a> Converter<'a> {
    fn new(settings: &'a Settings, fps: f64, folder: &'a Path) -> Result<Self, Error> {
        Ok(Self {
            settings,
            fps,
            folder,
            writer: None,
            state: StateReader::new(&settings.state)?,
            action: StateReader::new(&settings.action)?,
            pending: None,
            commands: None,
            open: false,
            decoders: Vec::new(),
            observation: Observation::default(),
            complaints: Complaints::default(),
            written: Written { episodes: 0, rows: 0, left_out: 0 },
            reasons: Vec::new(),
        })
    }

    /// Adds the episodes of a bag.
    fn bag(
        &mut self,
        recording: &Recording,
        topics: Option<&CommandTopics>,
        progress: &mut dyn FnMut(f64),
    ) -> Result<(), Error> {
        let (start, end) = recording.bounds();
        for segment in recording.segments() {
            let mut commands = topics.map(CommandTopics::iter).transpose()?;
            let continuous = self.settings.action.iter().flat_map(|map| &map.joints);
            let continuous = continuous.map(|joint| self.settings.rules.continuous.contains(joint));
            self.commands = commands.as_ref().map(|_| Timeline::new(continuous, self.period(), true));
            let inputs = Inputs::new(self.settings.inputs.clone());
            if !self.settings.instruction.is_empty() {
                inputs.set_instruction(&self.settings.instruction);
            }
            let mut ticks = Ticks::new(self.fps);
            let mut last = start;
            for message in segment.messages()? {
                let TimedMessage { time, message } = message?;
                while let Some(now) = ticks.next_before(time) {
                    self.tick(now, &inputs)?;
                }
                if let (Some(commands), Some(timeline)) = (&mut commands, &mut self.commands) {
                    commands.read_until(message.log_time, time, timeline)?;
                }
                ticks.message(time, recording.is_stamped(message.topic));
                for input in recording.inputs(message.topic) {
                    if let Err(error) = inputs.offer(input, message.data.clone(), time) {
                        self.complaints.take(input, &error);
                    }
                }
                let waits = |now| inputs.check(now, &self.settings.rules).err().is_some_and(|v| v.is_of_start());
                if ticks.waits_for_inputs() && !waits(time) {
                    ticks.complete(time);
                }
                progress((message.log_time - start).seconds() / (end - start).seconds().max(1e-9));
                last = time;
            }
            if let Some(now) = ticks.last_by(segment.end(last)) {
                self.tick(now, &inputs)?;
            }
            self.end_episode()?;
        }
        Ok(())
    }

    /// Takes the observation of one moment.
    fn tick(&mut self, now: Stamp, inputs: &Inputs) -> Result<(), Error> {
        match inputs.assemble_into(now, &self.settings.rules, &mut self.observation) {
            Ok(()) => self.observed(now),
            Err(violation) => {
                self.written.left_out += 1;
                if self.reasons.len() < REASONS {
                    self.reasons.push(format!("at {now}: {violation}"));
                }
                self.end_episode()
            }
        }
    }

    fn period(&self) -> Span {
        Span::from_millis(1000.0 / self.fps)
    }

    fn observed(&mut self, now: Stamp) -> Result<(), Error> {
        let mut next = Pending { at: now, task: self.observation.instruction.to_string(), ..Pending::default() };
        next.state.resize(self.state.width(), 0.0);
        next.positions.resize(self.action.width(), 0.0);
        if let Some(joints) = &self.observation.joints {
            self.state.read(joints, &mut next.state)?;
            self.action.read(joints, &mut next.positions)?;
        }
        self.decoders.resize_with(self.observation.cameras.len(), FrameDecoder::new);
        for (camera, decoder) in self.observation.cameras.iter().zip(&mut self.decoders) {
            next.frames.push(decoded(camera, decoder)?);
        }
        if let Some(before) = self.pending.take() {
            let action = self.action_of(&before, &next.positions);
            self.write_or_leave_out(&before, action)?;
        }
        self.pending = Some(next);
        Ok(())
    }

    /// The command that is due one row after `row`, or the positions that followed. `None` before the first command of a joint.
    fn action_of(&self, row: &Pending, following: &[f32]) -> Option<Vec<f32>> {
        let Some(timeline) = &self.commands else { return Some(following.to_vec()) };
        let (due, mut action) = (row.at + self.period(), vec![0.0; following.len()]);
        timeline.row(due, due, &mut action).then_some(action)
    }

    /// A row without an action is left out: it ends the episode.
    fn write_or_leave_out(&mut self, row: &Pending, action: Option<Vec<f32>>) -> Result<(), Error> {
        let Some(action) = action else {
            self.written.left_out += 1;
            return self.close_episode();
        };
        self.row(row, &action)?;
        self.open = true;
        if let Some(timeline) = &mut self.commands {
            timeline.forget_before(row.at);
        }
        Ok(())
    }

    /// Writes the last row, whose action is the last command or its own position, and ends the episode.
    fn end_episode(&mut self) -> Result<(), Error> {
        let Some(last) = self.pending.take() else { return Ok(()) };
        let action = self.action_of(&last, &last.positions);
        self.write_or_leave_out(&last, action)?;
        self.close_episode()
    }

    fn close_episode(&mut self) -> Result<(), Error> {
        if let (true, Some(writer)) = (std::mem::take(&mut self.open), &mut self.writer) {
            writer.end_episode()?;
            self.written.episodes += 1;
        }
        Ok(())
    }

    fn row(&mut self, row: &Pending, action: &[f32]) -> Result<(), Error> {
        let frames: Vec<Frame<'_>> =
            row.frames.iter().map(|(width, height, rgb)| Frame { width: *width, height: *height, rgb }).collect();
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::create(self.folder, layout(self.settings, self.fps, &frames))?),
        };
        writer.row(&NewRow { state: &row.state, action, frames: &frames, task: &row.task })?;
        self.written.rows += 1;
        Ok(())
    }

    /// `None` when there was no row.
    fn finish(self) -> Option<Result<Written, Error>> {
        self.complaints.lines().for_each(|line| tracing::warn!("{line}"));
        self.reasons.iter().for_each(|reason| tracing::warn!("no row {reason}"));
        let (writer, written) = (self.writer?, self.written);
        Some(writer.finish().map(|()| written).map_err(Error::from))
    }
}

/// The layout of the data set, with the sizes of the first frames.
fn layout(settings: &Settings, fps: f64, frames: &[Frame<'_>]) -> Layout {
    let joints = |maps: &[JointMap]| maps.iter().flat_map(|map| map.joints.iter().cloned()).collect();
    let keys = |maps: &[JointMap]| maps.iter().map(|map| (map.key.clone(), map.joints.len())).collect();
    let cameras =
        settings.inputs.iter().zip(frames).map(|(input, frame)| (input.name.clone(), frame.width, frame.height));
    Layout {
        fps,
        robot_type: String::new(),
        state: joints(&settings.state),
        action: joints(&settings.action),
        cameras: cameras.collect(),
        keys: [keys(&settings.state), keys(&settings.action)],
    }
}

/// Width, height and RGB of a frame.
fn decoded(camera: &CameraSample, decoder: &mut FrameDecoder) -> Result<(usize, usize, Vec<u8>), Error> {
    let pixels: Result<Pixels<'_>, vla_messages::Error> = match camera.transport {
        Transport::Raw => ImageView::parse(&camera.bytes).and_then(|image| image.pixels_as(camera.options.encoding)),
        Transport::Compressed => {
            CompressedImageView::parse(&camera.bytes).and_then(|image| match camera.options.exif {
                Exif::Ignore => decoder.decode(&image),
                Exif::Apply => decoder.decode_upright(&image),
            })
        }
    };
    let pixels = pixels.map_err(|source| Error::CameraFrame { camera: camera.name.to_string(), source })?;
    let mut rgb = Vec::with_capacity(pixels.width * pixels.height * 3);
    let mut scratch = vec![0; pixels.width * 3];
    for row in 0..pixels.height {
        rgb.extend_from_slice(pixels.row_rgb(row, &mut scratch));
    }
    Ok((pixels.width, pixels.height, rgb))
}
