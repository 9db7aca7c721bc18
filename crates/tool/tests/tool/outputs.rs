//! What the commands write, at the process boundary: what an output may replace, what is told before anything runs, what a
//! killed process leaves, and what happens when nobody reads.

use vla_trt_tests::demo;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use vla_bags::BagReader;
use vla_base::sys::fs::is_temporary;

/// A joint that no message has: every inference is refused.
const NO_CHUNK: [&str; 4] =
    ["-p", "state.left_gripper.joints:=[nobody]", "-p", "action.left_gripper.joints:=[left_gripper]"];

struct Bench {
    policy: TempDir,
    out: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { policy: demo::policy(), out: tempfile::tempdir().expect("a folder") }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    /// A command on the sample bag.
    fn command(&self, name: &str, bag: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        command.arg(name).arg(bag).arg("--policy").arg(self.policy.path()).arg("--params").arg(demo::params());
        command
    }

    fn replay(&self, output: &Path) -> Command {
        let mut command = self.command("replay", &demo::bag());
        command.arg("-o").arg(output);
        command
    }

    fn calibrate(&self, output: &Path) -> Command {
        let mut command = self.command("calibrate", &demo::bag());
        command.arg("-o").arg(output);
        command
    }

    fn verify(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        command.arg("verify").arg(self.policy.path()).arg("--bag").arg(demo::bag()).arg("--params").arg(demo::params());
        command.args(["--engine-kind", "onnx", "--candidate"]).arg(self.policy.path());
        command
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.out.path()).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the tool starts")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn expect(output: &Output, code: i32, said: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", words(output));
    said.iter().for_each(|said| assert!(words(output).contains(said), "expected {said:?} in {}", words(output)));
}

#[test]
fn no_command_replaces_what_is_no_plain_file() {
    let bench = Bench::new();
    let fifo = bench.at("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
    let inputs = bench.at("inputs.npz");
    fs::write(&inputs, "").expect("written");
    let mut infer = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    infer.arg("infer").arg("--policy").arg(bench.policy.path()).arg("--inputs").arg(&inputs).arg("--dump").arg(&fifo);
    for mut command in [
        bench.replay(&fifo),
        {
            let mut command = bench.replay(&bench.at("c.mcap"));
            command.arg("--report").arg(&fifo);
            command
        },
        bench.calibrate(&fifo),
        {
            let mut command = bench.verify();
            command.arg("--report").arg(&fifo);
            command
        },
        infer,
    ] {
        expect(&run(&mut command), 1, &["fifo", "expected the name of a file, found a fifo", "choose another name"]);
        assert!(fs::symlink_metadata(&fifo).expect("there").file_type().is_fifo());
        assert_eq!(bench.names(), ["fifo", "inputs.npz"], "nothing else was written");
    }
    for (path, kind) in [("/dev/null", "a device node"), ("/tmp", "a folder")] {
        expect(&run(&mut bench.replay(Path::new(path))), 1, &[path, kind]);
    }
}

#[test]
fn folders_of_exports_keep_what_no_file_may_replace() {
    let bench = Bench::new();
    let out = bench.at("policy");
    let mut make = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    make.arg("make-demo-policy").arg("-o").arg(&out);
    expect(&run(&mut make), 0, &[]);
    let there = |folder: &Path| fs::read_dir(folder).expect("a folder").count();
    let whole = there(&out);
    // A symlink to a file on another disk, as for large weights: it stays, and the file is new.
    let far = bench.at("far.onnx");
    fs::write(&far, "old").expect("written");
    fs::remove_file(out.join("vision.onnx")).expect("removed");
    symlink(&far, out.join("vision.onnx")).expect("a link");
    expect(&run(&mut make), 0, &[]);
    assert!(fs::symlink_metadata(out.join("vision.onnx")).expect("there").is_symlink());
    assert!(fs::metadata(&far).expect("there").len() > 1000);
    assert_eq!(there(&out), whole);
    fs::remove_file(out.join("vision.onnx")).expect("removed");
    mknodat(CWD, out.join("vision.onnx"), FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
    expect(&run(&mut make), 1, &["vision.onnx", "a fifo"]);
    assert!(fs::symlink_metadata(out.join("vision.onnx")).expect("there").file_type().is_fifo());
    assert_eq!(bench.names(), ["far.onnx", "policy"]);
}

#[test]
fn an_output_that_is_an_input_or_another_output_is_refused_before_anything_runs() {
    let bench = Bench::new();
    let golden = bench.at("golden.mcap");
    expect(&run(&mut bench.replay(&golden)), 0, &["40 chunks"]);
    let bytes = fs::read(&golden).expect("there");
    symlink(&golden, bench.at("soft.mcap")).expect("a link");
    fs::hard_link(&golden, bench.at("hard.mcap")).expect("a link");
    for name in ["golden.mcap", "./golden.mcap", "soft.mcap", "hard.mcap"] {
        let mut command = bench.replay(&bench.at(name));
        expect(&run(command.arg("--golden").arg(&golden)), 1, &[name, "the same file as --golden"]);
    }
    let mut command = bench.command("replay", &golden);
    expect(&run(command.arg("-o").arg(bench.at("hard.mcap"))), 1, &["the same file as the recording"]);
    let metadata = bench.at("bag");
    fs::create_dir(&metadata).expect("a folder");
    for entry in fs::read_dir(demo::bag()).expect("the sample bag").flatten() {
        fs::copy(entry.path(), metadata.join(entry.file_name())).expect("copied");
    }
    let files = fs::read_dir(&metadata).expect("a folder").flatten().map(|entry| entry.path());
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind != "md")) {
        let mut command = bench.command("replay", &metadata);
        expect(&run(command.arg("-o").arg(&file)), 1, &["the same file as the recording"]);
    }
    for name in ["policy.yaml", "statistics.json", "vision.onnx", "vision.onnx.data"] {
        let mut command = bench.replay(&bench.at("new.mcap"));
        expect(&run(command.arg("--report").arg(bench.policy.path().join(name))), 1, &[name, "a file of the policy"]);
    }
    let urdf = bench.at("robot.urdf");
    let joint = "<joint name='left_waist' type='revolute'><limit lower='-3' upper='3' velocity='2'/></joint>";
    fs::write(&urdf, format!("<robot>{joint}</robot>")).expect("written");
    let mut command = bench.replay(&bench.at("new.mcap"));
    command.args(["-p", "limits_from:=file", "-p"]).arg(format!("limits_file:={}", urdf.display()));
    command.arg("--report").arg(&urdf);
    expect(&run(&mut command), 1, &["robot.urdf", "the same file as a file of the policy or its parameters"]);
    let mut command = bench.replay(&bench.at("new.mcap"));
    expect(&run(command.arg("--report").arg(bench.at("./new.mcap"))), 1, &["--report", "the same file as --output"]);
    expect(
        &run(&mut bench.calibrate(&demo::params())),
        1,
        &["aloha.yaml", "the same file as a file of the policy or its"],
    );
    assert_eq!(fs::read(&golden).expect("there"), bytes);
    assert!(!bench.at("new.mcap").exists());
}

#[test]
fn a_symlink_to_an_output_stays_and_its_file_is_replaced() {
    let bench = Bench::new();
    fs::create_dir(bench.at("disk")).expect("a folder");
    symlink("disk/chunks.mcap", bench.at("c.mcap")).expect("a link");
    for _ in ["dangling", "there"] {
        expect(&run(&mut bench.replay(&bench.at("c.mcap"))), 0, &["40 chunks"]);
        assert!(fs::symlink_metadata(bench.at("c.mcap")).expect("there").is_symlink());
        BagReader::open(&bench.at("disk/chunks.mcap")).expect("whole");
    }
    assert_eq!(bench.names(), ["c.mcap", "disk"]);
}

#[test]
fn a_missing_folder_and_a_disk_without_room_are_told_at_the_start() {
    let bench = Bench::new();
    for mut command in [bench.replay(&bench.at("no/c.mcap")), bench.calibrate(&bench.at("no/c.npz"))] {
        expect(&run(&mut command), 1, &["no", "does not exist"]);
    }
    // One block is less than any command begins with.
    let replay = bench.replay(&bench.at("c.mcap"));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 1; exec \"$0\" \"$@\""]).arg(replay.get_program()).args(replay.get_args());
    let output = run(&mut limited);
    expect(&output, 1, &["could not be reserved", "ulimit -f"]);
    assert!(bench.names().is_empty(), "{:?}", bench.names());
}

#[test]
fn a_disk_that_is_full_is_named_with_what_is_free_and_keeps_what_it_has() {
    let bench = Bench::new();
    let disk = bench.at("disk");
    fs::create_dir(&disk).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "none"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no right to mount a file system");
        return;
    }
    fs::write(disk.join("c.mcap"), "of before").expect("written");
    let outputs = [run(&mut bench.replay(&disk.join("c.mcap"))), run(&mut bench.calibrate(&disk.join("c.mcap")))];
    let (before, left) = (fs::read_to_string(disk.join("c.mcap")), fs::read_dir(&disk).map(Iterator::count));
    let unmounted = Command::new("umount").arg(&disk).status().expect("umount");
    assert!(unmounted.success());
    outputs.iter().for_each(|output| expect(output, 1, &["free on the disk of"]));
    assert_eq!((before.expect("there").as_str(), left.expect("a folder")), ("of before", 1));
}

#[test]
fn a_limit_reached_while_writing_leaves_the_earlier_file_and_nothing_half_written() {
    let bench = Bench::new();
    let file = bench.at("calib.npz");
    fs::write(&file, "of before").expect("written");
    let command = bench.calibrate(&file);
    let mut limited = Command::new("bash");
    // In KiB: enough to begin, and less than what is recorded.
    limited.args(["-c", "ulimit -f 600; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    let scratch = tempfile::tempdir().expect("a folder");
    let output = run(limited.arg("--scratch").arg(scratch.path()));
    expect(&output, 1, &["File too large"]);
    assert_eq!(fs::read_to_string(&file).expect("there"), "of before");
    assert_eq!(bench.names(), ["calib.npz"]);
    assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 0);
}

/// Starts a command and kills it once it has a temporary file or folder in `folder`; whether it left one.
fn killed_in_the_middle(mut command: Command, folder: &Path) -> bool {
    let left = || fs::read_dir(folder).expect("a folder").flatten().any(|entry| is_temporary(&entry.file_name()));
    for _ in 0..50 {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let started = Instant::now();
        while child.try_wait().expect("a child").is_none() && !left() && started.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        child.kill().expect("killed or done");
        child.wait().expect("gone");
        if left() {
            return true;
        }
    }
    false
}

#[test]
fn what_a_killed_run_leaves_is_cleared_by_the_next() {
    let bench = Bench::new();
    let (file, npz) = (bench.at("c.mcap"), bench.at("c.npz"));
    fs::write(&file, "of before").expect("written");
    assert!(killed_in_the_middle(bench.replay(&file), bench.out.path()), "killed while writing");
    assert_eq!(fs::read_to_string(&file).expect("there"), "of before");
    expect(&run(&mut bench.replay(&file)), 0, &["40 chunks"]);
    assert_eq!(bench.names(), ["c.mcap"]);
    BagReader::open(&file).expect("whole");

    // Recorded tensors and half an output; another output in the same folder clears both.
    let scratch = tempfile::tempdir().expect("a folder");
    let mut calibrate = bench.calibrate(&npz);
    calibrate.arg("--scratch").arg(scratch.path());
    assert!(killed_in_the_middle(calibrate, scratch.path()), "killed while recording");
    let mut calibrate = bench.calibrate(&bench.at("d.npz"));
    expect(&run(calibrate.args(["--observations", "1"]).arg("--scratch").arg(scratch.path())), 0, &[]);
    assert_eq!(bench.names(), ["c.mcap", "d.npz"]);
    assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 0);

    let make = |folder: &str| {
        let mut make = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        make.args(["make-checkpoint", "--size", "demo", "-o"]).arg(bench.at(folder));
        make
    };
    assert!(killed_in_the_middle(make("checkpoint"), bench.out.path()), "killed while writing");
    assert!(!bench.at("checkpoint").exists());
    expect(&run(&mut make("checkpoint")), 0, &[]);
    assert_eq!(bench.names(), ["c.mcap", "checkpoint", "d.npz"]);
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_is_quiet_and_the_work_is_done() {
    let bench = Bench::new();
    let (file, report) = (bench.at("c.mcap"), bench.at("report.html"));
    let mut replay = bench.replay(&file);
    let output = run(replay.arg("--report").arg(&report).stdout(closed()));
    expect(&output, 0, &[]);
    assert_eq!(words(&output), "");
    BagReader::open(&file).expect("whole");
    assert!(fs::read_to_string(&report).expect("written").ends_with("</html>\n"));
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    inspect.arg("inspect").arg(bench.policy.path().join("vision.onnx"));
    let open = run(&mut inspect);
    let output = run(inspect.stdout(closed()));
    assert_eq!((output.status.code(), words(&output)), (open.status.code(), String::new()));
    let mut wrong = bench.replay(&bench.at("no/c.mcap"));
    assert_eq!(run(wrong.stderr(closed())).status.code(), Some(1), "an error stays one when nobody reads it");
    // A full disk is no reader that has seen enough.
    let full = File::options().write(true).open("/dev/full").expect("the full device");
    let output = run(inspect.stdout(full));
    expect(&output, 1, &["error: writing to standard output: No space left on device"]);
}

#[test]
fn a_run_without_a_chunk_exits_6_and_the_earlier_output_stays() {
    let bench = Bench::new();
    let (file, report) = (bench.at("c.mcap"), bench.at("report.html"));
    let mut replay = bench.replay(&file);
    expect(&run(replay.args(NO_CHUNK)), 6, &["no chunk", "is not written", "nobody"]);
    assert!(bench.names().is_empty());
    expect(&run(&mut bench.replay(&file)), 0, &["40 chunks"]);
    let before = fs::read(&file).expect("there");
    let mut replay = bench.replay(&file);
    expect(&run(replay.args(NO_CHUNK).arg("--report").arg(&report)), 6, &["no chunk", "stays as it was"]);
    assert_eq!(fs::read(&file).expect("there"), before);
    assert!(report.exists(), "it shows why");
    let mut bench_command = bench.command("bench", &demo::bag());
    expect(&run(bench_command.args(NO_CHUNK)), 6, &["nobody"]);
    let mut verify = bench.verify();
    expect(&run(verify.args(NO_CHUNK)), 6, &["nobody"]);
    for command in ["replay", "bench", "verify", "calibrate"] {
        expect(&run(Command::new(env!("CARGO_BIN_EXE_vla-trt")).args([command, "--help"])), 0, &["; 6 "]);
    }
    expect(&run(Command::new(env!("CARGO_BIN_EXE_vla-trt")).arg("--help")), 0, &["Exit codes: 0 done", "; 6 "]);
}

#[test]
fn calibrate_exits_5_with_fewer_observations_than_asked_for_and_6_with_none() {
    let bench = Bench::new();
    let file = bench.at("c.npz");
    let stages = ["--stages", "vision"];
    let mut calibrate = bench.calibrate(&file);
    expect(&run(calibrate.args(stages)), 0, &["16 observations of"]);
    let before = fs::read(&file).expect("there");
    let mut calibrate = bench.calibrate(&file);
    let output = run(calibrate.args(stages).args(["--observations", "100"]));
    expect(&output, 5, &["expected 100 observations (--observations), found 40"]);
    let more = fs::read(&file).expect("there");
    assert!(more.len() > before.len(), "what there was is written");
    let mut calibrate = bench.calibrate(&file);
    expect(&run(calibrate.args(stages).args(NO_CHUNK)), 6, &["nobody"]);
    assert_eq!(fs::read(&file).expect("there"), more);
    assert_eq!(bench.names(), ["c.npz"]);
}
