//! From a JointState's names to the model's state, by name.

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

    /// Model value of joint `i` of this key; `None` beyond its width.
    pub fn to_model(&self, i: usize, joint: f64) -> Option<f64> {
        Some(joint * self.scale.get(i)? + self.offset.get(i)?)
    }

    /// Joint value (rad or m) of element `i` of this key; `None` beyond its width.
    pub fn to_joint(&self, i: usize, model: f64) -> Option<f64> {
        Some((model - self.offset.get(i)?) / self.scale.get(i)?)
    }
}
