//! From merged joint states to the model's state: by name, whatever the order, extra joints ignored.

use std::sync::Arc;

use super::error::Error;
use super::sample::JointSample;

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
    /// Place of the joint in the samples.
    place: usize,
}

/// Reads the policy's state from merged joint states. Searches the names once: samples of the same inputs share them.
#[derive(Debug)]
pub struct StateReader {
    elements: Vec<Element>,
    /// Names of the samples that the places were found for.
    names: Arc<[String]>,
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
                place: usize::MAX,
            }));
        }
        Ok(Self { elements, names: Arc::default() })
    }

    /// A reader of the positions of these joints, in this order.
    pub fn of_joints(joints: &[String]) -> Self {
        let element = |joint: &String| Element { joint: joint.clone(), scale: 1.0, offset: 0.0, place: usize::MAX };
        Self { elements: joints.iter().map(element).collect(), names: Arc::default() }
    }

    /// Number of state values, all keys together.
    pub fn width(&self) -> usize {
        self.elements.len()
    }

    /// Joint names, one an element, in model order.
    pub fn joints(&self) -> impl Iterator<Item = &str> {
        self.elements.iter().map(|element| element.joint.as_str())
    }

    /// Reads a sample into `out`, `[width]` in model units and order.
    ///
    /// # Errors
    /// [`Error::StateWidth`], [`Error::MissingJoints`] naming every joint that has no position, [`Error::StateNotFinite`].
    pub fn read(&mut self, sample: &JointSample, out: &mut [f32]) -> Result<(), Error> {
        self.expect_width(out.len())?;
        self.find(sample)?;
        for (element, out) in self.elements.iter().zip(out) {
            let position = element.position(sample)?;
            let value = position * element.scale + element.offset;
            *out = value as f32;
            if !out.is_finite() {
                return Err(Error::StateNotFinite { joint: element.joint.clone(), position, value });
            }
        }
        Ok(())
    }

    /// Reads the joints' own positions (rad or m), unscaled, in the same order.
    ///
    /// # Errors
    /// [`Error::StateWidth`], [`Error::MissingJoints`].
    pub fn read_positions(&mut self, sample: &JointSample, out: &mut [f64]) -> Result<(), Error> {
        self.expect_width(out.len())?;
        self.find(sample)?;
        for (element, out) in self.elements.iter().zip(out) {
            *out = element.position(sample)?;
        }
        Ok(())
    }

    fn expect_width(&self, found: usize) -> Result<(), Error> {
        let expected = self.width();
        if found == expected { Ok(()) } else { Err(Error::StateWidth { expected, found }) }
    }

    /// Finds every element among the names of a sample and refuses one that lacks positions.
    fn find(&mut self, sample: &JointSample) -> Result<(), Error> {
        if !Arc::ptr_eq(&self.names, &sample.joints) {
            self.names = Arc::clone(&sample.joints);
            for element in &mut self.elements {
                let place = sample.joints.iter().position(|name| *name == element.joint);
                element.place = place.unwrap_or(usize::MAX);
            }
        }
        if self.elements.iter().all(|element| sample.get(element.place).is_some()) {
            return Ok(());
        }
        let mut missing: Vec<String> = Vec::new();
        for element in self.elements.iter().filter(|element| sample.get(element.place).is_none()) {
            if !missing.contains(&element.joint) {
                missing.push(element.joint.clone());
            }
        }
        Err(Error::MissingJoints { missing })
    }
}

impl Element {
    fn position(&self, sample: &JointSample) -> Result<f64, Error> {
        let reading = sample.get(self.place);
        let reading = reading.ok_or_else(|| Error::MissingJoints { missing: vec![self.joint.clone()] })?;
        Ok(reading.position)
    }
}

#[cfg(test)]
mod tests;
