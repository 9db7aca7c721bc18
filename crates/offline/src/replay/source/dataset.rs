//! A data set: each row as the messages that a node would have received at its time.
//!
//! Cameras become `sensor_msgs/Image` in RGB, the state one `sensor_msgs/JointState` with the joints of the parameters. The values
//! of the data set are in the policy's units; they are converted to the joints' (`scale`, `offset`) and back by the policy.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::Error;
use vla_base::time::{Span, Stamp};
use vla_datasets::{Assignment, ColorSpace, Dataset, Join, Joined, Key, Piece, PolicyKeys, Rows, Selection};
use vla_policy::PolicySpec;
use vla_policy::observation::{
    FrameOptions, InputKind, InputRule, InputSpec, InputTopic, JointMap, JointNames, StampSource, Transport,
};
use vla_runtime::parameters::Settings;

mod messages;

pub(super) use messages::EpisodeMessages;

/// Time of the first row of the first episode: a stamp of zero was never set.
const START: Stamp = Stamp::from_nanos(1_000_000_000);
/// Time from the last row of an episode to the first row of the next, at least; episodes begin at whole seconds.
const PAUSE: Span = Span::from_nanos(1_000_000_000);
/// What the topics of a data set's inputs begin with.
const TOPIC: &str = "/dataset/";

/// A data set, and how it is read.
#[derive(Clone, PartialEq, Debug)]
pub struct DatasetSource {
    /// The folder that contains `meta`.
    pub dir: PathBuf,
    /// Episodes in the order in which they are run; `None`: all.
    pub episodes: Option<Selection>,
    /// Columns of the policy's keys, where the data set's own files do not say them.
    pub columns: Vec<Assignment>,
    /// Conversion of the colours of videos.
    pub color: ColorSpace,
}

impl<P: Into<PathBuf>> From<P> for DatasetSource {
    fn from(dir: P) -> Self {
        Self { dir: dir.into(), episodes: None, columns: Vec::new(), color: ColorSpace::default() }
    }
}

impl DatasetSource {
    /// The files of the chosen episodes; none of a data set that cannot be read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let Ok(dataset) = Dataset::open(&self.dir) else { return Vec::new() };
        dataset.select(self.episodes.as_ref()).map(|episodes| dataset.files(&episodes)).unwrap_or_default()
    }
}

/// See [`super::Source::settings`].
pub(super) fn settings(spec: &PolicySpec, settings: &Settings) -> Settings {
    let state = spec.state.iter().map(|(key, width)| {
        let of_joints = settings.state.iter().find(|map| map.key == *key && map.joints.len() == *width).cloned();
        of_joints.unwrap_or_else(|| {
            JointMap::identity(key.clone(), (0..*width).map(|index| format!("{key}.{index}")).collect())
        })
    });
    let mut adapted = Settings { state: state.collect(), poses: Vec::new(), ..settings.clone() };
    let kept = |input: &InputSpec| !input.kind.is_pose() && input.kind != InputKind::Joints;
    let given = settings.inputs.iter().enumerate();
    let mut inputs: Vec<(InputSpec, InputRule)> =
        given.filter(|(_, input)| kept(input)).map(|(index, input)| (own(input), settings.rules.of(index))).collect();
    let joints = settings.inputs.iter().position(|input| input.kind == InputKind::Joints);
    let rule = joints.or((!settings.inputs.is_empty()).then_some(0)).map(|index| settings.rules.of(index));
    let cameras = inputs.iter().filter(|(input, _)| matches!(input.kind, InputKind::Camera { .. })).count();
    let keep = settings.inputs.iter().map(|input| input.keep).max().unwrap_or_default();
    inputs.insert(cameras, (joint_input(&adapted, keep), rule.unwrap_or(InputRule::age(PAUSE, true))));
    (adapted.inputs, adapted.rules.per_input) = inputs.into_iter().unzip();
    adapted
}

/// An input with a topic of its own.
fn own(input: &InputSpec) -> InputSpec {
    let kind = match input.kind {
        InputKind::Camera { .. } => InputKind::Camera { transport: Transport::Raw },
        kind => kind,
    };
    InputSpec {
        topics: vec![format!("{TOPIC}{}", input.name)],
        kind,
        stamp_from: StampSource::Header,
        frames: FrameOptions::default(),
        ..input.clone()
    }
}

/// The input of all state keys.
fn joint_input(settings: &Settings, keep: Span) -> InputSpec {
    let names = |maps: &[JointMap]| {
        let mut seen = BTreeSet::new();
        let names = maps.iter().flat_map(|map| &map.joints);
        names.filter(|name| seen.insert(name.as_str())).cloned().collect::<Vec<_>>()
    };
    let (read, moved) = (names(&settings.state), names(&settings.action));
    let joints = JointNames { read, moved, ..JointNames::default() };
    InputSpec { joints, keep, ..InputSpec::new("joints", InputKind::Joints, [format!("{TOPIC}joints")]) }
}

/// A data set opened for a policy.
pub(super) struct DatasetRecording {
    dataset: Dataset,
    join: Join,
    color: ColorSpace,
    episodes: Vec<usize>,
    /// Time of the first row of each episode.
    starts: Vec<Stamp>,
    topics: Vec<InputTopic>,
    state: Vec<JointMap>,
    action: Vec<ActionKey>,
    /// The parameter, in place of the data set's; empty: none.
    instruction: String,
    /// Joints that move and are not read, with their places in a row of the actions.
    moved: Vec<(String, usize)>,
    /// Cameras whose colours were reported.
    reported: Mutex<BTreeSet<String>>,
}

/// An action key with its joints, where it moves any.
struct ActionKey {
    width: usize,
    joints: Option<JointMap>,
}

impl DatasetRecording {
    pub(super) fn open(source: &DatasetSource, spec: &PolicySpec, settings: &Settings) -> Result<Self, Error> {
        if settings.state.len() != spec.state.len() || !settings.poses.is_empty() {
            return Err(Error::Internal("settings of a data set that are not those of Source::settings".to_owned()));
        }
        let dataset = Dataset::open(&source.dir)?;
        let episodes = dataset.select(source.episodes.as_ref())?;
        let join = Join::new(&dataset, &keys(spec, settings), &source.columns)?;
        let mut start = START;
        let starts = episodes.iter().map(|episode| {
            let begins = start;
            let length = dataset.episodes().get(*episode).map_or(0, |episode| episode.length);
            let seconds = Span::from_seconds((length.saturating_sub(1) as f64 / dataset.fps()).ceil());
            start = start + seconds + PAUSE;
            begins
        });
        let starts = starts.collect();
        let action: Vec<ActionKey> = spec
            .action
            .keys
            .iter()
            .map(|(key, width)| ActionKey {
                width: *width,
                joints: settings.action.iter().find(|map| map.key == *key).cloned(),
            })
            .collect();
        let read: BTreeSet<&String> = settings.state.iter().flat_map(|map| &map.joints).collect();
        let mut moved: Vec<(String, usize)> = Vec::new();
        let mut column = 0;
        for key in &action {
            let joints = key.joints.iter().flat_map(|map| map.joints.iter().enumerate());
            moved.extend(
                joints.filter(|(_, joint)| !read.contains(joint)).map(|(at, joint)| (joint.clone(), column + at)),
            );
            column += key.width;
        }
        if join.action.is_err() {
            moved.clear();
        }
        Ok(Self {
            topics: InputTopic::of(&settings.inputs),
            state: settings.state.clone(),
            instruction: settings.instruction.clone(),
            color: source.color,
            dataset,
            join,
            episodes,
            starts,
            action,
            moved,
            reported: Mutex::default(),
        })
    }

    pub(super) fn episodes(&self) -> &[usize] {
        &self.episodes
    }

    pub(super) fn fps(&self) -> f64 {
        self.dataset.fps()
    }

    pub(super) fn is_stamped(&self, topic: usize) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.kind.is_stamped())
    }

    pub(super) fn bounds(&self) -> (Stamp, Stamp) {
        let last = self.episodes.len().saturating_sub(1);
        (self.bounds_of(0).0, self.bounds_of(last).1)
    }

    /// Times of the first and the last row of an episode.
    pub(super) fn bounds_of(&self, index: usize) -> (Stamp, Stamp) {
        let start = self.starts.get(index).copied().unwrap_or(START);
        (start, start + self.duration(index))
    }

    fn duration(&self, index: usize) -> Span {
        let episode = self.episodes.get(index).and_then(|episode| self.dataset.episodes().get(*episode));
        let rows = episode.map_or(0, |episode| episode.length.saturating_sub(1));
        Span::from_seconds(rows as f64 / self.dataset.fps())
    }

    pub(super) fn covered(&self) -> Span {
        let nanos = (0..self.episodes.len()).map(|index| self.duration(index).nanos()).fold(0i64, i64::saturating_add);
        Span::from_nanos(nanos)
    }

    /// The rows of an episode: the state keys, then the action keys where moved joints need them.
    fn rows(&self, index: usize) -> Result<(usize, Rows), Error> {
        let episode = self.episodes.get(index).copied().unwrap_or_default();
        let mut pieces = pieces(&self.join.state);
        if !self.moved.is_empty() {
            pieces.extend(self::pieces(self.join.actions(&self.dataset)?));
        }
        Ok((episode, self.dataset.rows_with_task(episode, &pieces, self.join.task.as_deref())?))
    }

    /// The camera whose frames a topic carries, and its feature.
    fn camera_of(&self, topic: &InputTopic) -> Option<(&str, &str)> {
        let name = topic.name.strip_prefix(TOPIC)?;
        let camera = self.join.cameras.iter().find(|(camera, _)| camera == name);
        camera
            .filter(|_| matches!(topic.kind, InputKind::Camera { .. }))
            .map(|(camera, feature)| (&**camera, &**feature))
    }

    fn topic_of(&self, kind: InputKind) -> Option<usize> {
        self.topics.iter().position(|topic| topic.kind == kind)
    }

    /// An element of a row of the actions in the units of its joint.
    fn to_joint(&self, column: usize, value: f64) -> f64 {
        let mut first = 0;
        for key in &self.action {
            if column < first + key.width {
                let map = key.joints.as_ref();
                return map.and_then(|map| map.to_joint(column - first, value)).unwrap_or(value);
            }
            first += key.width;
        }
        value
    }

    pub(super) fn actions(&self, index: usize) -> Result<RecordedActions, Error> {
        let episode = self.episodes.get(index).copied().unwrap_or_default();
        let rows = self.dataset.rows(episode, &pieces(self.join.actions(&self.dataset)?))?;
        let start = self.bounds_of(index).0;
        let columns = self.action.iter().map(|key| key.width).sum();
        let mut actions = RecordedActions { columns, times: Vec::new(), values: Vec::new() };
        for row in rows {
            let row = row?;
            actions.times.push(start + Span::from_seconds(row.timestamp));
            let mut rest = row.values.as_slice();
            for key in &self.action {
                let (values, others) = rest.split_at_checked(key.width).unwrap_or((rest, &[]));
                rest = others;
                let in_joint_units = values.iter().enumerate().map(|(at, value)| {
                    let map = key.joints.as_ref();
                    map.and_then(|map| map.to_joint(at, f64::from(*value))).map_or(*value, |joint| joint as f32)
                });
                actions.values.extend(in_joint_units);
            }
        }
        Ok(actions)
    }
}

/// The actions of an episode, a row for each of its rows.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordedActions {
    /// Values of a row: the keys in the policy's order, as in a chunk.
    pub columns: usize,
    /// Time of each row on the replay's clock.
    pub times: Vec<Stamp>,
    /// `[rows, columns]` in the units of a chunk: joints in rad or m, other keys in the policy's own.
    pub values: Vec<f32>,
}

fn pieces(joined: &[Joined]) -> Vec<Piece> {
    joined.iter().flat_map(|joined| joined.pieces.iter().cloned()).collect()
}

/// The policy's keys with the joints of the parameters.
fn keys(spec: &PolicySpec, settings: &Settings) -> PolicyKeys {
    let keys = |keys: &[(String, usize)], maps: &[JointMap]| {
        let key = |(name, width): &(String, usize)| {
            let map = maps.iter().find(|map| map.key == *name);
            Key { name: name.clone(), width: *width, joints: map.map(|map| map.joints.clone()).unwrap_or_default() }
        };
        keys.iter().map(key).collect()
    };
    let blank = |camera: &&String| !settings.blank_views.contains(camera);
    PolicyKeys {
        cameras: spec.cameras.iter().filter(blank).cloned().collect(),
        state: keys(&spec.state, &settings.state),
        action: keys(&spec.action.keys, &settings.action),
    }
}
