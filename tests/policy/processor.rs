//! The vendor's processor files: what is read from them, what is filled in, and how every mistake is named.

mod families;
mod keys;
mod statistics;

use vla_trt_tests::processor as files;

use std::path::Path;

use files::{config, statistics};
use serde_json::{Value, json};
use vla_policy::family::N1D6;
use vla_policy::processor::{
    ActionScaling, Conversion, DeltaRows, KNOWN_KEYS, Place, PoseFormat, Processor, ProcessorConfig, ProcessorError,
    StateEncoding, Statistics,
};

fn processor(config: &Value, statistics: &Value) -> Result<Processor, ProcessorError> {
    let config = ProcessorConfig::parse(Path::new("processor_config.json"), &config.to_string())?;
    let statistics = Statistics::parse(Path::new("statistics.json"), &statistics.to_string())?;
    Processor::new(&config, &statistics, "robot")
}

/// The files after `edit`, which gets kwargs, the robot's modalities and its statistics.
fn edited(edit: impl FnOnce(&mut Value, &mut Value)) -> Result<Processor, ProcessorError> {
    let (mut config, mut statistics) = (config(), statistics());
    edit(&mut config["processor_kwargs"], &mut statistics["robot"]);
    processor(&config, &statistics)
}

fn problems(edit: impl FnOnce(&mut Value, &mut Value)) -> Vec<String> {
    match edited(edit) {
        Err(ProcessorError::Invalid { problems, .. }) => problems,
        other => panic!("expected problems, found {other:?}"),
    }
}

fn refusal(edit: impl FnOnce(&mut Value, &mut Value)) -> String {
    edited(edit).expect_err("refused").to_string()
}

fn robot(kwargs: &mut Value) -> &mut Value {
    &mut kwargs["modality_configs"]["robot"]
}

#[test]
fn both_files_make_one_processor() {
    let processor = processor(&config(), &statistics()).expect("valid");
    assert_eq!(processor.cameras, ["top", "wrist"]);
    assert_eq!(processor.image, N1D6.image(256, 0.95));
    assert!(processor.normalise_text && processor.clip_state);
    let widths: Vec<(&str, usize)> = processor.state.iter().map(|key| (key.name.as_str(), key.width)).collect();
    assert_eq!(widths, [("arm", 2), ("gripper", 1)]);
    assert_eq!(processor.state[0].encoding, StateEncoding::Range { low: vec![-1.5, -2.0], high: vec![1.5, 2.0] });
    assert_eq!((processor.state_width(), processor.encoded_state_width(), processor.state_deltas.len()), (3, 3, 1));
    assert_eq!((processor.rows(), processor.predicted_width(), processor.action_width()), (3, 3, 3));
    assert_eq!(processor.action[0].conversion, Conversion::AddState { state: 0 });
    let table = vec![0.1, 0.2, 0.2, 0.4, 0.3, 0.6];
    let low = table.iter().map(|value: &f64| -value).collect();
    assert_eq!(processor.action[0].scaling, ActionScaling::Range { low, high: table });
    assert_eq!(processor.action[1].conversion, Conversion::Absolute);
    assert_eq!((processor.max_state_dim, processor.max_action_dim, processor.max_action_horizon), (128, 128, 50));
}

#[test]
fn columns_of_an_end_effector_are_named_after_what_its_values_are() {
    let columns = |rep: &str, format: &str, width: usize| {
        let edit = |kwargs: &mut Value, statistics: &mut Value| {
            robot(kwargs)["action"]["action_configs"][1] = json!({"rep": rep, "type": "EEF", "format": format});
            let (low, high) = (vec![-1.0; width], vec![1.0; width]);
            for group in ["state", "action"] {
                statistics[group]["gripper"] = json!({"min": low, "max": high, "mean": low, "std": high});
            }
            let (low, high) = (vec![low; 3], vec![high; 3]);
            statistics["relative_action"]["gripper"] = json!({"min": low, "max": high, "mean": low, "std": high});
        };
        let processor = edited(edit).expect("valid");
        assert_eq!(processor.action[0].eef_columns(), None, "an arm's joints have names of their own");
        let (key, columns) = (&processor.action[1], processor.action[1].eef_columns().expect("an end effector"));
        assert_eq!((columns.len(), key.is_relative_pose()), (key.decoded_width(), rep == "RELATIVE"));
        columns.iter().map(|name| name.strip_prefix("gripper.").expect("the key first")).collect::<Vec<_>>().join(" ")
    };
    let matrix = "r00 r01 r02 x r10 r11 r12 y r20 r21 r22 z m30 m31 m32 m33";
    for rep in ["RELATIVE", "ABSOLUTE"] {
        assert_eq!(columns(rep, "XYZ_ROT6D", 9), "x y z r00 r01 r02 r10 r11 r12");
        assert_eq!(columns(rep, "XYZ_ROTVEC", if rep == "RELATIVE" { 9 } else { 6 }), "x y z rx ry rz");
        assert_eq!(columns(rep, "DEFAULT", if rep == "RELATIVE" { 9 } else { 16 }), matrix);
    }
    // Of other widths the processor says nothing.
    assert_eq!(columns("ABSOLUTE", "XYZ_ROTVEC", 9), "0 1 2 3 4 5 6 7 8");
    assert_eq!(columns("ABSOLUTE", "DEFAULT", 1), "0");
}

/// The files with deltas of the arm.
fn with_deltas(edit: impl FnOnce(&mut Value, &mut Value)) -> Result<Processor, ProcessorError> {
    edited(|kwargs, values| {
        robot(kwargs)["action"]["action_configs"][0]["rep"] = json!("DELTA");
        edit(kwargs, values);
    })
}

#[test]
fn deltas_refer_to_a_state_key_of_their_width_and_have_the_statistics_of_the_action() {
    for relative in [true, false] {
        let processor = with_deltas(|kwargs, _| kwargs["use_relative_action"] = json!(relative)).expect("valid");
        assert_eq!(processor.action[0].conversion, Conversion::Delta { state: 0, rows: None });
        assert_eq!(processor.action[0].scaling, ActionScaling::Range { low: vec![-1.5, -2.0], high: vec![1.5, 2.0] });
        assert_eq!(processor.action_width(), 3);
    }
    let error = with_deltas(|kwargs, _| robot(kwargs)["action"]["action_configs"][0]["state_key"] = json!("gripper"));
    let error = error.expect_err("another width").to_string();
    assert!(error.contains("'gripper' has 1 values, the actions of 'arm' 2"), "{error}");
}

#[test]
fn deltas_of_an_end_effector_are_refused_by_key() {
    for relative in [true, false] {
        let error = with_deltas(|kwargs, _| {
            robot(kwargs)["action"]["action_configs"][0]["type"] = json!("EEF");
            kwargs["use_relative_action"] = json!(relative);
        });
        let error = error.expect_err("poses do not add up").to_string();
        assert!(error.contains("action_configs[0]: 'arm' is an end effector's (EEF) with rep: DELTA"), "{error}");
    }
}

#[test]
fn what_a_row_of_deltas_is_must_be_said_for_each_such_key_and_for_no_other() {
    let set = |deltas: &[(&str, DeltaRows)], first: i64| {
        let edit = |kwargs: &mut Value, _: &mut Value| {
            robot(kwargs)["action"]["delta_indices"] = json!([first, first + 1, first + 2]);
        };
        let mut processor = with_deltas(edit).expect("valid");
        let deltas = deltas.iter().map(|(key, rows)| ((*key).to_owned(), *rows)).collect();
        let done = processor.set_deltas(&deltas, |key, rows| format!("{key}:={rows}"));
        done.map(|()| processor.action[0].conversion)
    };
    let (sum, single) = (DeltaRows::Cumulative, DeltaRows::FromState);
    assert_eq!(set(&[("arm", sum)], 0), Ok(Conversion::Delta { state: 0, rows: Some(sum) }));
    assert_eq!(set(&[("arm", single)], 1), Ok(Conversion::Delta { state: 0, rows: Some(single) }));
    let starts = |found: Result<Conversion, Vec<String>>, starts: &[&str]| {
        let problems = found.expect_err("refused");
        let right = problems.iter().zip(starts).all(|(problem, start)| problem.starts_with(start));
        assert!(right && problems.len() == starts.len(), "{starts:?}: {problems:#?}");
    };
    starts(set(&[], 0), &["action key 'arm' has rep: DELTA"]);
    starts(
        set(&[("gripper", sum), ("leg", single)], 0),
        &["gripper:=cumulative: expected a joint key", "leg:=from_state: expected a joint key", "action key 'arm'"],
    );
    // Of what was before the first row nothing is known.
    starts(set(&[("arm", sum)], 1), &["arm:=cumulative: expected action.delta_indices that begin at 0, found 1"]);
}

#[test]
fn absent_keys_take_the_defaults_of_the_vendors_class() {
    let modalities = config()["processor_kwargs"]["modality_configs"].clone();
    let config = json!({"processor_class": "Gr00tN1d6Processor", "processor_kwargs": {
        "modality_configs": modalities, "use_albumentations": true,
    }});
    let processor = processor(&config, &statistics()).expect("valid");
    assert_eq!(processor.image, N1D6.image(512, 0.95));
    assert_eq!((processor.max_state_dim, processor.max_action_dim, processor.max_action_horizon), (29, 29, 40));
    assert!(processor.normalise_text && processor.clip_state);
    assert!(processor.action.iter().all(|key| key.conversion == Conversion::Absolute), "use_relative_action is false");
    assert!(
        problems(|kwargs, _| drop(kwargs.as_object_mut().expect("object").remove("use_albumentations")))[0]
            .starts_with("use_albumentations: expected true, found false")
    );
}

#[test]
fn null_sizes_are_taken_from_the_other_two() {
    let processor = edited(|kwargs, _| {
        kwargs["shortest_image_edge"] = Value::Null;
        kwargs["crop_fraction"] = Value::Null;
        kwargs["image_target_size"] = json!([224, 224]);
        kwargs["image_crop_size"] = json!([168, 168]);
    });
    assert_eq!(processor.expect("valid").image, N1D6.image(224, 0.75));
    let problems = problems(|kwargs, _| {
        kwargs["shortest_image_edge"] = Value::Null;
        kwargs["crop_fraction"] = Value::Null;
    });
    assert!(problems[0].starts_with("shortest_image_edge: null") && problems[1].starts_with("crop_fraction: null"));
}

#[test]
fn state_modes_follow_their_keys_and_flags() {
    let modes = |sin_cos_flag: bool, percentiles: bool| {
        let processor = edited(|kwargs, values| {
            kwargs["apply_sincos_state_encoding"] = json!(sin_cos_flag);
            kwargs["use_percentiles"] = json!(percentiles);
            robot(kwargs)["state"]["sin_cos_embedding_keys"] = json!(["arm"]);
            robot(kwargs)["state"]["mean_std_embedding_keys"] = json!(["arm"]);
            values["state"]["gripper"]["q01"] = json!([0.01]);
        });
        processor.expect("valid")
    };
    let with_flag = modes(true, false);
    assert_eq!(with_flag.state[0].encoding, StateEncoding::SinCos, "sin_cos wins over mean_std");
    assert_eq!(with_flag.encoded_state_width(), 5);
    assert!(matches!(modes(false, false).state[0].encoding, StateEncoding::MeanStd { .. }));
    let StateEncoding::Range { low, .. } = &modes(true, true).state[1].encoding else { panic!("a range") };
    assert_eq!(low, &[0.01], "percentiles");
}

#[test]
fn relative_poses_are_nine_wide_and_their_format_gives_the_decoded_width() {
    let pose = |width: usize, format: &str| {
        edited(|kwargs, values| {
            robot(kwargs)["action"]["action_configs"][0]["type"] = json!("EEF");
            robot(kwargs)["action"]["action_configs"][0]["format"] = json!(format);
            let flat = vec![0.5; width];
            for (table, value) in
                [("state", json!(flat)), ("action", json!(flat)), ("relative_action", json!([flat, flat, flat]))]
            {
                for kind in ["min", "max", "mean", "std", "q01", "q99"] {
                    values[table]["arm"][kind] = value.clone();
                }
            }
        })
    };
    for (format, written, width) in [
        ("XYZ_ROT6D", PoseFormat::Rot6d, 9),
        ("XYZ_ROTVEC", PoseFormat::Rotvec, 6),
        ("DEFAULT", PoseFormat::Matrix, 16),
    ] {
        let processor = pose(9, format).expect("valid");
        assert_eq!(
            processor.action[0].conversion,
            Conversion::ComposePose { state: 0, predicted: PoseFormat::Rot6d, format: written }
        );
        assert_eq!((processor.action[0].width, processor.action_width()), (9, width + 1));
    }
    let error = pose(6, "XYZ_ROTVEC").expect_err("refused").to_string();
    assert!(
        error.contains("expected 9 values of a relative EEF key (x y z r00 r01 r02 r10 r11 r12), found 6"),
        "{error}"
    );
}

#[test]
fn every_problem_of_both_files_is_reported_at_once() {
    let problems = problems(|kwargs, values| {
        kwargs["use_albumentations"] = json!(false);
        kwargs["crop_fraction"] = json!(1.5);
        kwargs["max_action_dim"] = json!(2);
        robot(kwargs)["video"]["delta_indices"] = json!([0, -1]);
        robot(kwargs)["state"]["mean_std_embedding_keys"] = json!(["leg"]);
        robot(kwargs)["action"]["action_configs"][0]["format"] = json!("XYZ_ROT6D");
        values["state"]["gripper"]["max"] = json!([0.05, 1]);
        values["relative_action"]["arm"]["min"] = json!([[0, 0], [0]]);
    });
    let starts = [
        "use_albumentations: expected true",
        "crop_fraction: expected above 0 and at most 1, found 1.5",
        "modality_configs.robot.video.delta_indices: expected ascending control steps",
        "modality_configs.robot.state.mean_std_embedding_keys: 'leg' is not among the modality_keys arm, gripper",
        "statistics.robot.state.gripper.max: expected 1 values as in min, found 2",
        "modality_configs.robot.action.action_configs[0].format: expected DEFAULT for a relative NON_EEF key",
        "statistics.robot.relative_action.arm.min: expected 3 rows",
        "statistics.robot.relative_action.arm.min: expected rows of 2 values, found one of 1",
        "max_action_dim: 2 is less than the 3 values",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem} should start with {start}");
    }
}

#[test]
fn action_rows_that_do_not_follow_each_other_step_by_step_are_refused() {
    let with = |deltas: Value| edited(|kwargs, _| robot(kwargs)["action"]["delta_indices"] = deltas);
    for even in [json!([0, 1, 2]), json!([3, 4, 5]), json!([-1, 0, 1])] {
        with(even).expect("one step from row to row");
    }
    for uneven in [json!([0, 2, 4]), json!([0, 1, 3]), json!([2, 1, 0]), json!([0, 0, 1])] {
        let error = with(uneven).expect_err("other times").to_string();
        assert!(error.contains("modality_configs.robot.action.delta_indices: expected consecutive indices"), "{error}");
    }
}

#[test]
fn what_is_missing_or_too_wide_is_named() {
    let one = |edit: fn(&mut Value, &mut Value), expected: &str| {
        let problems = problems(edit);
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:#?}");
    };
    one(
        |_, values| drop(values["state"].as_object_mut().expect("object").remove("arm")),
        "statistics.robot.state.arm: missing",
    );
    one(
        |_, values| drop(values["action"]["gripper"].as_object_mut().expect("object").remove("max")),
        "statistics.robot.action.gripper.max: missing",
    );
    one(
        |_, values| values["state"]["gripper"] = json!({"count": [3]}),
        "statistics.robot.state.gripper.min: missing, and no other statistic gives the key's width",
    );
    one(
        |_, values| drop(values.as_object_mut().expect("object").remove("relative_action")),
        "statistics.robot.relative_action.arm: missing",
    );
    one(
        |kwargs, _| robot(kwargs)["action"]["action_configs"][0]["state_key"] = json!("leg"),
        "modality_configs.robot.action.action_configs[0].state_key: 'leg' is no state key",
    );
    one(
        |kwargs, _| robot(kwargs)["action"]["action_configs"][0]["state_key"] = json!("gripper"),
        "modality_configs.robot.action.action_configs[0].state_key: 'gripper' has 1 values, the actions of 'arm' 2",
    );
    one(
        |kwargs, _| drop(robot(kwargs)["action"]["action_configs"].as_array_mut().expect("array").pop()),
        "modality_configs.robot.action.action_configs: expected one for each of the 2 modality_keys, found 1",
    );
    one(|kwargs, _| robot(kwargs)["language"] = Value::Null, "modality_configs.robot.language: missing");
    one(
        |kwargs, _| robot(kwargs)["video"]["modality_keys"] = json!(["top", "top"]),
        "modality_configs.robot.video.modality_keys: 'top' is named twice",
    );
    one(|kwargs, _| kwargs["max_state_dim"] = json!(2), "max_state_dim: 2 is less than the 3 values");
    one(|kwargs, _| kwargs["max_action_dim"] = json!(2), "max_action_dim: 2 is less than the 3 values");
    one(|kwargs, _| kwargs["max_action_horizon"] = json!(2), "max_action_horizon: 2 is less than the 3");
    one(|kwargs, _| kwargs["model_name"] = json!("x"), "model_name: expected 'nvidia/Eagle-Block2A-2B-v2', found 'x'");
    one(
        |kwargs, values| {
            kwargs["use_percentiles"] = json!(true);
            values["state"]["arm"]["q99"] = Value::Null;
        },
        "statistics.robot.state.arm.q99: missing, and use_percentiles is true",
    );
    one(
        |kwargs, values| {
            robot(kwargs)["state"]["mean_std_embedding_keys"] = json!(["arm"]);
            values["state"]["arm"]["std"] = json!([1, -1]);
        },
        "statistics.robot.state.arm.std[1]: expected 0 or more, found -1",
    );
}

#[test]
fn an_embodiment_that_a_file_does_not_have_is_answered_with_those_it_has() {
    let config = ProcessorConfig::parse(Path::new("c"), &config().to_string()).expect("valid");
    let statistics = Statistics::parse(Path::new("s"), &statistics().to_string()).expect("valid");
    let error = Processor::new(&config, &statistics, "gr1").expect_err("refused").to_string();
    assert_eq!(
        error,
        "the processor of embodiment 'gr1' cannot be used:\n  modality_configs: no 'gr1'; the file has robot\n  \
         statistics: no 'gr1'; the file has robot"
    );
}

#[test]
fn a_missing_file_is_named() {
    let path = Path::new("no/such/processor_config.json");
    let error = ProcessorConfig::load(path).expect_err("refused").to_string();
    assert!(error.starts_with("no/such/processor_config.json: ") && error.contains("expected the file"), "{error}");
}

#[test]
fn frames_of_several_times_are_read_with_the_newest_as_the_last() {
    let video = |deltas: Value| edited(|kwargs, _| robot(kwargs)["video"]["delta_indices"] = deltas);
    let read = |deltas: &[i64]| video(json!(deltas)).expect("a history").video_deltas;
    assert_eq!((read(&[0]), read(&[-15, 0]), read(&[-1000, -7, 0])), (vec![0], vec![-15, 0], vec![-1000, -7, 0]));
    for wrong in [json!([-15]), json!([0, -15]), json!([-1, -1, 0]), json!([0, 1]), json!([-1001, 0])] {
        let refused = video(wrong.clone()).expect_err("refused").to_string();
        assert!(refused.contains("modality_configs.robot.video.delta_indices"), "{wrong}: {refused}");
    }
}

/// The modalities that GR00T N1.6 has for DROID, with frames of a second ago as in its data set's later configurations.
#[test]
fn the_configuration_of_droid_is_read() {
    let wide = |rows: usize, width: usize, value: f64| json!(vec![vec![value; width]; rows]);
    let table =
        |low: Value, high: Value| json!({"min": low, "max": high, "mean": low, "std": high, "q01": low, "q99": high});
    let processor = edited(|kwargs, values| {
        let (joints, gripper) = (table(json!(vec![-2.9; 7]), json!(vec![2.9; 7])), table(json!([0.0]), json!([1.0])));
        let keys = json!(["joint_position", "gripper_position"]);
        let modalities = robot(kwargs);
        modalities["video"]["modality_keys"] = json!(["exterior_image_1_left", "wrist_image_left"]);
        modalities["video"]["delta_indices"] = json!([-15, 0]);
        modalities["state"]["modality_keys"] = keys.clone();
        modalities["action"]["modality_keys"] = keys;
        modalities["action"]["delta_indices"] = json!((0..32).collect::<Vec<_>>());
        *values = json!({
            "state": {"joint_position": joints, "gripper_position": gripper},
            "action": {"joint_position": joints, "gripper_position": gripper},
            "relative_action": {"joint_position": table(wide(32, 7, -0.5), wide(32, 7, 0.5))},
        });
    });
    let processor = processor.expect("DROID's configuration");
    assert_eq!((processor.cameras.len(), processor.video_deltas, processor.action_deltas.len()), (2, vec![-15, 0], 32));
}
