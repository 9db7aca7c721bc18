//! The columns of a policy's keys.
//!
//! For each key, the first of these that applies: the assignment of the command line; `meta/modality.json`; a feature named like
//! the key; the elements of `observation.state` or `action` whose names are those of the key's joints; the whole of that column
//! for a policy with one key of its width.

use std::str::FromStr;

use crate::{Dataset, Error, Feature, Piece, Storage};

/// Column of the state without another name.
const STATE: &str = "observation.state";
/// Column of the actions without another name.
const ACTION: &str = "action";
/// What LeRobot's robots append to the names of joints.
const POSITION: &str = ".pos";

/// A key with its number of values, and the names of its joints where it has any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its number of values.
    pub width: usize,
    /// Joints, as the parameters name them; may be empty.
    pub joints: Vec<String>,
}

/// The keys of a policy, each group in the policy's order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PolicyKeys {
    /// Cameras.
    pub cameras: Vec<String>,
    /// State keys.
    pub state: Vec<Key>,
    /// Action keys.
    pub action: Vec<Key>,
}

/// One assignment of the command line: `state.KEY=COLUMN[0:7]`, `action.KEY=COLUMN[0:3]+COLUMN[7]`, `video.CAMERA=FEATURE` or
/// `instruction=COLUMN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    group: Group,
    key: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Group {
    State,
    Action,
    Video,
    Instruction,
}

impl Group {
    const fn word(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Action => "action",
            Self::Video => "video",
            Self::Instruction => "instruction",
        }
    }
}

impl FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Syntax {
            text: text.to_owned(),
            reason: "expected state.KEY=COLUMN[FIRST:END], action.KEY=COLUMN[FIRST:END], video.CAMERA=FEATURE or \
                     instruction=COLUMN"
                .to_owned(),
        };
        let (name, columns) = text.split_once('=').ok_or_else(refused)?;
        let (group, key) = name.split_once('.').unwrap_or((name, ""));
        let group = match group {
            "state" => Group::State,
            "action" => Group::Action,
            "video" => Group::Video,
            "instruction" => Group::Instruction,
            _ => return Err(refused()),
        };
        if key.is_empty() != (group == Group::Instruction) {
            return Err(refused());
        }
        let pieces = columns.split('+').map(|piece| piece.trim().parse()).collect::<Result<Vec<Piece>, _>>()?;
        let one = pieces.len() == 1 && pieces.iter().all(|piece| piece.elements.is_none());
        if matches!(group, Group::Video | Group::Instruction) && !one {
            return Err(refused());
        }
        Ok(Self { group, key: key.to_owned(), pieces })
    }
}

/// A key with its columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The policy's key.
    pub key: String,
    /// Its elements, one piece after the other.
    pub pieces: Vec<Piece>,
}

/// Where a policy's inputs and actions are in a data set.
#[derive(Clone, Debug)]
pub struct Join {
    /// Camera of the policy, and feature.
    pub cameras: Vec<(String, String)>,
    /// State keys in the policy's order.
    pub state: Vec<Joined>,
    /// Action keys in the policy's order; or why the recorded actions are not known, a line for each key.
    pub action: Result<Vec<Joined>, Vec<String>>,
    /// Column with the number of the task; `None`: `task_index`.
    pub task: Option<String>,
}

impl Join {
    /// Finds the columns of a policy's keys.
    ///
    /// # Errors
    /// [`Error::Join`] with every camera and state key that has none or one of another width, and every wrong assignment. Action
    /// keys without a column are no error here: a policy runs without recorded actions.
    pub fn new(dataset: &Dataset, keys: &PolicyKeys, assigned: &[Assignment]) -> Result<Self, Error> {
        let finder = Finder { dataset, assigned };
        let mut problems = finder.unknown(keys);
        let cameras = keys.cameras.iter().filter_map(|camera| {
            let found = finder.camera(camera).map_err(|problem| problems.push(problem)).ok()?;
            Some((camera.clone(), found))
        });
        let cameras = cameras.collect();
        let state = finder.keys(Group::State, &keys.state).unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        let action = finder.keys(Group::Action, &keys.action);
        if let Err(found) = &action {
            let assigned = |line: &&String| {
                assigned
                    .iter()
                    .any(|one| one.group == Group::Action && line.starts_with(&format!("action.{}:", one.key)))
            };
            problems.extend(found.iter().filter(assigned).cloned());
        }
        let task = finder.task().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if problems.is_empty() {
            return Ok(Self { cameras, state, action, task });
        }
        Err(join_error(dataset, problems))
    }

    /// The columns of the recorded actions.
    ///
    /// # Errors
    /// [`Error::Join`] with every action key that has none.
    pub fn actions(&self, dataset: &Dataset) -> Result<&[Joined], Error> {
        self.action.as_deref().map_err(|problems| join_error(dataset, problems.clone()))
    }
}

fn join_error(dataset: &Dataset, problems: Vec<String>) -> Error {
    let features = dataset.features().iter().map(|(name, feature)| {
        let kind = match feature.storage {
            Storage::Numbers => "",
            Storage::Images => " (images)",
            Storage::Video => " (video)",
            Storage::Other => " (text)",
        };
        format!("{name} {:?}{kind}", feature.shape)
    });
    let features = features.collect::<Vec<_>>().join(", ");
    Error::Join { path: dataset.path().to_owned(), problems, features }
}

/// Looks up one key at a time.
struct Finder<'d> {
    dataset: &'d Dataset,
    assigned: &'d [Assignment],
}

impl Finder<'_> {
    /// Assignments to keys that the policy does not have.
    fn unknown(&self, keys: &PolicyKeys) -> Vec<String> {
        let names = |group: Group| -> Vec<&String> {
            match group {
                Group::State => keys.state.iter().map(|key| &key.name).collect(),
                Group::Action => keys.action.iter().map(|key| &key.name).collect(),
                Group::Video => keys.cameras.iter().collect(),
                Group::Instruction => Vec::new(),
            }
        };
        let wrong = self.assigned.iter().filter(|one| one.group != Group::Instruction).filter_map(|one| {
            let known = names(one.group);
            let listed = known.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let (group, key) = (one.group.word(), &one.key);
            (!known.contains(&key)).then(|| format!("--column {group}.{key}: expected one of {listed}"))
        });
        wrong.collect()
    }

    fn assignment(&self, group: Group, key: &str) -> Option<&[Piece]> {
        // The last one given counts.
        let of_key = self.assigned.iter().rfind(|one| one.group == group && one.key == key);
        of_key.map(|one| one.pieces.as_slice())
    }

    fn feature(&self, name: &str, storage: &[Storage]) -> Option<&Feature> {
        self.dataset.features().get(name).filter(|feature| storage.contains(&feature.storage))
    }

    fn camera(&self, camera: &str) -> Result<String, String> {
        let stored = [Storage::Video, Storage::Images];
        let cameras = || self.dataset.cameras().collect::<Vec<_>>().join(", ");
        if let Some([piece]) = self.assignment(Group::Video, camera) {
            let found = self.feature(&piece.column, &stored).map(|_| piece.column.clone());
            return found.ok_or_else(|| {
                format!("video.{camera}: expected one of the cameras {}, found '{}'", cameras(), piece.column)
            });
        }
        let listed = self.dataset.modality().and_then(|modality| modality.video.get(camera)).cloned();
        let named = [format!("observation.images.{camera}"), format!("observation.{camera}"), camera.to_owned()];
        let candidates = listed.into_iter().chain(named);
        let mut known = candidates.filter(|name| self.feature(name, &stored).is_some());
        known.next().ok_or_else(|| {
            format!(
                "video.{camera}: no camera of this name, in meta/modality.json or as observation.images.{camera}; assign one of \
                 {} with --column video.{camera}=FEATURE",
                cameras()
            )
        })
    }

    /// The columns of all keys of a group, or the problem of each that has none.
    fn keys(&self, group: Group, keys: &[Key]) -> Result<Vec<Joined>, Vec<String>> {
        let mut problems = Vec::new();
        let mut joined = Vec::with_capacity(keys.len());
        for key in keys {
            match self.key(group, key, keys.len() == 1) {
                Ok(pieces) => joined.push(Joined { key: key.name.clone(), pieces }),
                Err(problem) => problems.push(format!("{}.{}: {problem}", group.word(), key.name)),
            }
        }
        if problems.is_empty() { Ok(joined) } else { Err(problems) }
    }

    fn key(&self, group: Group, key: &Key, only: bool) -> Result<Vec<Piece>, String> {
        if let Some(pieces) = self.assignment(group, &key.name) {
            return self.of_width(pieces.to_vec(), key, "--column");
        }
        let modality = self.dataset.modality();
        let listed = modality.map(|modality| if group == Group::State { &modality.state } else { &modality.action });
        if let Some(piece) = listed.and_then(|listed| listed.get(&key.name)) {
            return self.of_width(vec![piece.clone()], key, "meta/modality.json");
        }
        let column = if group == Group::State { STATE } else { ACTION };
        let named = [format!("{column}.{}", key.name), format!("{}.{}", group.word(), key.name)];
        let named = named.iter().find(|name| self.feature(name, &[Storage::Numbers]).is_some());
        if let Some(name) = named {
            return self.of_width(vec![Piece::whole(name)], key, "meta/info.json");
        }
        let Some(feature) = self.feature(column, &[Storage::Numbers]) else {
            return Err(format!("expected {} values, found no column '{column}'", key.width));
        };
        if let Some(pieces) = by_names(column, feature, key) {
            return Ok(pieces);
        }
        if only && feature.width() == key.width {
            return Ok(vec![Piece::whole(column)]);
        }
        let elements = match feature.names.as_slice() {
            [] => String::new(),
            names => format!(" ({})", names.join(", ")),
        };
        Err(format!(
            "expected {} values, found no meta/modality.json with this key and no elements of '{column}' that are named like its \
             joints; '{column}' has {} values{elements}",
            key.width,
            feature.width()
        ))
    }

    /// Refuses pieces whose column does not exist or that have another width than the key.
    fn of_width(&self, pieces: Vec<Piece>, key: &Key, source: &str) -> Result<Vec<Piece>, String> {
        let mut width = 0usize;
        for piece in &pieces {
            let Some(feature) = self.feature(&piece.column, &[Storage::Numbers]) else {
                return Err(format!("{source} names the column '{}', which the data set does not have", piece.column));
            };
            let all = feature.width();
            if piece.elements.as_ref().is_some_and(|elements| elements.end > all) {
                return Err(format!("{source} names {piece}, and the column has {all} elements"));
            }
            width = width.saturating_add(piece.width(all));
        }
        if width == key.width {
            return Ok(pieces);
        }
        let listed = pieces.iter().map(Piece::to_string).collect::<Vec<_>>().join("+");
        Err(format!("expected {} values, found {width} ({listed}, from {source})", key.width))
    }

    /// The column with the number of the task.
    fn task(&self) -> Result<Option<String>, String> {
        let known = |column: &str| self.feature(column, &[Storage::Numbers]).is_some();
        if let Some([piece]) = self.assignment(Group::Instruction, "") {
            let column = &piece.column;
            return match known(column) {
                true => Ok(Some(column.clone())),
                false => Err(format!("instruction: expected a column with numbers of tasks, found no '{column}'")),
            };
        }
        let Some(modality) = self.dataset.modality() else { return Ok(None) };
        // Data sets of GR00T may have more annotations, such as one of validity.
        let describes = |(key, _): &(&String, &String)| key.ends_with("task_description");
        Ok(modality.annotation.iter().find(describes).map(|(_, column)| column.clone()).filter(|column| known(column)))
    }
}

/// The elements of a column that are named like the key's joints, with neighbours in one piece.
fn by_names(column: &str, feature: &Feature, key: &Key) -> Option<Vec<Piece>> {
    if key.joints.len() != key.width || key.joints.is_empty() {
        return None;
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for joint in &key.joints {
        let same = |name: &String| name == joint || name.strip_suffix(POSITION) == Some(joint);
        let at = feature.names.iter().position(same)?;
        match pieces.last_mut().and_then(|piece| piece.elements.as_mut()) {
            Some(elements) if elements.end == at => elements.end += 1,
            _ => pieces.push(Piece::of(column, at..at + 1)),
        }
    }
    Some(pieces)
}
