//! Open-loop evaluation of the demo policy on the sample bag, on real ONNX Runtime.

use vla_trt_tests::demo;

use std::path::{Path, PathBuf};

use vla_bags::{BagReader, BagWriter};
use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, HeaderView, JointTrajectoryMessage, TrajectoryPoint, schema, write};
use vla_offline::Error;
use vla_offline::eval;
use vla_offline::eval::{
    ActionsFrom, Against, Document, Episode, Layout, Moment, Observer, Observers, Options, Outcome, Predictions,
};
use vla_policy::{Policy, PolicySpec};
use vla_runtime::devices::load_policy;
use vla_runtime::session::load_options;

/// The first inferences of a bag, with rows that no later chunk repeats: frames of the sample bag are 0.1 s apart, which is five rows.
const STRIDE: usize = 10;
const STEPS: usize = 60;

fn options(bag: &Path, actions: ActionsFrom) -> Options {
    Options { source: bag.into(), actions, stride: Some(STRIDE), steps: Some(STEPS), pictures: false }
}

fn topic(name: &str) -> ActionsFrom {
    ActionsFrom::Topics { names: vec![name.to_owned()], ahead: None }
}

fn load(policy: &Path) -> Policy {
    let spec = PolicySpec::load(policy).expect("the demo policy");
    load_policy(spec, load_options(&demo::settings(policy, &[])), &mut |_| {}).expect("the demo policy loads")
}

#[derive(Default)]
struct Kept(Vec<Moment>);

impl Observer for Kept {
    fn moment(&mut self, _layout: &Layout, moment: &Moment) -> Result<(), Error> {
        self.0.push(moment.clone());
        Ok(())
    }

    fn episode(&mut self, _layout: &Layout, _episode: &Episode) -> Result<(), Error> {
        Ok(())
    }
}

fn evaluate(policy: &Path, options: &Options, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    eval::run(&mut load(policy), &demo::settings(policy, &[]), options, observer, &mut |_| {})
}

/// The sample bag with one more topic.
fn bag_with(folder: &Path, topic: &str, type_name: &str, messages: &[(Stamp, Vec<u8>)]) -> PathBuf {
    let file = folder.join("commands.mcap");
    let sample = BagReader::open(&demo::bag()).expect("the sample bag");
    let mut writer = BagWriter::create(&file).expect("begun");
    // The definition is not read.
    let text = schema::text(type_name).unwrap_or("float64[] data");
    let mut ids = Vec::new();
    for topic in sample.topics() {
        let text = schema::text(&topic.type_name).expect("a known type");
        ids.push(writer.add_topic(&topic.name, &topic.type_name, text).expect("added"));
    }
    let commands = writer.add_topic(topic, type_name, text).expect("added");
    let all: Vec<usize> = (0..ids.len()).collect();
    let mut messages = messages.iter().peekable();
    for message in sample.messages(&all).expect("messages") {
        let message = message.expect("readable");
        while let Some((at, data)) = messages.next_if(|(at, _)| *at <= message.log_time) {
            writer.write(commands, *at, data).expect("written");
        }
        writer.write(ids[message.topic], message.log_time, &message.data).expect("written");
    }
    messages.for_each(|(at, data)| writer.write(commands, *at, data).expect("written"));
    writer.finish().expect("whole");
    file
}

/// The chunks of a run as messages, published with their observation.
fn as_messages(moments: &[Moment], layout: &Layout) -> Vec<(Stamp, Vec<u8>)> {
    let names: Vec<String> = layout.columns.iter().map(|column| column.name.clone()).collect();
    let message = |moment: &Moment| {
        let chunk = ActionChunkMessage {
            stamp: moment.at,
            start: moment.start,
            step: layout.step,
            names: names.clone(),
            horizon: layout.rows as u32,
            values: moment.predicted.clone(),
            ..ActionChunkMessage::default()
        };
        let mut bytes = Vec::new();
        chunk.write(&mut bytes);
        (moment.at, bytes)
    };
    moments.iter().map(message).collect()
}

#[test]
fn recorded_actions_that_are_the_predicted_ones_give_no_error_in_the_used_rows() {
    let (policy, folder) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let mut kept = Kept::default();
    let measured = evaluate(policy.path(), &options(&demo::bag(), ActionsFrom::JointStates), &mut kept);
    let measured = measured.expect("joint states");
    assert!(measured.figures.overall.robot.expect("compared").mae > 1e-3, "the demo policy moves elsewhere");
    let chunks = as_messages(&kept.0, &measured.layout);
    let bag = bag_with(folder.path(), "/chunks", ActionChunkMessage::TYPE, &chunks);
    let own = evaluate(policy.path(), &options(&bag, topic("/chunks")), &mut Kept::default()).expect("its own chunks");
    let (robot, normalised) = own.figures.overall.robot.zip(own.figures.overall.normalised).expect("compared");
    assert_eq!((robot.mse, robot.mae, robot.largest), (0.0, 0.0, 0.0));
    assert_eq!((normalised.mse, normalised.mae, normalised.largest), (0.0, 0.0, 0.0));
    assert_eq!(robot.values, (STEPS * 14) as u64);
    // Rows that the next chunk replaces are another's.
    let later = own.figures.rows.last().expect("rows").errors.robot.expect("compared");
    assert!(later.mae > 1e-4, "{later:?}");
}

#[test]
fn the_joint_states_that_followed_are_those_of_the_due_times() {
    let policy = demo::policy();
    let mut kept = Kept::default();
    let outcome = evaluate(policy.path(), &options(&demo::bag(), ActionsFrom::JointStates), &mut kept).expect("runs");
    assert_eq!(outcome.inferences as usize, STEPS / STRIDE);
    let sample = BagReader::open(&demo::bag()).expect("the sample bag");
    let joints = sample.find("/joint_states").expect("joint states");
    let mut compared = 0;
    for message in sample.messages(&[joints]).expect("messages") {
        let message = message.expect("readable");
        let state = vla_messages::JointStateView::parse(&message.data).expect("a joint state");
        for moment in &kept.0 {
            let row = (state.header.stamp - moment.start).seconds() / outcome.layout.step.seconds();
            if row < -0.001 || row.round() as usize >= moment.known || (row - row.round()).abs() > 0.001 {
                continue;
            }
            let recorded = &moment.recorded[row.round() as usize * 14..][..14];
            for (column, value) in outcome.layout.columns.iter().zip(recorded) {
                let index = state.names().position(|name| name == column.name).expect("the joint");
                assert_eq!(state.position(index).map(|position| position as f32), Some(*value));
                compared += 1;
            }
        }
    }
    let values: usize = kept.0.iter().map(|moment| moment.known * 14).sum();
    assert!(values > 500 && compared == values, "{compared} of {values}");
    assert!(kept.0.iter().all(|moment| (moment.start - moment.at) == outcome.layout.step));
}

#[test]
fn a_policy_is_no_different_from_itself_and_differs_from_another() {
    let (policy, options) = (demo::policy(), options(&demo::bag(), ActionsFrom::JointStates));
    let other = tempfile::tempdir().expect("a folder");
    vla_export::demo::bundle::write(&vla_export::family::N1D6, other.path(), 8).expect("another demo policy");
    let mut predictions = Predictions::default();
    let first = evaluate(policy.path(), &options, &mut predictions).expect("runs");
    let against = |dir: &Path| {
        let mut against = Against::new(predictions.clone());
        let second = evaluate(dir, &options, &mut against).expect("runs");
        (against.comparison(&first, &second), second)
    };
    let (same, again) = against(policy.path());
    assert_eq!(same.chunks, first.inferences);
    assert_eq!((same.only_first, same.only_second), (0, 0));
    let difference = same.difference.expect("compared");
    assert_eq!((difference.largest, difference.mae, difference.values), (0.0, 0.0, first.inferences * 16 * 14));
    let ratio = same.ratio.expect("compared");
    assert_eq!((ratio.mse, ratio.mae), (Some(1.0), Some(1.0)));
    assert_eq!(first, again);
    let (apart, second) = against(other.path());
    assert!(apart.difference.expect("compared").mae > 1e-3);
    let figures = [&first, &second].map(|outcome| outcome.figures.overall.robot.expect("compared").mse);
    assert_eq!(apart.ratio.expect("compared").mse, Some(figures[1] / figures[0]));
    assert_eq!(apart.columns.len(), 14);
}

#[test]
fn the_same_input_gives_the_same_document() {
    let (policy, options) = (demo::policy(), options(&demo::bag(), ActionsFrom::JointStates));
    let settings = demo::settings(policy.path(), &[]);
    let json = || {
        let outcome = evaluate(policy.path(), &options, &mut Observers(Vec::new())).expect("runs");
        Document::new(&options, &settings, &outcome, None).to_json().expect("a document")
    };
    let text = json();
    assert_eq!(text, json());
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["policies"][0]["rows"].as_array().map(Vec::len), Some(16));
    assert_eq!(document["policies"][0]["columns"].as_array().map(Vec::len), Some(14));
    assert_eq!(document["actions"]["from"], "joint_states");
}

/// The positions of the sample bag's joint states as commands.
fn commands(of: impl Fn(&vla_messages::JointStateView<'_>) -> Vec<u8>) -> Vec<(Stamp, Vec<u8>)> {
    let sample = BagReader::open(&demo::bag()).expect("the sample bag");
    let joints = sample.find("/joint_states").expect("joint states");
    let message = |message: Result<vla_bags::BagMessage, vla_bags::Error>| {
        let message = message.expect("readable");
        (message.log_time, of(&vla_messages::JointStateView::parse(&message.data).expect("a joint state")))
    };
    sample.messages(&[joints]).expect("messages").map(message).collect()
}

#[test]
fn a_command_without_a_time_is_due_a_step_later_and_a_trajectorys_points_at_their_times() {
    let (policy, folder) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let names: Vec<String> =
        demo::settings(policy.path(), &[]).action.iter().flat_map(|map| map.joints.clone()).collect();
    let values = |state: &vla_messages::JointStateView<'_>| -> Vec<f64> {
        let place = |name: &String| state.names().position(|other| other == name).expect("the joint");
        names.iter().map(|name| state.position(place(name)).expect("its position")).collect()
    };
    let array = commands(|state| {
        let mut bytes = Vec::new();
        write::float64_multi_array_into(&mut bytes, &values(state));
        bytes
    });
    let joint_state = commands(|state| {
        write::joint_state(HeaderView { stamp: state.header.stamp, frame_id: "" }, &names, &values(state), &[], &[])
    });
    let trajectory = commands(|state| {
        let point = TrajectoryPoint {
            positions: values(state),
            velocities: Vec::new(),
            time_from_start: Span::from_millis(20.0),
        };
        let message = JointTrajectoryMessage {
            stamp: state.header.stamp,
            joint_names: names.clone(),
            points: vec![point],
            ..JointTrajectoryMessage::default()
        };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes
    });
    let mut policy_loaded = load(policy.path());
    let settings = demo::settings(policy.path(), &[]);
    let mut errors = |bag: &Path, actions: ActionsFrom| {
        let outcome =
            eval::run(&mut policy_loaded, &settings, &options(bag, actions), &mut Observers(Vec::new()), &mut |_| {});
        outcome.expect("runs").figures.overall.robot.expect("compared")
    };
    let measured = errors(&demo::bag(), ActionsFrom::JointStates);
    for (type_name, messages) in [
        ("std_msgs/msg/Float64MultiArray", array),
        ("sensor_msgs/msg/JointState", joint_state),
        (JointTrajectoryMessage::TYPE, trajectory),
    ] {
        let bag = bag_with(folder.path(), "/commands", type_name, &messages);
        let late = errors(&bag, topic("/commands"));
        assert_ne!(late, measured, "{type_name}: the position a step before");
        if type_name != JointTrajectoryMessage::TYPE {
            let now = ActionsFrom::Topics { names: vec!["/commands".into()], ahead: Some(Span::ZERO) };
            let now = errors(&bag, now);
            assert_eq!((now.values, now.mse, now.mae), (measured.values, measured.mse, measured.mae), "{type_name}");
        }
    }
}

#[test]
fn missing_topics_joints_and_values_are_named() {
    let (policy, folder) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let mut loaded = load(policy.path());
    let settings = demo::settings(policy.path(), &[]);
    let mut error = |bag: &Path, actions: ActionsFrom, stride: usize| {
        let options = Options { stride: Some(stride), ..options(bag, actions) };
        eval::run(&mut loaded, &settings, &options, &mut Observers(Vec::new()), &mut |_| {}).expect_err("refused")
    };
    let none = error(&demo::bag(), topic("/commands"), STRIDE);
    assert!(matches!(&none, Error::Topics { problems, .. } if problems[0].contains("/commands")), "{none}");
    let camera = error(&demo::bag(), topic("/instruction"), STRIDE);
    assert!(
        matches!(&camera, Error::Topics { problems, .. } if problems[0].contains("std_msgs/msg/String")),
        "{camera}"
    );
    let half = commands(|state| {
        write::joint_state(HeaderView { stamp: state.header.stamp, frame_id: "" }, &["left_waist"], &[0.0], &[], &[])
    });
    let bag = bag_with(folder.path(), "/commands", "sensor_msgs/msg/JointState", &half);
    let half = error(&bag, topic("/commands"), STRIDE);
    let Error::RecordedActions { reason, .. } = &half else { panic!("{half}") };
    assert!(reason.contains("right_gripper") && reason.contains("found those of left_waist"), "{reason}");
    let three = commands(|_| {
        let mut bytes = Vec::new();
        write::float64_multi_array_into(&mut bytes, &[0.0; 3]);
        bytes
    });
    let bag = bag_with(folder.path(), "/commands", "std_msgs/msg/Float64MultiArray", &three);
    let three = error(&bag, topic("/commands"), STRIDE);
    let Error::RecordedActions { reason, .. } = &three else { panic!("{three}") };
    assert!(
        reason.contains("/commands") && reason.contains("expected 14 values") && reason.contains("found 3"),
        "{reason}"
    );
    for stride in [0, 17] {
        let wrong = error(&demo::bag(), ActionsFrom::JointStates, stride);
        assert!(matches!(wrong, Error::Stride { rows: 16, .. }), "{wrong}");
    }
}

#[test]
fn a_moved_joint_without_joint_states_is_named() {
    let policy = demo::policy();
    let mut settings = (*demo::settings(policy.path(), &[])).clone();
    settings.action[1].joints = vec!["gripper_of_another_robot".to_owned()];
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut loaded = load_policy(spec, load_options(&settings), &mut |_| {}).expect("loads");
    let options = options(&demo::bag(), ActionsFrom::JointStates);
    let error = eval::run(&mut loaded, &settings, &options, &mut Observers(Vec::new()), &mut |_| {});
    let error = error.expect_err("no such joint");
    let Error::RecordedActions { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("joint states of gripper_of_another_robot"), "{reason}");
}
