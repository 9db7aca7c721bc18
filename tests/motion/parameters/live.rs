//! Changes while the node runs.

use super::*;

#[test]
fn a_live_change_makes_new_settings_and_leaves_those_in_use_alone() {
    let mut parameters = parameters(&[]);
    let in_use = Arc::clone(parameters.settings());
    parameters.set("rate_hz", Value::Integer(20)).expect("live");
    parameters.set("instruction", Value::String("pick up the cube".into())).expect("live");
    parameters.set("inputs.cameras.top.max_age_ms", Value::Double(50.0)).expect("live");
    assert_eq!(in_use.rate_hz, 5.0);
    let settings = parameters.settings();
    assert_eq!((settings.rate_hz, settings.instruction.as_str()), (20.0, "pick up the cube"));
    assert_eq!(settings.rules.of(0).max_age, Span::from_millis(50.0));
}

#[test]
fn limits_move_together_or_not_at_all() {
    let mut parameters = parameters(&[]);
    let before = Arc::clone(parameters.settings());
    let reason = parameters.set("limits.left_gripper.min", Value::Double(2.0)).expect_err("above max");
    assert_eq!(
        reason,
        "limits.left_gripper.min = 2.0 is not below limits.left_gripper.max = 1.0; to move both, set them in one atomic change"
    );
    assert!(parameters.set("limits.left_gripper.max", Value::Double(0.0)).is_err(), "no room between equal limits");
    assert_eq!(*parameters.settings(), before);
    assert_eq!(parameters.store().get("limits.left_gripper.min"), Some(&Value::Double(0.0)));
    let both =
        [change("limits.left_gripper.min", Value::Double(2.0)), change("limits.left_gripper.max", Value::Double(3.0))];
    assert_eq!(parameters.set_atomically(&both).expect("together").len(), 2);
    assert_eq!(limits(parameters.settings())[6].min, 2.0);
    let none = change("limits.left_gripper.min", Value::Double(f64::NEG_INFINITY));
    parameters.set_atomically(&[none]).expect("no limit");
    assert_eq!(limits(parameters.settings())[6].min, f64::NEG_INFINITY);
    assert!(parameters.set("limits.left_gripper.max", Value::Double(f64::NAN)).expect_err("NaN").contains("not .nan"));
}

#[test]
fn refusals_of_live_changes_say_why() {
    let mut parameters = parameters(&[]);
    let mut reason = |name: &str, value: Value| parameters.set(name, value).expect_err(name);
    assert_eq!(
        reason("denoise.steps", Value::Integer(3)),
        "parameter 'denoise.steps' cannot be 3: expected one of 1, 2, 4, 8"
    );
    assert!(reason("policy", Value::String("x".into())).contains("read-only while the node runs"));
    assert!(reason("use_sim_time", Value::Bool(true)).contains("read-only"));
    assert_eq!(
        reason("temperature", Value::Double(1.0)),
        "there is no parameter 'temperature': `ros2 param list` and docs/parameters.md name all there are"
    );
    assert_eq!(reason("rate", Value::Double(1.0)), "there is no parameter 'rate': did you mean 'rate_hz'?");
    assert_eq!(reason("rate_Hz", Value::Double(1.0)), "there is no parameter 'rate_Hz': did you mean 'rate_hz'?");
    assert!(reason("seed", Value::Integer(-1)).contains("expected an integer from 0"));
}

#[test]
fn motion_is_configured_live_and_rtc_needs_a_policy_that_takes_promised_rows() {
    let mut parameters = parameters(&["limits.left_waist.velocity:=1.5", "limits.left_waist.acceleration:=4"]);
    let settings = parameters.settings();
    assert_eq!((settings.motion.mode, settings.motion.blend), (TransitionMode::Blend, Span::from_millis(100.0)));
    let limit = limits(settings)[0];
    assert_eq!((limit.velocity, limit.acceleration, limit.jerk), (1.5, 4.0, f64::INFINITY));
    assert_eq!((settings.rtc_frozen, settings.limits_from.clone()), (None, LimitsFrom::Nowhere));
    parameters.set("handover.mode", Value::String("ensemble".into())).expect("live");
    assert_eq!(parameters.settings().motion.mode, TransitionMode::Ensemble);
    let reason = parameters.set("handover.mode", Value::String("rtc".into())).expect_err("no guide");
    assert!(reason.contains("'strength'") && reason.contains("use blend"), "{reason}");
    let guided = PolicyShape { accepts_prefix: true, ..shape() };
    let parameters = Parameters::new(guided, &overrides(&["handover.mode:=rtc"])).expect("a policy that takes them");
    assert_eq!(parameters.settings().motion.mode, TransitionMode::Rtc);
    assert!(one_problem(&["limits.left_waist.velocity:=0"]).contains("limits.left_waist.velocity"));
    assert!(one_problem(&["limits_from:=file"]).contains("limits_file"));
}

#[test]
fn a_urdf_file_is_read_when_it_is_asked_for_and_refused_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("robot.urdf");
    let read = |text: &[u8]| {
        std::fs::write(&file, text).expect("written");
        let argument = format!("limits_file:={}", file.display());
        let mut parameters = parameters(&["limits_from:=file", &argument]);
        assert!(parameters.settings().limits.is_err(), "no limits before it is read");
        parameters.read_limits_file().map(|()| parameters.settings().limits.clone().expect("limits"))
    };
    let of_all = |limit: &str| -> String {
        let joints = parameters(&[]).settings().joint_names();
        let joint = |name: &String| format!("<joint name='{name}' type='revolute'><limit {limit}/></joint>");
        joints.iter().map(joint).collect()
    };
    let latin = [b"<robot><!-- Roboterarm, \xfcberpr\xfcft -->".as_slice()];
    let good = format!("{}</robot>", of_all("lower='-1' upper='0.9' velocity='2'"));
    let limits = read(&[latin[0], good.as_bytes()].concat()).expect("a description");
    let waist = limits.get("left_waist").expect("moved");
    assert_eq!((waist.min, waist.max, waist.velocity, waist.acceleration), (-1.0, 0.9, 2.0, 10.0));
    let error = read(b"<robot>").expect_err("incomplete").to_string();
    assert!(error.contains("robot.urdf: robot description: the text ends inside <robot>"), "{error}");
    let crossed = format!("<robot>{}</robot>", of_all("lower='3.1' upper='-3.1' velocity='2'"));
    let error = read(crossed.as_bytes()).expect_err("crossed, whatever the parameters say").to_string();
    assert!(
        error.contains("`left_waist`, `left_shoulder`") && error.contains("lower 3.1 is above upper -3.1"),
        "{error}"
    );
    let mut missing = parameters(&["limits_from:=file", "limits_file:=/nowhere/robot.urdf"]);
    let error = missing.read_limits_file().expect_err("no file").to_string();
    assert!(error.contains("limits_file /nowhere/robot.urdf: No such file"), "{error}");
}

#[test]
fn an_instruction_that_does_not_fit_is_refused_when_it_is_set_and_at_the_start() {
    let policy = demo::policy();
    let mut parameters = demo::parameters(policy.path(), &["instruction:=pick up the cube"]);
    let long = "cube ".repeat(400);
    let reason = parameters.set("instruction", Value::String(long.clone())).expect_err("too long");
    assert!(
        reason.starts_with("parameter 'instruction': ") && reason.contains("439 tokens") && reason.contains("192"),
        "{reason}"
    );
    assert_eq!(parameters.settings().instruction, "pick up the cube");
    let reason = parameters.set("instruction", Value::String("x".repeat(70_000))).expect_err("no instruction at all");
    assert!(reason.contains("expected at most 65536 bytes, found 70000"), "{reason}");
    parameters.set("rate_hz", Value::Double(2.0)).expect("other changes are taken");
    parameters.set("instruction", Value::String(String::new())).expect("wait for the topic");
    parameters.set("instruction", Value::String("open the drawer".into())).expect("it fits");

    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut given = overrides(&[]);
    given.set("instruction", Value::String(long));
    let problems = Parameters::new(PolicyShape::load(&spec).expect("its processor"), &given).expect_err("too long");
    assert!(problems.len() == 1 && problems.to_string().contains("parameter 'instruction': "), "{problems}");
}

#[test]
fn without_a_topic_the_limits_of_the_parameters_hold_alone() {
    let mut parameters = parameters(&["limits_from:=topic"]);
    assert!(parameters.settings().limits.as_ref().expect_err("awaited").to_string().contains("limits_topic"));
    assert!(parameters.do_without_description() && parameters.settings().limits.is_ok());
    assert!(!self::parameters(&[]).do_without_description());
}

#[test]
fn what_may_change_while_the_node_runs_is_this_and_no_more() {
    let live: BTreeSet<String> = declarations(&shape(), &overrides(&[]))
        .into_iter()
        .filter(|declaration| !declaration.read_only && !declaration.name.starts_with("limits."))
        .map(|declaration| declaration.name)
        .collect();
    let mut expected = BTreeSet::from(
        ["instruction", "rate_hz", "seed", "denoise.steps", "action.step_s", "frame_id", "log_level", "log_shapes"]
            .map(str::to_owned),
    );
    expected
        .extend(["pairing", "max_skew_ms", "future_tolerance_ms", "on_violation"].map(|name| format!("inputs.{name}")));
    expected
        .extend(["max_blind_s", "watchdog.stop_after_ms", "clamps.refuse_after", "command_rate_hz"].map(str::to_owned));
    expected.extend(
        ["mode", "blend_ms", "ensemble_decay", "rtc_frozen", "rtc_overlap"].map(|name| format!("handover.{name}")),
    );
    // Taken at the next load, which after a refusal is ~/reload.
    expected.extend(
        [
            "memory.budget_mib",
            "memory.reserve_mib",
            "memory.count_available",
            "memory.release_host_copy",
            "engines.load_order",
            "engine.max_restarts",
            "engine.cuda_graph",
        ]
        .map(str::to_owned),
    );
    for stage in ["vision", "language", "context", "step"] {
        expected.extend(["allow_unverified", "allow_inaccurate"].map(|flag| format!("engines.{stage}.{flag}")));
    }
    for input in ["cameras.top", "cameras.left_wrist", "cameras.right_wrist", "joints"] {
        expected.extend(["max_age_ms", "required", "stuck_after_ms"].map(|field| format!("inputs.{input}.{field}")));
    }
    expected.extend(["inputs.enable.max_age_ms", "task.second_goal"].map(str::to_owned));
    assert_eq!(live, expected);
}

#[test]
fn what_a_refused_load_asks_for_can_be_set_and_is_in_the_next_settings() {
    let mut parameters = parameters(&[]);
    assert_eq!((parameters.settings().memory.budget_mib, parameters.settings().engine.max_restarts), (None, 3));
    let changes = [
        change("memory.budget_mib", Value::Integer(9000)),
        change("memory.reserve_mib", Value::Integer(100)),
        change("engine.max_restarts", Value::Integer(0)),
        change("engines.step.allow_unverified", Value::Bool(true)),
        change("engines.context.allow_inaccurate", Value::Bool(true)),
    ];
    parameters.set_atomically(&changes).unwrap_or_else(|reason| panic!("{reason}"));
    let settings = parameters.settings();
    assert_eq!((settings.memory.budget_mib, settings.memory.reserve_mib), (Some(9000), 100));
    assert_eq!(settings.engine.max_restarts, 0);
    let allowed = |stage: &str| settings.engine.stages[stage].allow_unverified;
    assert!(allowed("step") && !allowed("vision"));
    let allowed = |stage: &str| settings.engine.stages[stage].allow_inaccurate;
    assert!(allowed("context") && !allowed("step"));
}
