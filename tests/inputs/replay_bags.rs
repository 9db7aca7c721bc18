//! Replay of bags as other people's recorders leave them: other clocks, wrong log times, topics without types or with two.

use vla_trt_tests::demo;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;
use mcap::{WriteOptions, Writer};
use vla_bags::BagReader;
use vla_base::time::Span;
use vla_offline::Error;
use vla_offline::replay;
use vla_offline::replay::source::Recording;
use vla_offline::replay::{BagClock, BagSource, Options, Summary};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;
use vla_runtime::session::Session;

/// Seconds of the sample bag's first second.
const START: i32 = 1_760_000_000;
const CHUNKS: usize = 40;

/// A message: topic, type, log time (ns), bytes.
#[derive(Clone)]
struct Recorded {
    topic: String,
    type_name: String,
    log_time: u64,
    data: Vec<u8>,
}

impl Recorded {
    fn seconds(&self) -> i32 {
        i32::from_le_bytes(self.data[4..8].try_into().expect("four bytes"))
    }

    fn is_stamped(&self) -> bool {
        self.type_name.starts_with("sensor_msgs/")
    }

    /// The same with this second in its header.
    fn stamped(mut self, seconds: i32) -> Self {
        self.data[4..8].copy_from_slice(&seconds.to_le_bytes());
        self
    }
}

fn sample() -> Vec<Recorded> {
    let bag = BagReader::open(&demo::bag()).expect("the sample bag");
    let topics: Vec<usize> = (0..bag.topics().len()).collect();
    let messages = bag.messages(&topics).expect("messages").map(|message| {
        let message = message.expect("readable");
        let topic = &bag.topics()[message.topic];
        Recorded {
            topic: topic.name.clone(),
            type_name: topic.type_name.clone(),
            log_time: message.log_time.nanos() as u64,
            data: message.data.to_vec(),
        }
    });
    messages.collect()
}

/// Writes one file; a type that is empty gets no schema.
fn write(path: &Path, messages: &[Recorded]) {
    let file = BufWriter::new(File::create(path).expect("a file"));
    let mut writer = Writer::with_options(file, WriteOptions::new().profile("ros2")).expect("a writer");
    let mut channels = BTreeMap::new();
    for (sequence, message) in messages.iter().enumerate() {
        let key = (message.topic.clone(), message.type_name.clone());
        let channel_id = *channels.entry(key).or_insert_with(|| {
            let named = !message.type_name.is_empty();
            let schema = named.then(|| writer.add_schema(&message.type_name, "ros2msg", b"").expect("a schema"));
            writer.add_channel(schema.unwrap_or(0), &message.topic, "cdr", &BTreeMap::new()).expect("a channel")
        });
        let log_time = message.log_time;
        let header = MessageHeader { channel_id, sequence: sequence as u32, log_time, publish_time: log_time };
        writer.write_to_known_channel(&header, &message.data).expect("written");
    }
    writer.finish().expect("finished");
}

struct Bench {
    policy: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { policy: demo::policy(), scratch: tempfile::tempdir().expect("a folder") }
    }

    fn settings(&self) -> std::sync::Arc<Settings> {
        demo::settings(self.policy.path(), &[])
    }

    fn bag(&self, messages: &[Recorded]) -> PathBuf {
        let path = self.scratch.path().join("bag.mcap");
        write(&path, messages);
        path
    }

    fn replay(&self, messages: &[Recorded], clock: Option<BagClock>) -> Result<Summary, Error> {
        self.replay_bag(BagSource { clock, ..self.bag(messages).into() })
    }

    fn replay_bag(&self, bag: BagSource) -> Result<Summary, Error> {
        let settings = self.settings();
        let spec = PolicySpec::load(self.policy.path()).expect("the demo policy");
        let mut session = Session::load(spec, &settings, &mut |_| {}).expect("the demo policy loads");
        let options = Options {
            source: bag.into(),
            output: self.scratch.path().join("chunks.mcap"),
            latency: Span::from_millis(5.0),
            ..Options::default()
        };
        replay::run(&mut session, &settings, &options, &mut |_| {})
    }
}

#[test]
fn a_bag_of_a_simulator_is_refused_until_it_is_said_which_clock_counts() {
    let bench = Bench::new();
    let mut messages = sample();
    let plain = bench.replay(&messages, None).expect("the sample bag").record;
    assert_eq!(plain.chunks.len(), CHUNKS);
    for message in messages.iter_mut().filter(|message| message.is_stamped()) {
        *message = message.clone().stamped(message.seconds() - START + 42);
    }
    let refusal = bench.replay(&messages, None).expect_err("two clocks");
    let Error::TwoClocks { bag, inputs, simulated: None } = &refusal else { panic!("{refusal}") };
    assert!(bag.ends_with("bag.mcap") && inputs.len() == 4 && inputs[0].contains("'top'"), "{refusal}");
    let clock = Recorded {
        topic: "/clock".into(),
        type_name: "rosgraph_msgs/msg/Clock".into(),
        log_time: messages[0].log_time,
        data: [0, 1, 0, 0].iter().copied().chain([0; 8]).collect(),
    };
    let with_clock: Vec<_> = std::iter::once(clock).chain(messages.iter().cloned()).collect();
    let refusal = bench.replay(&with_clock, None).expect_err("two clocks");
    assert!(matches!(&refusal, Error::TwoClocks { simulated: Some(topic), .. } if topic == "/clock"), "{refusal}");

    let header = bench.replay(&messages, Some(BagClock::Header)).expect("the header stamps' clock").record;
    assert_eq!(header.chunks.len(), CHUNKS, "{:?}", header.events);
    assert!(header.chunks.iter().all(|chunk| (41.9..51.0).contains(&(chunk.at.nanos() as f64 / 1e9))));
    let log = bench.replay(&messages, Some(BagClock::Log)).expect("the log's clock").record;
    assert_eq!(log.chunks.len(), 0, "every sample is decades old");
}

#[test]
fn the_header_clock_needs_stamps_of_one_clock() {
    let bench = Bench::new();
    let mut messages = sample();
    for message in messages.iter_mut().filter(|message| message.type_name.ends_with("JointState")) {
        *message = message.clone().stamped(message.seconds() - START + 42);
    }
    let refusal = bench.replay(&messages, Some(BagClock::Header)).expect_err("two clocks");
    assert!(matches!(&refusal, Error::HeaderClock { reason, .. } if reason.contains("'joints'")), "{refusal}");
    for message in messages.iter_mut().filter(|message| message.is_stamped()) {
        message.data[4..12].fill(0);
    }
    let refusal = bench.replay(&messages, Some(BagClock::Header)).expect_err("no clock");
    assert!(matches!(&refusal, Error::HeaderClock { .. }), "{refusal}");
    bench.replay(&messages, None).expect("stamps that were never set are of no clock");
}

#[test]
fn a_message_that_was_logged_decades_away_costs_a_few_inferences() {
    let bench = Bench::new();
    let messages = sample();
    let year_2200 = 7_258_118_400_000_000_000;
    for kind in ["JointState", "CompressedImage"] {
        let wrong = messages.iter().rfind(|message| message.type_name.ends_with(kind)).expect("one of the kind");
        for log_time in [0, 1_000_000_000, year_2200, i64::MAX as u64, u64::MAX, (-5_000_000_000i64) as u64] {
            let mut messages = messages.clone();
            messages.push(Recorded { log_time, ..wrong.clone() });
            let record = bench.replay(&messages, None).unwrap_or_else(|error| panic!("{log_time}: {error}")).record;
            let most = CHUNKS + usize::from(log_time == year_2200 || log_time == i64::MAX as u64);
            assert!(
                (CHUNKS..=most).contains(&record.chunks.len()),
                "{kind} {log_time}: {} chunks",
                record.chunks.len()
            );
            let cycles = record.chunks.len() + record.events.len() + (record.unchanged + record.stopped) as usize;
            assert!(cycles < 200, "{kind} {log_time}: {cycles} cycles");
            let spec = PolicySpec::load(bench.policy.path()).expect("the demo policy");
            let source = bench.bag(&messages).into();
            let recording = Recording::open(&source, &spec, &bench.settings()).expect("opens");
            let covered = recording.covered().expect("readable").seconds();
            assert!((7.0..9.0).contains(&covered), "{kind} {log_time}: {covered} s");
        }
    }
}

#[test]
fn a_topic_that_no_input_reads_may_have_two_types_and_any_log_time() {
    let bench = Bench::new();
    let mut messages = sample();
    for (type_name, log_time) in
        [("a_msgs/msg/A", 0), ("b_msgs/msg/B", messages[0].log_time), ("b_msgs/msg/B", u64::MAX)]
    {
        let other = Recorded { topic: "/other".into(), type_name: type_name.into(), log_time, data: vec![0, 1, 0, 0] };
        messages.insert(0, other);
    }
    assert_eq!(bench.replay(&messages, None).expect("replays").record.chunks.len(), CHUNKS);
    // Of an input's topic, the messages of its type.
    let joints = messages.iter().find(|message| message.type_name.ends_with("JointState")).expect("joints").clone();
    messages.insert(0, Recorded { type_name: "b_msgs/msg/B".into(), data: vec![0, 1, 0, 0], ..joints });
    assert_eq!(bench.replay(&messages, None).expect("replays").record.chunks.len(), CHUNKS);
}

#[test]
fn topics_without_a_type_are_taken_for_what_is_expected_of_them() {
    let bench = Bench::new();
    let mut messages = sample();
    messages.iter_mut().for_each(|message| message.type_name.clear());
    assert_eq!(bench.replay(&messages, None).expect("replays").record.chunks.len(), CHUNKS);
}

#[test]
fn a_topic_recorded_in_two_serializations_is_read_in_the_one_that_can_be() {
    let bench = Bench::new();
    let path = bench.scratch.path().join("two.mcap");
    let file = BufWriter::new(File::create(&path).expect("a file"));
    let mut writer = Writer::with_options(file, WriteOptions::new().profile("ros2")).expect("a writer");
    for message in sample() {
        let schema = writer.add_schema(&message.type_name, "ros2msg", b"").expect("a schema");
        for (encoding, data) in [("json", &b"{}"[..]), ("cdr", &message.data)] {
            let channel_id = writer.add_channel(schema, &message.topic, encoding, &BTreeMap::new()).expect("a channel");
            let log_time = message.log_time;
            let header = MessageHeader { channel_id, sequence: 0, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, data).expect("written");
        }
    }
    writer.finish().expect("finished");
    assert_eq!(bench.replay_bag(path.into()).expect("replays").record.chunks.len(), CHUNKS);
}
