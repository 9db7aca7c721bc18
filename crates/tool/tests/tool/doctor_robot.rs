//! `vla-trt doctor POLICY --params FILE --bag BAG`: a robot's parameters against its policy and a recording.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vla_trt::doctor::{Finding, Robot, Severity, examine};
use vla_trt_tests::demo;

use crate::doctor::machines::pc;

/// The demo policy with its parameters, changed.
struct Bench {
    policy: TempDir,
    params: PathBuf,
    _scratch: TempDir,
}

impl Bench {
    fn new(changes: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let mut text = fs::read_to_string(demo::params()).expect("parameters");
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let params = scratch.path().join("robot.yaml");
        fs::write(&params, text).expect("written");
        Self { policy: demo::policy(), params, _scratch: scratch }
    }

    fn findings(&self, bag: Option<&Path>) -> Vec<Finding> {
        let (_root, machine) = pc();
        let robot = Robot { params: self.params.clone(), bag: bag.map(Path::to_owned) };
        examine(&machine, Some(self.policy.path()), Some(&robot)).findings
    }
}

fn of<'f>(findings: &'f [Finding], check: &str, subject: Option<&str>) -> &'f Finding {
    let fits = |finding: &&Finding| finding.check == check && finding.subject.as_deref() == subject;
    findings.iter().find(fits).unwrap_or_else(|| panic!("{check} {subject:?} in {findings:#?}"))
}

#[test]
fn the_demos_parameters_fit_its_policy_and_its_bag() {
    let findings = Bench::new(&[]).findings(Some(&demo::bag()));
    assert_eq!(of(&findings, "parameters", None).severity, Severity::Ok);
    assert_eq!(of(&findings, "limits", None).severity, Severity::Ok);
    for camera in ["top", "left_wrist", "right_wrist"] {
        let finding = of(&findings, "input", Some(camera));
        assert_eq!(finding.severity, Severity::Ok, "{finding:?}");
        assert!(
            finding.finding.contains("sensor_msgs/msg/CompressedImage") && finding.finding.contains(" Hz"),
            "{finding:?}"
        );
    }
    assert_eq!(of(&findings, "input", Some("joints")).severity, Severity::Ok);
    for key in ["state.left_arm", "state.right_gripper"] {
        assert_eq!(of(&findings, "joints", Some(key)).severity, Severity::Ok);
    }
}

#[test]
fn a_topic_a_type_and_a_joint_that_the_bag_lacks_are_errors_with_what_it_has() {
    let bench = Bench::new(&[
        (
            "topic: /camera/top/image_raw/compressed\n          transport: compressed",
            "topic: /camera/top/image_raw/compressed",
        ),
        ("/camera/left_wrist/image_raw/compressed", "/camera/left/image_raw/compressed"),
        ("left_waist", "left_base"),
    ]);
    let findings = bench.findings(Some(&demo::bag()));
    let wrong_type = of(&findings, "input", Some("top"));
    assert_eq!(wrong_type.severity, Severity::Error);
    assert!(
        wrong_type.remedy.as_ref().is_some_and(|remedy| remedy.contains("inputs.cameras.top.transport: compressed"))
    );
    let missing = of(&findings, "input", Some("left_wrist"));
    assert_eq!(missing.severity, Severity::Error);
    assert!(missing.remedy.as_ref().is_some_and(|remedy| remedy.contains("/camera/left_wrist/image_raw/compressed")));
    let joints = of(&findings, "joints", Some("state.left_arm"));
    assert_eq!(joints.severity, Severity::Error);
    assert!(joints.finding.contains("5 of 6") && joints.finding.contains("left_base"), "{joints:?}");
    assert_eq!(of(&findings, "input", Some("right_wrist")).severity, Severity::Ok);
}

#[test]
fn an_age_that_the_recorded_rate_cannot_keep_is_a_warning_with_the_value_to_set() {
    let findings = Bench::new(&[("max_age_ms: 500.0", "max_age_ms: 50.0")]).findings(Some(&demo::bag()));
    let slow = of(&findings, "input", Some("top"));
    assert_eq!(slow.severity, Severity::Warning);
    assert!(slow.remedy.as_ref().is_some_and(|remedy| remedy.contains("inputs.cameras.top.max_age_ms")), "{slow:?}");
}

#[test]
fn every_wrong_parameter_is_a_finding_of_its_own() {
    let findings = Bench::new(&[("rate_hz: 5.0", "rate_hzz: 5.0"), ("velocity: 4.0", "velocity: -4.0")]).findings(None);
    let errors = findings.iter().filter(|finding| finding.check == "parameters" && finding.severity == Severity::Error);
    assert_eq!(errors.count(), 3, "rate_hzz and two grippers: {findings:#?}");
}

#[test]
fn joints_without_a_limit_of_velocity_are_an_error() {
    let findings = Bench::new(&[("velocity: 4.0, ", "")]).findings(None);
    let limits = of(&findings, "limits", None);
    assert_eq!(limits.severity, Severity::Error);
    assert!(limits.finding.contains("left_gripper, right_gripper"), "{limits:?}");
}

#[test]
fn raw_cameras_without_a_fast_dds_profile_are_a_warning() {
    let findings = Bench::new(&[("transport: compressed", "transport: raw")]).findings(None);
    assert_eq!(of(&findings, "fast dds profile", None).severity, Severity::Warning);
    let compressed = Bench::new(&[]).findings(None);
    assert!(!compressed.iter().any(|finding| finding.check == "fast dds profile"));
}

#[test]
fn the_command_ends_with_3_for_errors_and_takes_a_bag_only_with_parameters() {
    let bench = Bench::new(&[("rate_hz: 5.0", "rate_hz: fast")]);
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        command.env_remove("ROS_DISTRO").arg("doctor").args(args).output().expect("the tool starts")
    };
    let policy = bench.policy.path().to_str().expect("text");
    let params = bench.params.to_str().expect("text");
    let output = run(&[policy, "--params", params, "--json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["findings"].as_array().expect("a list").iter().any(|finding| finding["check"] == "parameters"));
    assert_eq!(run(&["--params", params]).status.code(), Some(2));
    assert_eq!(run(&[policy, "--bag", params]).status.code(), Some(2));
    let no_bag = run(&[policy, "--params", demo::params().to_str().expect("text"), "--bag", params]);
    assert_eq!(no_bag.status.code(), Some(3), "a file that is no bag");
}
