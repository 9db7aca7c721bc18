//! A parameter file that the node shares with other nodes: what is theirs is ignored, and mistakes are refused.

use crate::shape::arm;
use vla_runtime::parameters::{Error, NodeName, Overrides, Parameters, Problems, Value};

/// The parameters of a node `/left/vla_trt` whose file has this section after those that it needs.
fn load(section: &str, lines: &[&str]) -> Result<Parameters, Problems> {
    let mut given = Overrides::new(NodeName::new("/left", "vla_trt").expect("a name"));
    given.set("policy", Value::String("p".into()));
    given.set("state.arm.joints", Value::StringArray(vec!["pan".into(), "lift".into()]));
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    let other = "/left/driver:\n  ros__parameters:\n    baud: 9600\n";
    given.add_text("robot.yaml", &format!("{other}{section}:\n  ros__parameters:\n{lines}"))?;
    Parameters::new(arm(), &given)
}

fn ignored(parameters: &Parameters) -> Vec<&str> {
    parameters.ignored().into_iter().flat_map(|ignored| ignored.names()).collect()
}

/// The names that are refused, each as unknown.
fn unknown(loaded: Result<Parameters, Problems>) -> Vec<String> {
    let problems = loaded.expect_err("refused");
    assert!(problems.iter().all(|error| matches!(error, Error::Unknown { .. })), "{problems}");
    problems.iter().flat_map(Error::names).cloned().collect()
}

#[test]
fn parameters_of_other_nodes_are_ignored_with_one_warning_and_those_of_the_node_are_taken() {
    for section in ["/**", "/left/*", "/left/**"] {
        let parameters = load(section, &["robot_name: aloha", "rate_hz: 7.0", "camera: {fps: 30, gain: 1.5}"])
            .unwrap_or_else(|problems| panic!("{section}: {problems}"));
        assert_eq!(parameters.settings().rate_hz, 7.0, "{section}");
        assert_eq!(ignored(&parameters), ["robot_name", "camera.fps", "camera.gain"], "{section}");
    }
}

#[test]
fn a_file_without_names_of_other_nodes_gives_no_warning() {
    let names = ["use_sim_time: true", "start_type_description_service: false", "rate_hz: 7.0"];
    for section in ["/**", "/left/vla_trt"] {
        let parameters = load(section, &names).unwrap_or_else(|problems| panic!("{section}: {problems}"));
        assert!(parameters.ignored().is_none(), "{section}: {:?}", ignored(&parameters));
        assert!(parameters.settings().use_sim_time, "{section}");
    }
}

#[test]
fn under_the_nodes_own_name_every_unknown_name_is_refused() {
    for section in ["/left/vla_trt", "left/vla_trt", "/*/vla_trt", "/**/vla_trt"] {
        assert_eq!(unknown(load(section, &["robot_name: aloha", "rate_hz: 7.0"])), ["robot_name"], "{section}");
    }
}

#[test]
fn in_a_shared_section_what_looks_like_a_mistake_is_refused() {
    let lines = ["rate_zh: 7.0", "robot_name: aloha", "max_skew: 50.0", "command_rate: 100.0"];
    assert_eq!(unknown(load("/**", &lines)), ["rate_zh", "max_skew", "command_rate"]);
    // Every group, whether or not a name of it is near.
    for group in [
        "inputs", "state", "action", "limits", "outputs", "motion", "handover", "engine", "engines", "memory",
        "watchdog",
    ] {
        let name = format!("{group}.quite_another_thing");
        assert_eq!(unknown(load("/**", &[&format!("{name}: 1")])), [name]);
    }
}
