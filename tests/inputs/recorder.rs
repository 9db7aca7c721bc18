//! Recordings beside a running robot: rotation, their greatest size, a kill, and a disk that does not take them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use vla_bags::{BagReader, METADATA_FILE_NAME};
use vla_base::time::{Span, Stamp};
use vla_recorder::{Error, Options, Qos, RecordedTopic, Recorder, RecorderThread, Recording};

use super::bag::fixture::{Message, payload, read_all};

const JOINTS: usize = 0;
const TEXT: usize = 1;

fn topics() -> Vec<RecordedTopic> {
    [("/joint_states", "sensor_msgs/msg/JointState", 0), ("/instruction", "std_msgs/msg/String", 1)]
        .map(|(name, type_name, kept)| RecordedTopic {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            schema: "string data\n",
            qos: if kept > 0 { Qos::LATCHED } else { Qos::SENSOR_DATA },
            kept,
        })
        .to_vec()
}

fn options(folder: &Path) -> Options {
    Options {
        folder: folder.to_owned(),
        node: "left_policy".to_owned(),
        max_bytes: 1 << 30,
        max_file_bytes: 1 << 29,
        max_file: Span::from_millis(1e9),
    }
}

fn at(ms: usize) -> Stamp {
    Stamp::from_nanos(1_760_000_000_000_000_000 + ms as i64 * 1_000_000)
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// The folder of the only recording.
fn run(folder: &Path) -> PathBuf {
    let runs = entries(folder);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

fn mcaps(run: &Path) -> Vec<PathBuf> {
    entries(run).into_iter().filter(|path| path.extension().is_some_and(|end| end == "mcap")).collect()
}

fn joints(bag: &BagReader) -> Vec<Message> {
    read_all(bag).expect("readable").into_iter().filter(|message| message.0 == "/joint_states").collect()
}

#[test]
fn a_recording_is_a_bag_of_files_that_rotate_by_size_and_each_can_be_read_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("recordings");
    let mut recording = Recording::new(Options { max_file_bytes: 20_000, ..options(&folder) }, topics());
    recording.write(TEXT, at(0), &payload(9, 9)).expect("written");
    for i in 1..=100 {
        recording.write(JOINTS, at(i), &payload(i, 1000)).expect("written");
    }
    recording.finish().expect("finished");
    let run = run(&folder);
    assert!(run.file_name().expect("a name").to_string_lossy().starts_with("left_policy_20"), "{}", run.display());
    let files = mcaps(&run);
    assert!((5..=8).contains(&files.len()), "{files:?}");
    let bag = BagReader::open(&run).expect("a bag with metadata.yaml");
    let found: Vec<(i64, Vec<u8>)> = joints(&bag).into_iter().map(|(_, time, data)| (time, data)).collect();
    let expected: Vec<_> = (1..=100).map(|i| (at(i).nanos(), payload(i, 1000))).collect();
    assert_eq!(found, expected);
    for file in &files {
        let bag = BagReader::open(file).expect("a bag");
        let first = read_all(&bag).expect("readable").into_iter().find(|message| message.0 == "/instruction");
        let (_, time, data) = first.expect("every file begins with the instruction");
        assert_eq!((time, data), (bag.start().nanos(), payload(9, 9)));
    }
}

#[test]
fn a_recording_rotates_by_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { max_file: Span::from_millis(100.0), ..options(dir.path()) };
    let mut recording = Recording::new(options, topics());
    (0..1000).step_by(10).for_each(|ms| recording.write(JOINTS, at(ms), &payload(ms, 8)).expect("written"));
    recording.finish().expect("finished");
    let files = mcaps(&run(dir.path()));
    assert!((9..=10).contains(&files.len()), "{files:?}");
}

#[test]
fn above_the_greatest_size_earlier_recordings_go_first_and_then_the_oldest_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = |name: &str, bytes: usize| {
        let run = dir.path().join(name);
        std::fs::create_dir(&run).expect("made");
        std::fs::write(run.join("x_0.mcap"), vec![0; bytes]).expect("written");
        run
    };
    let (old, other) = (made("left_policy_20200101-000000", 50_000), made("right_policy_20200101-000000", 50_000));
    let mine = made("left_policy_notes", 50_000);
    let options = Options { max_bytes: 100_000, max_file_bytes: 20_000, ..options(dir.path()) };
    let mut recording = Recording::new(options, topics());
    for i in 0..300 {
        recording.write(JOINTS, at(i), &payload(i, 1000)).expect("written");
        let size: u64 = mcaps(&entries(dir.path())[0]).iter().map(|path| path.metadata().map_or(0, |m| m.len())).sum();
        assert!(size <= 105_000, "{size} bytes after {i} messages");
    }
    recording.finish().expect("finished");
    assert!(!old.exists(), "of this node");
    assert!(other.exists() && mine.exists(), "of another, and none of the recorder's");
    assert!(recording.removed() > 5);
    let run = entries(dir.path()).into_iter().find(|path| path.join(METADATA_FILE_NAME).exists()).expect("the run");
    let found = joints(&BagReader::open(&run).expect("a bag: metadata.yaml lists what is there"));
    assert!(found.len() > 50 && found.len() < 100, "{}", found.len());
    assert_eq!(found.last().expect("messages").1, at(299).nanos(), "the newest stay");
}

#[test]
fn what_was_flushed_before_a_kill_can_be_recovered() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut recording = Recording::new(options(dir.path()), topics());
    (0..50).for_each(|i| recording.write(JOINTS, at(i), &payload(i, 100)).expect("written"));
    recording.flush().expect("flushed");
    recording.write(JOINTS, at(50), &payload(50, 100)).expect("written");
    // As a killed process leaves it.
    std::mem::forget(recording);
    let run = run(dir.path());
    assert!(BagReader::open(&run).is_err(), "it is not finished");
    let found = joints(&BagReader::recover(&run).expect("read"));
    assert_eq!(found.len(), 50);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_of_each_message() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("file"), b"").expect("written");
    for folder in ["none/recordings", "file"] {
        let mut recording = Recording::new(options(&dir.path().join(folder)), topics());
        let error = recording.write(JOINTS, at(0), &payload(0, 8)).expect_err("no folder");
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}

#[track_caller]
fn wait_for(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not within 30 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn stop(thread: &RecorderThread) {
    thread.stop();
    wait_for(|| thread.is_finished());
}

#[test]
fn the_recorder_writes_what_several_threads_give_it_and_ends_its_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorder, thread) = Recorder::start(options(dir.path()), topics(), 1 << 20).expect("started");
    let mut output = recorder.output();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                (0..100).for_each(|i| recorder.message(JOINTS, at(i), &Bytes::from(payload(part * 100 + i, 8))));
            });
        }
        output.record(TEXT, at(0), |bytes| bytes.extend(payload(1, 1)));
    });
    stop(&thread);
    let status = recorder.status();
    assert_eq!((status.written, status.dropped, status.unwritten, status.fault), (401, 0, 0, None));
    let bag = BagReader::open(&run(dir.path())).expect("a finished bag");
    assert_eq!((joints(&bag).len(), bag.message_count()), (400, 401));
}

#[test]
fn a_message_that_the_queue_does_not_take_is_counted_and_its_buffer_serves_the_next() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorder, thread) = Recorder::start(options(dir.path()), topics(), 1 << 20).expect("started");
    let mut output = recorder.output();
    // Nobody takes anything from the queue any more.
    stop(&thread);
    let mut serialized = 0;
    for _ in 0..100 {
        let taken = output.record(TEXT, at(0), |bytes| {
            assert_eq!(bytes.len(), 0, "an empty buffer");
            serialized += 1;
            bytes.extend(payload(1, 1));
        });
        assert!(!taken);
    }
    assert_eq!((serialized, recorder.status().dropped), (100, 100));
}

#[test]
fn what_does_not_fit_into_the_queue_is_dropped_and_counted_and_nobody_waits() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorder, thread) = Recorder::start(options(dir.path()), topics(), 100_000).expect("started");
    let message = Bytes::from(payload(1, 60_000));
    let started = Instant::now();
    (0..20_000).for_each(|i| recorder.message(JOINTS, at(i), &message));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    stop(&thread);
    let status = recorder.status();
    assert!(status.dropped > 0 && status.written > 0, "{status:?}");
    assert_eq!(status.dropped + status.written, 20_000);
    assert_eq!(joints(&BagReader::open(&run(dir.path())).expect("a bag")).len() as u64, status.written);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_fault_and_recording_begins_when_it_can() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("disk/recordings");
    let (recorder, thread) = Recorder::start(options(&folder), topics(), 1 << 20).expect("started");
    recorder.message(JOINTS, at(0), &Bytes::from(payload(0, 8)));
    wait_for(|| recorder.status().fault.is_some());
    assert_eq!((recorder.status().unwritten, recorder.status().written), (1, 0));
    std::fs::create_dir(dir.path().join("disk")).expect("made");
    wait_for(|| {
        recorder.message(JOINTS, at(1), &Bytes::from(payload(1, 8)));
        recorder.status().fault.is_none()
    });
    stop(&thread);
    assert!(recorder.status().written > 0 && BagReader::open(&run(&folder)).is_ok());
}
