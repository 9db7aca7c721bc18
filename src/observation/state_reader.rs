//! From a JointState's names to the model's state: by name, whatever the order, extra joints ignored.

use super::error::Error;
use crate::message::JointStateView;

/// How one state or action key of the policy maps to joints: `model = joint * scale + offset`, element by element.
/// Joints are in ROS units (rad or m); the model's units are the training data's.
#[derive(Clone, PartialEq, Debug)]
pub struct JointMap {
    /// Key in the policy, e.g. `left_arm`.
    pub key: String,
    /// Joint names in the order of the key's elements.
    pub joints: Vec<String>,
    /// Factor of each joint; as long as `joints`, never zero.
    pub scale: Vec<f64>,
    /// Offset of each joint, in model units; as long as `joints`.
    pub offset: Vec<f64>,
}

impl JointMap {
    /// A map whose model units are the joints' own.
    pub fn identity(key: impl Into<String>, joints: Vec<String>) -> Self {
        let width = joints.len();
        Self { key: key.into(), joints, scale: vec![1.0; width], offset: vec![0.0; width] }
    }

    /// Refuses lengths that differ, and a scale that is zero or a value that is not finite.
    pub fn check(&self) -> Result<(), Error> {
        let width = self.joints.len();
        let whole = self.scale.len() == width && self.offset.len() == width;
        let invertible = self.scale.iter().all(|s| s.is_finite() && *s != 0.0);
        if whole && invertible && self.offset.iter().all(|o| o.is_finite()) {
            return Ok(());
        }
        let (key, scale, offset) = (self.key.clone(), self.scale.clone(), self.offset.clone());
        Err(Error::BadMap { key, joints: width, scale, offset })
    }

    /// Model value of joint `i` of this key; `None` beyond its width.
    pub fn to_model(&self, i: usize, joint: f64) -> Option<f64> {
        Some(joint * self.scale.get(i)? + self.offset.get(i)?)
    }

    /// Joint value (rad or m) of element `i` of this key; `None` beyond its width.
    pub fn to_joint(&self, i: usize, model: f64) -> Option<f64> {
        Some((model - self.offset.get(i)?) / self.scale.get(i)?)
    }
}

/// One element of the state, in model order.
#[derive(Debug)]
struct Element {
    joint: String,
    scale: f64,
    offset: f64,
    /// Position of the message at hand, rad or m.
    position: f64,
}

/// Reads the policy's state from joint states. Remembers where each joint was in the last message and checks every
/// name against it, so that a publisher that changes its order is followed, and one that keeps it costs no search and
/// no allocation.
#[derive(Debug)]
pub struct StateReader {
    elements: Vec<Element>,
    /// Names of the message that `found` was made for.
    layout: Vec<String>,
    /// Where each element is: (index in the message, element), ascending.
    found: Vec<(usize, usize)>,
}

impl StateReader {
    /// A reader of these keys, in model order. A joint may serve several elements.
    pub fn new(maps: &[JointMap]) -> Result<Self, Error> {
        let mut elements = Vec::new();
        for map in maps {
            map.check()?;
            let factors = map.scale.iter().zip(&map.offset);
            elements.extend(map.joints.iter().zip(factors).map(|(joint, (&scale, &offset))| Element {
                joint: joint.clone(),
                scale,
                offset,
                position: f64::NAN,
            }));
        }
        Ok(Self { elements, layout: Vec::new(), found: Vec::new() })
    }

    /// A reader of the positions of these joints, in this order.
    pub fn of_joints(joints: &[String]) -> Self {
        let element = |joint: &String| Element { joint: joint.clone(), scale: 1.0, offset: 0.0, position: f64::NAN };
        Self { elements: joints.iter().map(element).collect(), layout: Vec::new(), found: Vec::new() }
    }

    /// Number of state values, all keys together.
    pub fn width(&self) -> usize {
        self.elements.len()
    }

    /// Joint names, one an element, in model order.
    pub fn joints(&self) -> impl Iterator<Item = &str> {
        self.elements.iter().map(|element| element.joint.as_str())
    }

    /// Reads a serialized joint state into `out`, `[width]` in model units and order.
    pub fn read(&mut self, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
        self.expect_width(out.len())?;
        self.take_positions(bytes)?;
        for (element, out) in self.elements.iter().zip(out) {
            let value = element.position * element.scale + element.offset;
            *out = value as f32;
            if !out.is_finite() {
                let (joint, position) = (element.joint.clone(), element.position);
                return Err(Error::StateNotFinite { joint, position, value });
            }
        }
        Ok(())
    }

    /// Reads the joints' own positions (rad or m), unscaled, in the same order.
    pub fn read_positions(&mut self, bytes: &[u8], out: &mut [f64]) -> Result<(), Error> {
        self.expect_width(out.len())?;
        self.take_positions(bytes)?;
        for (element, out) in self.elements.iter().zip(out) {
            *out = element.position;
            if !out.is_finite() {
                let (joint, position) = (element.joint.clone(), element.position);
                return Err(Error::StateNotFinite { joint, position, value: position });
            }
        }
        Ok(())
    }

    fn expect_width(&self, found: usize) -> Result<(), Error> {
        let expected = self.width();
        if found == expected { Ok(()) } else { Err(Error::StateWidth { expected, found }) }
    }

    fn take_positions(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let view = JointStateView::parse(bytes).map_err(Error::JointState)?;
        let known = !self.layout.is_empty() && view.names().eq(self.layout.iter().map(String::as_str));
        if !known {
            self.search(&view)?;
        }
        for element in &mut self.elements {
            element.position = f64::NAN;
        }
        let mut found = self.found.iter().peekable();
        for (at, position) in view.positions().enumerate() {
            while let Some((_, element)) = found.next_if(|(wanted, _)| *wanted == at) {
                if let Some(element) = self.elements.get_mut(*element) {
                    element.position = position;
                }
            }
        }
        Ok(())
    }

    /// Finds every element in a message whose names differ from the last.
    fn search(&mut self, view: &JointStateView<'_>) -> Result<(), Error> {
        self.layout.clear();
        self.found.clear();
        let mut missing = Vec::new();
        for (index, element) in self.elements.iter().enumerate() {
            let mut places = view.names().enumerate().filter(|(_, name)| *name == element.joint);
            match (places.next(), places.next()) {
                (Some((at, _)), None) => self.found.push((at, index)),
                (Some(_), Some(_)) => return Err(Error::DuplicateJoint { joint: element.joint.clone() }),
                (None, _) if missing.contains(&element.joint) => {}
                (None, _) => missing.push(element.joint.clone()),
            }
        }
        if !missing.is_empty() {
            return Err(Error::MissingJoints { missing, present: view.names().map(str::to_owned).collect() });
        }
        self.found.sort_unstable();
        self.layout.extend(view.names().map(str::to_owned));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
