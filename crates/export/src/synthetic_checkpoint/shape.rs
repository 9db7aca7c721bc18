//! The inputs and outputs of a robot, for a seeded checkpoint of its shape.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Design;
use crate::bundle::Camera;
use crate::demo;
use crate::demo::statistics::{KeyFiles, ProcessorFiles};
use crate::{Error, Family};
use vla_base::tensor::DType;
use vla_policy::encode::image::EvalTransform;
use vla_policy::spec::STEP_S;

/// Cameras at most: the prompt holds the image tokens of every one.
const MOST_CAMERAS: usize = 8;
/// Range of a joint in the statistics, rad.
const JOINT: (f64, f64) = (-1.0, 1.0);
/// Range of a gripper in the statistics: 0 closed, 1 open.
const GRIPPER: (f64, f64) = (0.0, 1.0);
/// Speed of the joints in the statistics, rad/s.
const SPEED: f64 = 0.2;

/// Values of a pose: `x y z` in m and two rows of the rotation matrix.
const POSE_WIDTH: usize = 9;
/// Range of a position in the statistics, m.
const POSITION: (f64, f64) = (-1.0, 1.0);
/// Range of an entry of a rotation matrix.
const ROTATION: (f64, f64) = (-1.0, 1.0);
/// What stands for the width of a pose.
const POSE: &str = "pose";

/// A state or action key and the number of its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyWidth {
    /// Name of the key.
    pub name: String,
    /// Number of values.
    pub width: usize,
    /// Whether they are the pose of an end effector: `x y z` in m and the first two rows of the rotation matrix.
    pub pose: bool,
}

impl FromStr for KeyWidth {
    type Err = String;

    /// `key=WIDTH` or `key=pose`.
    fn from_str(text: &str) -> Result<Self, String> {
        let width = |width: &str| match width {
            POSE => Some((POSE_WIDTH, true)),
            width => Some((width.parse().ok()?, false)),
        };
        let parts = text.rsplit_once('=').and_then(|(name, values)| Some((name, width(values)?)));
        match parts {
            Some((name, (width, pose))) if !name.is_empty() => Ok(Self { name: name.to_owned(), width, pose }),
            _ => Err(format!("expected KEY=WIDTH, such as arm=6, or KEY={POSE}, found '{text}'")),
        }
    }
}

impl fmt::Display for KeyWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pose {
            true => write!(f, "{}={POSE}", self.name),
            false => write!(f, "{}={}", self.name, self.width),
        }
    }
}

/// A robot, as a policy sees it.
///
/// The statistics follow the names: a key with `gripper` in its name goes from 0 to 1 and its actions are absolute; the values of
/// every other key are joints from -1 to 1 rad, or a pose within 1 m, and their actions are relative to the state key of the same
/// name and width where there is one.
#[derive(Clone, PartialEq, Debug)]
pub struct RobotShape {
    /// Cameras, in the policy's order.
    pub cameras: Vec<Camera>,
    /// State keys, in the policy's order.
    pub state: Vec<KeyWidth>,
    /// Action keys, in the policy's order.
    pub action: Vec<KeyWidth>,
    /// Action rows per second.
    pub rate_hz: f64,
}

impl RobotShape {
    /// Time between action rows, in seconds.
    pub fn step_s(&self) -> f64 {
        1.0 / self.rate_hz
    }

    /// Refuses a shape that no checkpoint can have.
    ///
    /// # Errors
    /// [`Error::Shape`] with every problem.
    pub fn check(&self, family: &Family) -> Result<(), Error> {
        let mut problems = self.check_cameras(family);
        problems.extend(check_keys("--state", &self.state, family.demo.dims));
        problems.extend(check_keys("--action", &self.action, family.demo.dims));
        let rates = rates();
        if !rates.contains(&self.rate_hz) {
            let (least, most) = rates.into_inner();
            problems.push(format!("--rate: expected {least} to {most} action rows per second, found {}", self.rate_hz));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Shape { problems }) }
    }

    fn check_cameras(&self, family: &Family) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=MOST_CAMERAS).contains(&self.cameras.len()) {
            problems.push(format!("--camera: expected 1 to {MOST_CAMERAS} cameras, found {}", self.cameras.len()));
        }
        let names: Vec<&str> = self.cameras.iter().map(|camera| camera.name.as_str()).collect();
        problems.extend(check_names("--camera", &names));
        let transform = EvalTransform::new(&family.policy.image(family.demo.shortest_edge, demo::statistics::CROP));
        for camera in &self.cameras {
            if let Err(error) = transform.output_size(camera.width, camera.height) {
                problems.push(format!("--camera {}={}x{}: {error}", camera.name, camera.width, camera.height));
            }
        }
        problems
    }

    /// The checkpoint: the demo's network, widened for many action columns, with the processor files of this robot.
    pub(super) fn design(&self, family: &'static Family, vocab: usize) -> Design {
        let columns: usize = self.action.iter().map(|key| key.width).sum();
        Design {
            model: demo::model_for(family, columns, vocab),
            dtype: DType::F32,
            shortest_edge: family.demo.shortest_edge,
            arranged_columns: Some(columns),
            files: self.files(),
        }
    }

    fn files(&self) -> ProcessorFiles {
        let key = |key: &KeyWidth| {
            let gripper = !key.pose && key.name.contains("gripper");
            let range = |index: usize| match (key.pose, gripper) {
                (true, _) if index < 3 => POSITION,
                (true, _) => ROTATION,
                (false, true) => GRIPPER,
                (false, false) => JOINT,
            };
            KeyFiles {
                name: key.name.clone(),
                relative: !gripper && self.state.contains(key),
                pose: key.pose,
                ranges: (0..key.width).map(range).collect(),
            }
        };
        ProcessorFiles {
            cameras: self.cameras.iter().map(|camera| camera.name.clone()).collect(),
            state: self.state.iter().map(key).collect(),
            action: self.action.iter().map(key).collect(),
            stride: SPEED * self.step_s(),
        }
    }
}

/// Action rows per second that a policy can have.
fn rates() -> RangeInclusive<f64> {
    1.0 / STEP_S.end()..=1.0 / STEP_S.start()
}

fn check_keys(option: &str, keys: &[KeyWidth], dims: usize) -> Vec<String> {
    let mut problems = Vec::new();
    if keys.is_empty() {
        problems.push(format!("{option}: expected at least one key, such as {option} arm=6, found none"));
    }
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    problems.extend(check_names(option, &names));
    for key in keys.iter().filter(|key| !(1..=dims).contains(&key.width)) {
        problems.push(format!("{option} {key}: expected 1 to {} values, found {}", dims, key.width));
    }
    let total = keys.iter().fold(0_usize, |sum, key| sum.saturating_add(key.width));
    if total > dims {
        problems.push(format!("{option}: expected at most {} values over all keys, found {total}", dims));
    }
    problems
}

/// Names become parts of parameter names, and each is used once.
fn check_names(option: &str, names: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut letters = name.chars();
        let valid = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !valid {
            problems
                .push(format!("{option} {name}: expected a name of letters, digits and '_' that starts with a letter"));
        }
        if names[..index].contains(name) {
            problems.push(format!("{option} {name}: expected once, found twice"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::N1D6;

    fn arm() -> RobotShape {
        let keys = || vec!["arm=6".parse().expect("a key"), "gripper=1".parse().expect("a key")];
        let camera = |text: &str| text.parse().expect("a camera");
        RobotShape {
            cameras: vec![camera("front=640x480"), camera("wrist=320x240")],
            state: keys(),
            action: keys(),
            rate_hz: 20.0,
        }
    }

    fn problems(change: impl FnOnce(&mut RobotShape)) -> Vec<String> {
        let mut shape = arm();
        change(&mut shape);
        match shape.check(&N1D6) {
            Ok(()) => Vec::new(),
            Err(Error::Shape { problems }) => problems,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn grippers_are_absolute_and_joints_relative_to_the_state_of_their_name() {
        let mut shape = arm();
        shape.action.push("torso=2".parse().expect("a key"));
        let relative: Vec<(String, bool)> =
            shape.files().action.into_iter().map(|key| (key.name, key.relative)).collect();
        assert_eq!(relative, [("arm".into(), true), ("gripper".into(), false), ("torso".into(), false)]);
        assert!((shape.files().stride - 0.01).abs() < 1e-12);
        assert!(problems(|_| {}).is_empty());
    }

    #[test]
    fn every_problem_is_named_with_its_option() {
        let twice = problems(|shape| shape.state.push("arm=6".parse().expect("a key")));
        assert!(matches!(&twice[..], [one] if one.starts_with("--state arm")), "{twice:?}");
        let none = problems(|shape| shape.action.clear());
        assert!(matches!(&none[..], [one] if one.starts_with("--action")), "{none:?}");
        let wide = problems(|shape| shape.action[0].width = 128);
        assert!(matches!(&wide[..], [one] if one.contains("129")), "{wide:?}");
        let zero = problems(|shape| shape.state[1].width = 0);
        assert!(matches!(&zero[..], [one] if one.starts_with("--state gripper=0")), "{zero:?}");
        let name = problems(|shape| shape.cameras[0].name = "front.left".into());
        assert!(matches!(&name[..], [one] if one.starts_with("--camera front.left")), "{name:?}");
        let flat = problems(|shape| shape.cameras[0].height = 1);
        assert!(matches!(&flat[..], [one] if one.starts_with("--camera front=640x1")), "{flat:?}");
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
            let problems = problems(|shape| shape.rate_hz = rate);
            assert!(matches!(&problems[..], [one] if one.starts_with("--rate")), "{rate}: {problems:?}");
        }
        let both = problems(|shape| {
            shape.rate_hz = 0.0;
            shape.cameras.clear();
        });
        assert_eq!(both.len(), 2, "{both:?}");
    }

    #[test]
    fn a_key_is_a_name_and_a_width() {
        assert_eq!("arm=6".parse(), Ok(KeyWidth { name: "arm".into(), width: 6, pose: false }));
        let hand: KeyWidth = "hand=pose".parse().expect("a pose");
        assert_eq!((hand.width, hand.pose, hand.to_string().as_str()), (9, true, "hand=pose"));
        for text in ["arm", "=6", "arm=", "arm=six", "arm=-1"] {
            assert!(text.parse::<KeyWidth>().is_err(), "{text}");
        }
    }
}
