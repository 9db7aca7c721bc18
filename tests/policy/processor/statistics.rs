//! Statistics: read where they are used, and judged there only.

use super::*;

#[test]
fn a_statistic_is_read_to_the_last_bit() {
    let text = statistics().to_string().replace("-1.5", "-1.079264258548944");
    let statistics = Statistics::parse(Path::new("statistics.json"), &text).expect("valid");
    let config = ProcessorConfig::parse(Path::new("c"), &config().to_string()).expect("valid");
    let processor = Processor::new(&config, &statistics, "robot").expect("valid");
    let StateEncoding::Range { low, .. } = &processor.state[0].encoding else { panic!("a range") };
    assert_eq!(low[0].to_bits(), (-1.079_264_258_548_944_f64).to_bits());
}

/// Why the files are refused after `replace` in the text of the statistics: values that `json!` has no words for.
fn refused_text(edit: impl FnOnce(&mut Value, &mut Value), from: &str, to: &str) -> Option<String> {
    let (mut config, mut statistics) = (config(), statistics());
    edit(&mut config["processor_kwargs"], &mut statistics["robot"]);
    let text = statistics.to_string();
    assert!(text.contains(from), "{text} has {from}");
    let statistics = Statistics::parse(Path::new("statistics.json"), &text.replace(from, to)).expect("JSON of Python");
    let config = ProcessorConfig::parse(Path::new("processor_config.json"), &config.to_string()).expect("valid");
    Processor::new(&config, &statistics, "robot").err().map(|error| error.to_string())
}

#[test]
fn statistics_that_are_no_numbers_are_refused_by_key_and_column_where_they_are_used() {
    for (literal, found) in [("NaN", "NaN"), ("Infinity", "inf"), ("-Infinity", "-inf")] {
        let marked = |_: &mut Value, values: &mut Value| values["action"]["gripper"]["max"] = json!([4.25]);
        let error = refused_text(marked, "4.25", literal).expect("max is used");
        assert!(
            error.contains(&format!("statistics.robot.action.gripper.max[0]: expected a finite number, found {found}")),
            "{error}"
        );
        let spread = |kwargs: &mut Value, values: &mut Value| {
            robot(kwargs)["state"]["mean_std_embedding_keys"] = json!(["arm"]);
            values["state"]["arm"]["std"] = json!([1, 4.25]);
        };
        let error = refused_text(spread, "4.25", literal).expect("std is used");
        assert!(error.contains(&format!("statistics.robot.state.arm.std[1]: expected a finite number, found {found}")));
        let unused = |_: &mut Value, values: &mut Value| values["action"]["gripper"]["std"] = json!([4.25]);
        assert_eq!(refused_text(unused, "4.25", literal), None, "std scales no key of a range");
    }
    let error = refused_text(|_, _| {}, "-1.5", "1e999").expect("refused");
    assert!(error.contains("statistics.robot.state.arm.min: number out of range"), "{error}");
}

#[test]
fn what_the_embodiment_does_not_use_is_not_judged() {
    let processor = edited(|kwargs, values| {
        let mut other = robot(kwargs).clone();
        other["video"]["delta_indices"] = json!([-15, 0]);
        other["video"]["extra_key"] = json!(1);
        kwargs["modality_configs"]["oxe_droid"] = other;
        values["state"]["arm"]["q50"] = json!([0, 0]);
        values["state"]["arm"]["count"] = json!([100]);
        values["state"]["leg"] = json!({"min": [2], "max": [1], "std": [-1]});
        values["action"]["gripper"]["q01"] = json!([5]);
        values["state"]["arm"]["mean"] = json!("none");
        values["state"]["gripper"]["std"] = Value::Null;
        values["action"]["arm"]["std"] = json!([1]);
        values["action"]["arm"]["min"] = json!([9, 9]);
        values["relative_action"]["gripper"] = json!("none");
    });
    let unchanged = edited(|_, _| {}).expect("valid");
    assert_eq!(processor.unwrap_or_else(|error| panic!("{error}")), unchanged);
}

#[test]
fn statistics_that_would_mirror_a_joint_are_refused_by_key_and_column() {
    let one = |edit: fn(&mut Value, &mut Value), expected: &[&str]| {
        let problems = problems(edit);
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{expected}: {problem}");
        }
    };
    one(
        |_, values| values["action"]["gripper"]["min"] = json!([7]),
        &[
            "statistics.robot.action.gripper.min[0]: expected a range up to statistics.robot.action.gripper.max[0] = 0.05, found 7",
        ],
    );
    one(
        |_, values| values["state"]["arm"]["max"] = json!([-2, -3]),
        &["statistics.robot.state.arm.min[0]: ", "statistics.robot.state.arm.min[1]: "],
    );
    one(
        |_, values| values["relative_action"]["arm"]["max"][1][1] = json!(-9),
        &["statistics.robot.relative_action.arm.min[1][1]: expected a range up to"],
    );
    one(
        |kwargs, values| {
            kwargs["use_percentiles"] = json!(true);
            values["action"]["gripper"]["q99"] = json!([-1]);
        },
        &["statistics.robot.action.gripper.q01[0]: expected a range up to"],
    );
    one(
        |kwargs, values| {
            robot(kwargs)["action"]["mean_std_embedding_keys"] = json!(["arm", "gripper"]);
            values["action"]["gripper"]["std"] = json!([-0.1]);
            values["relative_action"]["arm"]["std"][2][0] = json!(-0.1);
        },
        &[
            "statistics.robot.relative_action.arm.std[2][0]: expected 0",
            "statistics.robot.action.gripper.std[0]: expected 0",
        ],
    );
    let constant = edited(|_, values| values["action"]["gripper"]["min"] = json!([0.05])).expect("a constant value");
    assert_eq!(constant.action[1].scaling, ActionScaling::Range { low: vec![0.05], high: vec![0.05] });
}
