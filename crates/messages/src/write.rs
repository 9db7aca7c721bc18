//! Writers of standard messages: the node's outputs, and inputs for tests, benchmarks and fixtures.

use super::cdr::Writer;
use super::header::HeaderView;
use super::transforms::TransformView;

/// A `sensor_msgs/Image`. `step` is in bytes; nothing is checked, so that invalid images can be written too.
pub fn image(header: HeaderView<'_>, width: u32, height: u32, encoding: &str, step: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + header.frame_id.len() + encoding.len() + 64);
    let mut writer = Writer::new(&mut out);
    writer.header(header);
    writer.u32(height);
    writer.u32(width);
    writer.string(encoding);
    writer.u8(0);
    writer.u32(step);
    writer.bytes(data);
    out
}

/// A `sensor_msgs/CompressedImage`.
pub fn compressed_image(header: HeaderView<'_>, format: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + header.frame_id.len() + format.len() + 64);
    let mut writer = Writer::new(&mut out);
    writer.header(header);
    writer.string(format);
    writer.bytes(data);
    out
}

/// A `sensor_msgs/JointState`: positions in rad or m, velocities in rad/s or m/s, efforts in Nm or N.
pub fn joint_state<S: AsRef<str>>(
    header: HeaderView<'_>,
    names: &[S],
    positions: &[f64],
    velocities: &[f64],
    efforts: &[f64],
) -> Vec<u8> {
    let mut out = Vec::new();
    joint_state_into(&mut out, header, names, positions, velocities, efforts);
    out
}

/// The same in the place of what is in `out`.
pub fn joint_state_into<S: AsRef<str>>(
    out: &mut Vec<u8>,
    header: HeaderView<'_>,
    names: &[S],
    positions: &[f64],
    velocities: &[f64],
    efforts: &[f64],
) {
    let mut writer = Writer::new(out);
    writer.header(header);
    writer.strings(names);
    writer.doubles(positions);
    writer.doubles(velocities);
    writer.doubles(efforts);
}

/// A `std_msgs/Float64MultiArray` without dimensions, as ros2_control's forward controllers take it, in the place of what is in
/// `out`.
pub fn float64_multi_array_into(out: &mut Vec<u8>, values: &[f64]) {
    let mut writer = Writer::new(out);
    writer.length(0);
    writer.u32(0);
    writer.doubles(values);
}

/// A `geometry_msgs/PoseStamped`: x, y, z in m, and the quaternion x, y, z, w.
pub fn pose_stamped(header: HeaderView<'_>, position: [f64; 3], orientation: [f64; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.frame_id.len() + 80);
    pose_stamped_into(&mut out, header, position, orientation);
    out
}

/// The same in the place of what is in `out`.
pub fn pose_stamped_into(out: &mut Vec<u8>, header: HeaderView<'_>, position: [f64; 3], orientation: [f64; 4]) {
    let mut writer = Writer::new(out);
    writer.header(header);
    position.into_iter().chain(orientation).for_each(|value| writer.f64(value));
}

/// A `geometry_msgs/TwistStamped` in the place of what is in `out`: linear x, y, z in m/s, angular x, y, z in rad/s.
pub fn twist_stamped_into(out: &mut Vec<u8>, header: HeaderView<'_>, twist: [f64; 6]) {
    let mut writer = Writer::new(out);
    writer.header(header);
    twist.into_iter().for_each(|value| writer.f64(value));
}

/// A `nav_msgs/Odometry` at rest: the pose of `child_frame_id`, covariances and twist zero.
pub fn odometry(header: HeaderView<'_>, child_frame_id: &str, position: [f64; 3], orientation: [f64; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.frame_id.len() + child_frame_id.len() + 736);
    let mut writer = Writer::new(&mut out);
    writer.header(header);
    writer.string(child_frame_id);
    position.into_iter().chain(orientation).for_each(|value| writer.f64(value));
    // Two covariances of 36 values and a twist of 6.
    (0..36 + 6 + 36).for_each(|_| writer.f64(0.0));
    out
}

/// A `tf2_msgs/TFMessage`.
pub fn tf_message(transforms: &[TransformView<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.length(transforms.len());
    for transform in transforms {
        writer.header(transform.header);
        writer.string(transform.child_frame_id);
        transform.translation.into_iter().chain(transform.rotation).for_each(|value| writer.f64(value));
    }
    out
}

/// A `std_msgs/String`.
pub fn text(data: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).string(data);
    out
}
