//! Keys that this build computes with, knows as harmless, or refuses.

use super::*;

#[test]
fn unknown_and_repeated_keys_are_refused_by_name_with_their_place() {
    let error = refusal(|kwargs, _| kwargs["crop_jitter"] = json!(true));
    assert!(error.contains("\n  crop_jitter: unknown key, found true"), "{error}");
    let error = refusal(|kwargs, _| robot(kwargs)["state"]["min_max_embedding_keys"] = json!([]));
    assert!(error.contains("modality_configs.robot.state.min_max_embedding_keys: unknown key"), "{error}");
    let error = refusal(|kwargs, _| robot(kwargs)["tactile"] = json!({"delta_indices": [0], "modality_keys": ["t"]}));
    assert!(error.contains("modality_configs.robot.tactile: unknown key"), "{error}");
    let error = refusal(|kwargs, _| robot(kwargs)["action"]["action_configs"][1]["scale"] = json!(2));
    assert!(error.contains("modality_configs.robot.action.action_configs[1].scale: unknown key"), "{error}");
    let text = statistics().to_string().replacen("\"gripper\":", "\"arm\":", 1);
    let statistics = Statistics::parse(Path::new("statistics.json"), &text).expect("JSON");
    let twice = config().to_string().replacen("\"use_percentiles\":", "\"clip_outliers\":", 1);
    let error = ProcessorConfig::parse(Path::new("c"), &twice).expect_err("refused").to_string();
    assert!(error.contains("key 'clip_outliers' is given twice at line 1"), "{error}");
    let config = ProcessorConfig::parse(Path::new("c"), &config().to_string()).expect("valid");
    let error = Processor::new(&config, &statistics, "robot").expect_err("refused").to_string();
    assert!(error.contains("key 'arm' is given twice"), "{error}");
    let error = refusal(|kwargs, _| robot(kwargs)["action"]["action_configs"][0]["rep"] = json!("RELATIV"));
    assert!(error.contains("unknown variant `RELATIV`, expected one of `RELATIVE`, `ABSOLUTE`, `DELTA`"), "{error}");
}

/// The object of the file at a place of the table of known keys.
fn object_at(place: Place, kwargs: &mut Value) -> &mut Value {
    match place {
        Place::Kwargs => kwargs,
        Place::Embodiment => robot(kwargs),
        Place::Modality => &mut robot(kwargs)["state"],
        Place::ActionConfig => &mut robot(kwargs)["action"]["action_configs"][0],
    }
}

#[test]
fn known_keys_change_nothing_with_harmless_values_and_are_refused_by_name_with_others() {
    let unchanged = edited(|_, _| {}).expect("valid");
    for known in KNOWN_KEYS {
        for value in [json!(null), json!(false), json!(0.0), json!([]), json!(true), json!(0.5), json!({"a": [1]})] {
            let with = edited(|kwargs, _| object_at(known.place, kwargs)[known.key] = value.clone());
            match with {
                Ok(processor) => {
                    assert!(known.values.contains(&value), "{} took {value}", known.key);
                    assert_eq!(processor, unchanged, "{}: {value}", known.key);
                }
                Err(error) => {
                    assert!(!known.values.contains(&value), "{} refused {value}: {error}", known.key);
                    let (error, found) = (error.to_string(), format!("{}: expected off", known.key));
                    assert!(error.contains(&found) && error.contains(&format!("found {value}")), "{error}");
                }
            }
        }
    }
}

#[test]
fn keys_beside_the_processors_arguments_and_groups_of_statistics_that_nobody_reads_are_passed_over() {
    let (mut config, mut statistics) = (config(), statistics());
    config["transformers_version"] = json!("4.51.3");
    config["auto_map"] = json!(null);
    statistics["robot"]["velocity"] = json!({"arm": 1});
    let unchanged = edited(|_, _| {}).expect("valid");
    assert_eq!(processor(&config, &statistics).expect("valid"), unchanged);
    let several = edited(|kwargs, _| robot(kwargs)["language"]["modality_keys"] = json!(["task", "task_2"]));
    assert_eq!(several.expect("the instruction is the user's"), unchanged);
}

#[test]
fn numbers_that_json_does_not_have_are_passed_over_in_the_processors_file_too() {
    let text = config().to_string().replace("0.3", "NaN");
    assert!(text.contains("{\"brightness\":NaN}"), "{text}");
    ProcessorConfig::parse(Path::new("c"), &text).expect("Python wrote it");
    let text = config().to_string().replace("0.95", "Infinity");
    let read = ProcessorConfig::parse(Path::new("c"), &text).expect("JSON of Python");
    let statistics = Statistics::parse(Path::new("s"), &statistics().to_string()).expect("valid");
    let error = Processor::new(&read, &statistics, "robot").expect_err("refused").to_string();
    assert!(error.contains("crop_fraction: expected above 0 and at most 1, found inf"), "{error}");
}

#[test]
fn the_letterbox_is_as_the_file_says_and_off_without_the_key() {
    let with = |value: Option<Value>| {
        let mut config = config();
        if let Some(value) = value {
            config["processor_kwargs"]["letter_box_transform"] = value;
        }
        let read = ProcessorConfig::parse(Path::new("c"), &config.to_string()).expect("JSON");
        (read.letterbox(), processor(&config, &statistics()).map(|processor| processor.image.letterbox).ok())
    };
    assert_eq!(with(None), (None, Some(false)));
    assert_eq!(with(Some(json!(false))), (Some(false), Some(false)));
    assert_eq!(with(Some(Value::Null)), (Some(false), Some(false)), "None is false in Python");
    assert_eq!(with(Some(json!(true))), (Some(true), Some(true)));
    assert_eq!(with(Some(json!("yes"))), (None, None));
    let error = refusal(|kwargs, _| kwargs["letter_box_transform"] = json!("yes"));
    assert!(error.contains("letter_box_transform: invalid type: string \"yes\", expected a boolean"), "{error}");
}
