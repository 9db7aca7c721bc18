//! Cameras and frames.

use super::*;

#[test]
fn views_may_share_a_topic_of_one_transport() {
    let shared = ["inputs.cameras.left_wrist.topic:=/stereo", "inputs.cameras.right_wrist.topic:=/stereo"];
    let settings = parameters(&shared);
    let topics: Vec<&str> = settings.settings().inputs[1..3].iter().map(|input| input.topics[0].as_str()).collect();
    assert_eq!(topics, ["/stereo"; 2]);
    let other = [&shared[..], &["inputs.cameras.left_wrist.transport:=raw"]].concat();
    let problem = one_problem(&other);
    let names = "inputs.cameras.left_wrist.topic and inputs.cameras.right_wrist.topic";
    assert!(problem.contains(names) && problem.contains("transport"), "{problem}");
}

#[test]
fn the_meaning_of_bytes_is_for_raw_frames_and_the_orientation_for_compressed_ones() {
    let of = |arguments: &[&str]| parameters(arguments).settings().inputs[0].frames;
    assert_eq!(of(&[]), FrameOptions::default());
    let raw = ["inputs.cameras.top.transport:=raw", "inputs.cameras.top.encoding:=bayer_rggb8"];
    assert_eq!(of(&raw).encoding, PixelFormat::from_encoding("bayer_rggb8"));
    assert_eq!(of(&["inputs.cameras.top.exif:=apply"]).exif, Exif::Apply);
    for (arguments, parameter) in [
        (&["inputs.cameras.top.encoding:=rgb8"][..], "encoding"),
        (&["inputs.cameras.top.transport:=raw", "inputs.cameras.top.exif:=apply"], "exif"),
    ] {
        let problem = one_problem(arguments);
        let names = [parameter, "transport"].map(|name| format!("inputs.cameras.top.{name}"));
        assert!(names.iter().all(|name| problem.contains(name)), "{problem}");
    }
    let unknown = one_problem(&["inputs.cameras.top.transport:=raw", "inputs.cameras.top.encoding:=bayer_rggb16"]);
    assert!(unknown.contains("expected one of auto, rgb8"), "{unknown}");
}

#[test]
fn a_view_may_be_blank_only_where_the_policy_was_trained_so() {
    let untrained = one_problem(&["inputs.cameras.top.blank:=true"]);
    assert!(untrained.contains("inputs.cameras.top.blank") && untrained.contains("blank_views"), "{untrained}");
    let views = |blank: &[&str], arguments: &[&str]| {
        let blank_views = blank.iter().map(|view| (*view).to_owned()).collect();
        Parameters::new(PolicyShape { blank_views, ..shape() }, &overrides(arguments))
    };
    let parameters = views(&["left_wrist"], &["inputs.cameras.left_wrist.blank:=true"]).expect("trained with it");
    let settings = parameters.settings();
    assert_eq!(settings.blank_views, ["left_wrist"]);
    let names: Vec<&str> = settings.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["top", "right_wrist", "joints", "instruction"]);
    assert_eq!(settings.rules.per_input.len(), names.len());
    let all = ["top", "left_wrist", "right_wrist"].map(|view| format!("inputs.cameras.{view}.blank:=true"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let problems = views(&["top", "left_wrist", "right_wrist"], &all).expect_err("blind");
    assert_eq!(problems.len(), 1, "{problems}");
}

#[test]
fn the_frames_of_earlier_times_follow_the_policys_step() {
    let remembering = PolicyShape { video_history: vec![-15, 0], ..shape() };
    let parameters = Parameters::new(remembering, &overrides(&["action.step_s:=0.1"])).expect("valid");
    let history = &parameters.settings().inputs[0].history;
    assert_eq!(history.before, [Span::from_millis(300.0)], "of the policy's 20 ms, however fast chunks are played");
    assert_eq!(history.tolerance, Span::from_millis(10.0));
    assert!(parameters.settings().inputs[3].history.before.is_empty());
}
