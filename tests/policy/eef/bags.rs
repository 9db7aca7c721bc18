//! Poses in bags.

use super::*;

// --- out of a bag ---------------------------------------------------------------------------------------------

/// Writes a bag of ten samples of every input, 200 ms apart; `without` names a topic that it lacks.
fn write_bag(file: &Path, settings: &Settings, without: &str) {
    let mut writer = BagWriter::create(file).expect("a new bag");
    let topics: Vec<_> = settings
        .inputs
        .iter()
        .filter(|input| input.kind != InputKind::Instruction && input.topics != [without])
        .map(|input| {
            let type_name = input.kind.type_name();
            let text = schema::text(type_name).expect("a definition");
            (input, writer.add_topic(&input.topic_list(), type_name, text).expect("a topic"))
        })
        .collect();
    for sample in 0..10 {
        let stamp = NOW + ms(200.0 * f64::from(sample));
        let (position, orientation) = tool();
        let pose = ([position[0] + 0.01 * f64::from(sample), position[1], position[2]], orientation);
        for (input, topic) in &topics {
            let bytes = message(input, stamp, pose, &POSITIONS).expect("a message");
            writer.write(*topic, stamp, &bytes).expect("writes");
        }
    }
    writer.finish().expect("finishes");
}

fn replay_bag(robot: &mut Robot, bag: &Path, output: &Path) -> Result<replay::Summary, vla_offline::Error> {
    let options = Options { source: bag.into(), output: output.to_owned(), latency: Span::ZERO, ..Options::default() };
    let settings = Arc::clone(&robot.settings);
    replay::run(&mut robot.session, &settings, &options, &mut |_| {})
}

#[test]
fn a_bag_with_poses_replays_to_the_chunks_of_the_session() {
    let (scratch, policy) = eef::policy(|_, _| {});
    let (bag, output) = (scratch.path().join("poses.mcap"), scratch.path().join("chunks.mcap"));
    let mut robot = Robot::new(&policy, &[]);
    write_bag(&bag, &robot.settings, "");
    let summary = replay_bag(&mut robot, &bag, &output).expect("replays");
    assert_eq!((summary.record.chunks.len(), summary.record.events.len()), (10, 0), "{:?}", summary.record.events);
    assert_eq!(summary.record.joints.len(), POSE + JOINTS.len());
    let given = replay::report::Given { recording: "poses.mcap", parameters: "robot.yaml" };
    assert!(replay::report::render(&summary.record, &given).contains("left_eef.r12"));

    let reader = BagReader::open(&output).expect("a bag");
    let topic = reader.topics().iter().position(|topic| topic.name == replay::ACTION_CHUNK_TOPIC).expect("its topic");
    let chunks: Vec<ActionChunkMessage> = reader
        .messages(&[topic])
        .expect("messages")
        .map(|message| ActionChunkMessage::parse(&message.expect("readable").data).expect("a chunk"))
        .collect();
    let mut live = Robot::new(&policy, &[]);
    live.sense(NOW, tool());
    let (first, _) = live.chunk(NOW);
    assert_eq!(chunks[0], first, "the same door");
    assert_ne!(chunks[0].values, chunks[9].values);
}

#[test]
fn a_bag_without_the_pose_is_refused_with_its_topic_and_type() {
    let (scratch, policy) = eef::policy(|_, _| {});
    let (bag, output) = (scratch.path().join("poses.mcap"), scratch.path().join("chunks.mcap"));
    let mut robot = Robot::new(&policy, &[]);
    write_bag(&bag, &robot.settings, "/left/tool_pose");
    let error = replay_bag(&mut robot, &bag, &output).expect_err("no pose").to_string();
    assert!(
        error.contains("no topic /left/tool_pose (geometry_msgs/msg/PoseStamped) for input 'left_tool'"),
        "{error}"
    );
}
