//! A pose as values, whatever message it came from.

/// Position and orientation of a frame in another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pose {
    /// x, y, z in m; finite.
    pub position: [f64; 3],
    /// Unit quaternion x, y, z, w.
    pub orientation: [f64; 4],
}

impl Default for Pose {
    /// No translation and no rotation.
    fn default() -> Self {
        Self { position: [0.0; 3], orientation: [0.0, 0.0, 0.0, 1.0] }
    }
}
