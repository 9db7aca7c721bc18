//! What depends on the family of the processor.

use vla_policy::Family;
use vla_policy::encode::resize::Size;
use vla_policy::family::N1D7;
use vla_policy::processor::Framing;

use super::*;

/// The files of N1.7 after `edit`, which gets kwargs and the robot's statistics.
fn n1d7(edit: impl FnOnce(&mut Value, &mut Value)) -> Result<Processor, ProcessorError> {
    let (mut config, mut statistics) = (files::config_n1d7(), statistics());
    edit(&mut config["processor_kwargs"], &mut statistics["robot"]);
    processor(&config, &statistics)
}

fn n1d7_problems(edit: impl FnOnce(&mut Value, &mut Value)) -> Vec<String> {
    match n1d7(edit) {
        Err(ProcessorError::Invalid { problems, .. }) => problems,
        other => panic!("expected problems, found {other:?}"),
    }
}

#[test]
fn the_class_names_the_family_and_another_is_refused_with_both() {
    assert_eq!(edited(|_, _| {}).expect("valid").family, &N1D6);
    assert_eq!(n1d7(|_, _| {}).expect("valid").family, &N1D7);
    let mut other = config();
    other["processor_class"] = json!("Gr00tN1d5Processor");
    let Err(ProcessorError::Invalid { problems, .. }) = processor(&other, &statistics()) else { panic!("refused") };
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(Family::all().all(|family| problem.contains(family.processor_class)), "{problem}");
    // A file whose class was changed by hand has the other backbone.
    let mut mistaken = config();
    mistaken["processor_class"] = json!("Gr00tN1d7Processor");
    let error = processor(&mistaken, &statistics()).expect_err("refused").to_string();
    assert!(error.contains("model_name: expected") && error.contains("model_type: expected 'qwen'"), "{error}");
}

#[test]
fn absent_keys_take_the_defaults_of_the_familys_class() {
    let modalities = config()["processor_kwargs"]["modality_configs"].clone();
    let config = json!({"processor_class": "Gr00tN1d7Processor", "processor_kwargs": {
        "modality_configs": modalities, "use_albumentations": true,
    }});
    let processor = processor(&config, &statistics()).expect("valid");
    assert_eq!(processor.image, N1D7.image(256, 0.95));
    assert_eq!((processor.max_state_dim, processor.max_action_dim, processor.max_action_horizon), (29, 29, 50));
}

#[test]
fn switches_are_computed_with_where_the_family_has_them_and_refused_where_not() {
    for (key, excluded) in [("exclude_state", true), ("use_mean_std", false)] {
        let on = n1d7(|kwargs, _| kwargs[key] = json!(true)).expect("valid");
        let off = n1d7(|kwargs, _| kwargs[key] = Value::Null).expect("valid");
        assert_eq!((on.exclude_state, off.exclude_state), (excluded, false), "{key}");
        let n1d6 = problems(|kwargs, _| kwargs[key] = json!(true));
        assert!(matches!(&n1d6[..], [problem] if problem.starts_with(&format!("{key}: expected off"))), "{n1d6:?}");
        assert!(edited(|kwargs, _| kwargs[key] = json!(false)).is_ok());
    }
    // Of one modality it is nowhere computed.
    let problems = n1d7_problems(|kwargs, _| robot(kwargs)["state"]["exclude_state"] = json!(true));
    assert!(problems[0].contains("state.exclude_state: expected off"), "{problems:?}");
    let with_columns = n1d7(|kwargs, _| robot(kwargs)["rl_info"] = robot(kwargs)["language"].clone());
    assert_eq!(with_columns.expect("valid"), n1d7(|_, _| {}).expect("valid"));
}

#[test]
fn several_language_keys_are_read() {
    let several = n1d7(|kwargs, _| robot(kwargs)["language"]["modality_keys"] = json!(["task", "task_2", "task_3"]));
    assert_eq!(several.expect("valid"), n1d7(|_, _| {}).expect("valid"));
}

#[test]
fn relative_poses_are_predicted_in_their_format() {
    let pose = |width: usize, state: usize, format: &str| {
        n1d7(|kwargs, values| {
            robot(kwargs)["action"]["action_configs"][0]["type"] = json!("EEF");
            robot(kwargs)["action"]["action_configs"][0]["format"] = json!(format);
            let flat = |width: usize| vec![0.5; width];
            let rows = [flat(width), flat(width), flat(width)];
            for (table, value) in
                [("state", json!(flat(state))), ("action", json!(flat(width))), ("relative_action", json!(rows))]
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
        let processor = pose(width, width, format).expect("valid");
        let expected = Conversion::ComposePose { state: 0, predicted: written, format: written };
        assert_eq!(processor.action[0].conversion, expected);
        assert_eq!((processor.action[0].width, processor.action_width()), (width, width + 1));
        for other in [3, 6, 9, 16].into_iter().filter(|other| *other != width) {
            let error = pose(other, other, format).expect_err("another width").to_string();
            assert!(error.contains(&format!("expected {width} values of a relative EEF key")), "{error}");
            let error = pose(width, other, format).expect_err("another state").to_string();
            assert!(error.contains("action_configs[0].state_key: 'arm' has"), "{error}");
        }
    }
}

#[test]
fn more_rows_than_the_model_predicts_are_refused_with_what_to_do() {
    let problems = n1d7_problems(|kwargs, values| {
        kwargs["max_action_horizon"] = json!(40);
        robot(kwargs)["action"]["delta_indices"] = json!((0..50).collect::<Vec<i64>>());
        let rows = |row: &Value| json!(vec![row.clone(); 50]);
        for kind in ["min", "max", "mean", "std", "q01", "q99"] {
            let row = values["relative_action"]["arm"][kind][0].clone();
            values["relative_action"]["arm"][kind] = rows(&row);
        }
    });
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(
        problem.contains("40 is less than the 50") && problem.contains("an action_horizon of at least 50"),
        "{problem}"
    );
}

#[test]
fn torchvisions_transform_needs_both_sizes_and_no_crop_larger_than_its_target() {
    let size = |height, width| Size { width, height };
    let sizes = |target: Value, crop: Value| {
        n1d7(|kwargs, _| {
            kwargs["use_albumentations"] = json!(false);
            kwargs["image_target_size"] = target;
            kwargs["image_crop_size"] = crop;
        })
    };
    let image = sizes(json!([256, 320]), json!([230, 300])).expect("valid").image;
    assert_eq!(image.framing, Framing::Stretched { target: size(256, 320), crop: size(230, 300) });
    for (target, crop, found) in [
        (Value::Null, json!([230, 230]), "image_target_size: expected"),
        (json!([256, 256]), Value::Null, "image_crop_size: expected"),
        (json!([256, 256]), json!([230, 257]), "image_crop_size: expected"),
        (json!([256, 256]), json!([0, 230]), "image_crop_size: expected"),
        (json!([0, 256]), json!([0, 230]), "image_target_size: expected"),
        (json!([256, 4097]), json!([230, 230]), "image_target_size: expected"),
        (json!([4, 801]), json!([4, 4]), "image_target_size: expected"),
    ] {
        let error = sizes(target, crop).expect_err("refused").to_string();
        assert!(error.contains(found), "{found}: {error}");
    }
}
