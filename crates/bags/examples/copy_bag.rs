//! Reads any bag and writes one MCAP file: its messages, then one of each type that a policy puts out.
//!
//! ```sh
//! cargo run --example copy_bag -- data/aloha_cube copy.mcap
//! ```
//!
//! `tests/python/test_bag_interop.py` has other readers look at the result.

use std::path::PathBuf;

use anyhow::Context as _;
use vla_bags::{BagReader, BagWriter, Qos, TopicId};
use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage, TrajectoryPoint, schema};

fn main() -> anyhow::Result<()> {
    let [from, to] = std::env::args().skip(1).collect::<Vec<_>>().try_into().ok().context("usage: copy_bag FROM TO")?;
    let bag = BagReader::open(&PathBuf::from(from))?;
    let mut copy = BagWriter::create(&PathBuf::from(to))?;
    let mut topics = Vec::new();
    for topic in bag.topics() {
        let qos = if topic.type_name == "std_msgs/msg/String" { Qos::LATCHED } else { Qos::SENSOR_DATA };
        topics.push(add(&mut copy, &topic.name, &topic.type_name, qos)?);
    }
    let all: Vec<usize> = (0..topics.len()).collect();
    for message in bag.messages(&all)? {
        let message = message?;
        copy.write(topics[message.topic], message.log_time, &message.data)?;
    }
    let mut bytes = Vec::new();
    let chunks = add(&mut copy, "/policy/action_chunk", ActionChunkMessage::TYPE, Qos::RELIABLE)?;
    chunk(bag.end()).write(&mut bytes);
    copy.write(chunks, bag.end(), &bytes)?;
    let trajectories = add(&mut copy, "/policy/joint_trajectory", JointTrajectoryMessage::TYPE, Qos::RELIABLE)?;
    trajectory(bag.end()).write(&mut bytes);
    copy.write(trajectories, bag.end(), &bytes)?;
    copy.finish()?;
    Ok(())
}

fn add(bag: &mut BagWriter, name: &str, type_name: &str, qos: Qos) -> anyhow::Result<TopicId> {
    let schema = schema::text(type_name).with_context(|| format!("{name}: no definition of {type_name} here"))?;
    Ok(bag.add_topic_with_qos(name, type_name, schema, qos)?)
}

fn chunk(stamp: Stamp) -> ActionChunkMessage {
    ActionChunkMessage {
        stamp,
        sequence: 7,
        input_names: vec!["top".to_owned(), "joints".to_owned()],
        input_stamps: vec![stamp, stamp + Span::from_nanos(1)],
        start: stamp + Span::from_millis(20.0),
        step: Span::from_millis(20.0),
        names: vec!["waist".to_owned(), "elbow".to_owned()],
        horizon: 2,
        values: vec![0.5, -0.25, 1.5, -2.0],
        late_rows: 1,
        inference_latency: Span::from_millis(150.0),
        seed: 1 << 40,
        policy_fingerprint: "sha256:00".to_owned(),
        ..ActionChunkMessage::default()
    }
}

fn trajectory(stamp: Stamp) -> JointTrajectoryMessage {
    let point = |row: i64| TrajectoryPoint {
        positions: vec![0.5, row as f64],
        velocities: vec![0.0, 1.0],
        time_from_start: Span::from_millis(20.0).times(row),
    };
    JointTrajectoryMessage {
        stamp,
        joint_names: vec!["waist".to_owned(), "elbow".to_owned()],
        points: vec![point(1), point(2)],
        ..JointTrajectoryMessage::default()
    }
}
