//! `vla-trt make-checkpoint` for a robot's shape: what it writes is exported, loads, and has that shape.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use vla_policy::PolicySpec;
use vla_policy::processor::Processor;
use vla_runtime::parameters::PolicyShape;
use vla_trt::doctor::{Robot, Severity, examine};

use crate::doctor::machines::pc;

/// One arm with a gripper, two cameras.
const ARM: &[&str] = &[
    "--camera",
    "front=640x480",
    "--camera",
    "wrist=320x240",
    "--state",
    "arm=6",
    "--state",
    "gripper=1",
    "--action",
    "arm=6",
    "--action",
    "gripper=1",
    "--rate",
    "20",
];

fn tool(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(args).output().expect("the tool starts")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// The export command that the tool printed, with its own output folder.
fn export(printed: &Output, out: &Path) -> Output {
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("next: vla-trt ")).unwrap_or_else(|| panic!("{text}"));
    let words: Vec<&str> = line.split(' ').collect();
    let (_, words) = words.split_last().expect("an output folder");
    tool(&[words, &[path(out)]].concat())
}

#[test]
fn a_robots_checkpoint_is_exported_with_its_cameras_keys_and_rate() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (checkpoint, policy) = (scratch.path().join("checkpoint"), scratch.path().join("policy"));
    let made = tool(&[&["make-checkpoint", "-o", path(&checkpoint)], ARM].concat());
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let exported = export(&made, &policy);
    assert_eq!(exported.status.code(), Some(0), "{exported:?}");

    let spec = PolicySpec::load(&policy).expect("a policy");
    let shape = PolicyShape::load(&spec).expect("a processor");
    let keys = [("arm".to_owned(), 6), ("gripper".to_owned(), 1)];
    assert_eq!(shape.cameras, ["front", "wrist"]);
    assert_eq!((shape.state.as_slice(), shape.action_keys.as_slice()), (&keys[..], &keys[..]));
    assert!((shape.step.seconds() - 0.05).abs() < 1e-9);
    let files = &spec.processor;
    let processor = Processor::load(&files.config, &files.statistics, &files.embodiment).expect("a processor");
    assert_eq!(processor.action_width(), 7);
}

#[test]
fn a_wide_robot_gets_a_wider_head_and_exports_too() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (checkpoint, policy) = (scratch.path().join("checkpoint"), scratch.path().join("policy"));
    let humanoid = [
        "--camera",
        "head=640x360",
        "--state",
        "body=44",
        "--action",
        "body=44",
        "--action",
        "torso=3",
        "--rate",
        "50",
    ];
    let made = tool(&[&["make-checkpoint", "-o", path(&checkpoint)], &humanoid[..]].concat());
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let exported = export(&made, &policy);
    assert_eq!(exported.status.code(), Some(0), "{exported:?}");
    let shape = PolicyShape::load(&PolicySpec::load(&policy).expect("a policy")).expect("a processor");
    assert_eq!(shape.action_keys, [("body".to_owned(), 44), ("torso".to_owned(), 3)]);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let scratch = tempfile::tempdir().expect("a folder");
    let weights = |name: &str, seed: &str| {
        let out = scratch.path().join(name);
        let made = tool(&[&["make-checkpoint", "--seed", seed, "-o", path(&out)], ARM].concat());
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        fs::read(out.join("model.safetensors")).expect("weights")
    };
    let first = weights("a", "3");
    assert!(first == weights("b", "3"), "the same seed");
    assert!(first != weights("c", "4"), "another seed");
}

#[test]
fn a_shape_that_no_robot_has_is_refused_by_its_options_and_nothing_is_written() {
    let scratch = tempfile::tempdir().expect("a folder");
    let out = scratch.path().join("checkpoint");
    let refused = tool(&[
        "make-checkpoint",
        "--camera",
        "front=640x2",
        "--camera",
        "9cam=640x480",
        "--state",
        "arm=0",
        "--action",
        "arm=200",
        "--action",
        "arm=1",
        "--rate",
        "0",
        "-o",
        path(&out),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    for option in
        ["--camera front=640x2", "--camera 9cam", "--state arm=0", "--action arm=200", "--action arm:", "--rate"]
    {
        assert!(text.contains(option), "{option} in {text}");
    }
    assert!(!out.exists());
}

#[test]
fn a_size_and_a_shape_exclude_each_other_and_a_shape_is_whole() {
    let scratch = tempfile::tempdir().expect("a folder");
    let out = scratch.path().join("checkpoint");
    let refused = |args: &[&str]| {
        let output = tool(&[&["make-checkpoint", "-o", path(&out)], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    };
    refused(&[]);
    refused(&[&["--size", "demo"], ARM].concat());
    refused(&["--size", "demo", "--rate", "20"]);
    refused(&ARM[..ARM.len() - 2]);
    refused(&["--camera", "front=640"]);
    refused(&[&ARM[..4], &["--state", "arm", "--action", "arm=6", "--rate", "20"]].concat());
    assert!(!out.exists());
}

/// Runs the commands in the head of a parameter file that make a seeded policy; the policy's folder.
fn policy_of_head(text: &str, folder: &Path) -> std::path::PathBuf {
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let first = head.iter().position(|line| line.starts_with("vla-trt make-checkpoint")).expect("a command");
    let commands = head[first..].join("\n").replace("\\\n", " ");
    for command in commands.lines().filter_map(|line| line.strip_prefix("vla-trt ")) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let made =
            Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(words).current_dir(folder).output().expect("a start");
        assert_eq!(made.status.code(), Some(0), "{command}: {made:?}");
    }
    folder.join("my_policy")
}

#[test]
fn the_parameter_files_of_libero_droid_and_two_arms_fit_the_policies_that_their_heads_make() {
    for name in ["libero", "droid", "bimanual_n1d7"] {
        let params = vla_trt_tests::root().join(format!("config/{name}.yaml"));
        let text = fs::read_to_string(&params).expect("parameters");
        let scratch = tempfile::tempdir().expect("a folder");
        let policy = policy_of_head(&text, scratch.path());
        let (_root, machine) = pc();
        let severities = |params: &Path| {
            let robot = Robot { params: params.to_owned(), bag: None };
            let findings = examine(&machine, Some(&policy), Some(&robot)).findings;
            ["parameters", "limits"].map(|check| {
                let found =
                    findings.iter().filter(|finding| finding.check == check).map(|finding| finding.severity).max();
                (found, findings.iter().filter(|finding| finding.check == check).cloned().collect::<Vec<_>>())
            })
        };
        for (found, findings) in severities(&params) {
            assert_eq!(found, Some(Severity::Ok), "{name}: {findings:#?}");
        }
        // The same file without one of its outputs leaves a key without a route.
        let broken = scratch.path().join("broken.yaml");
        let gone: Vec<&str> = text.lines().filter(|line| !line.contains("keys: [")).collect();
        fs::write(&broken, gone.join("\n")).expect("written");
        assert_eq!(severities(&broken)[0].0, Some(Severity::Error), "{name}");
    }
}
