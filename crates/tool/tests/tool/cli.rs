//! The command line at the process boundary: exit codes, what is printed where, nothing half-written.

use vla_trt_tests::demo;

use std::path::Path;
use std::process::{Command, Output};

use vla_bags::{BagReader, BagWriter};
use vla_messages::schema;

fn vla_trt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(args).output().expect("the tool starts")
}

fn replay(policy: &Path, out: &Path, more: &[&str]) -> Output {
    let (bag, params) = (demo::bag(), demo::params());
    let mut args = vec!["replay", text(&bag), "--policy", text(policy), "--params", text(&params), "-o", text(out)];
    args.extend(more);
    vla_trt(&args)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_and_version_exit_0_and_a_wrong_flag_exits_2() {
    assert_eq!(vla_trt(&["--version"]).status.code(), Some(0));
    assert!(stdout(&vla_trt(&["replay", "--help"])).contains("--golden"));
    let wrong = vla_trt(&["replay", "--colour"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("--colour"));
}

#[test]
fn a_missing_policy_exits_1_and_says_what_to_do() {
    let out = tempfile::tempdir().expect("a folder");
    let output = replay(&out.path().join("nowhere"), &out.path().join("c.mcap"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("policy.yaml") && stderr(&output).contains("make-demo-policy"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn replay_exits_0_then_3_with_the_first_differing_value() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (golden, again) = (out.path().join("golden.mcap"), out.path().join("again.mcap"));
    let report = out.path().join("report.html");
    let first = replay(policy.path(), &golden, &["--report", text(&report)]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stdout(&first).contains("chunks ->") && report.exists());
    let same = replay(policy.path(), &again, &["--golden", text(&golden)]);
    assert_eq!(same.status.code(), Some(0), "{}{}", stdout(&same), stderr(&same));
    let other = replay(policy.path(), &again, &["--golden", text(&golden), "-p", "seed:=8"]);
    assert_eq!(other.status.code(), Some(3));
    let printed = stdout(&other);
    assert!(printed.contains("row 0") && printed.contains("expected") && printed.contains("found"), "{printed}");
}

#[test]
fn wrong_parameters_are_all_reported_and_nothing_is_written() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("c.mcap");
    let output = replay(policy.path(), &file, &["-p", "denoise.steps:=3", "-p", "instructon:=push"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = stderr(&output);
    assert!(printed.contains("denoise.steps") && printed.contains('4'), "lists the exported counts: {printed}");
    assert!(printed.contains("instructon") && printed.contains("instruction"), "names the nearest: {printed}");
    assert!(!file.exists());
}

#[test]
fn a_load_order_that_misses_a_stage_lists_the_engines() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let order = "engines.load_order:=[step, language, context]";
    let output = replay(policy.path(), &out.path().join("c.mcap"), &["-p", order]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("vision"), "{}", stderr(&output));
}

#[test]
fn ways_of_starting_a_pass_are_compared_on_tensorrt_alone() {
    let (policy, bag, params) = (demo::policy(), demo::bag(), demo::params());
    let given = ["bench", text(&bag), "--policy", text(policy.path()), "--params", text(&params), "--compare-launch"];
    let output = vla_trt(&given);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for words in ["engine.kind is onnx", "expected tensorrt or cuda", "add -p engine.kind:=tensorrt"] {
        assert!(said.contains(words), "expected {words:?} in {said}");
    }
    assert!(stdout(&output).is_empty(), "nothing was measured");
}

#[test]
fn engines_beyond_the_budget_exit_4_with_the_table_and_nothing_is_written() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("c.mcap");
    let output = replay(policy.path(), &file, &["-p", "memory.budget_mib:=1"]);
    assert_eq!(output.status.code(), Some(4));
    let printed = stderr(&output);
    assert!(
        printed.contains("not enough memory to load stage 'step'") && printed.contains("what would help"),
        "{printed}"
    );
    assert!(!file.exists());
}

#[test]
fn a_warning_that_repeats_is_said_once_and_counted_at_the_end() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (bag, reader) = (out.path().join("unstamped.mcap"), BagReader::open(&demo::bag()).expect("the sample bag"));
    let mut writer = BagWriter::create(&bag).expect("begun");
    let topics = reader.topics().iter().map(|topic| {
        let text = schema::text(&topic.type_name).expect("a known type");
        writer.add_topic(&topic.name, &topic.type_name, text).expect("added")
    });
    let topics: Vec<_> = topics.collect();
    let mut messages = 0;
    for message in reader.messages(&(0..topics.len()).collect::<Vec<_>>()).expect("messages") {
        let message = message.expect("readable");
        let mut bytes = message.data.to_vec();
        if reader.topics()[message.topic].name == "/joint_states" {
            // Behind the encapsulation header.
            bytes[4..12].fill(0);
            messages += 1;
        }
        writer.write(topics[message.topic], message.log_time, &bytes).expect("written");
    }
    writer.finish().expect("whole");
    let (params, file) = (demo::params(), out.path().join("c.mcap"));
    let given = ["replay", text(&bag), "--policy", text(policy.path()), "--params", text(&params), "-o", text(&file)];
    let output = vla_trt(&given);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(messages > 100 && said.matches("found zero").count() == 2, "{said}");
    assert!(said.contains(&format!("{messages} messages refused like this one, the last")), "{said}");
}

#[test]
fn bench_wants_a_policy_and_a_bag_or_roofs_and_not_both() {
    for given in [
        &["bench"][..],
        &["bench", "bag"],
        &["bench", "--policy", "p"],
        &["bench", "--roofs", "--policy", "p"],
        &["bench", "--json"],
    ] {
        let output = vla_trt(given);
        assert_eq!(output.status.code(), Some(2), "{given:?}: {}", stderr(&output));
    }
    let help = vla_trt(&["bench", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.starts_with("Measure the latency of a policy") && help.contains("--roofs"), "{help}");
}
