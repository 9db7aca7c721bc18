use super::*;

fn tensor(name: &str, cosine: Option<f64>, least: f64) -> TensorFigures {
    let figures = Figures { cosine, max_abs: Some(0.25), relative: Some(1e-4), relative_l2: Some(0.125) };
    TensorFigures { tensor: name.into(), figures, least_cosine: Some(least) }
}

fn stage(name: &str, outputs: Vec<TensorFigures>) -> StageReport {
    let inner = vec![TensorFigures { least_cosine: None, ..tensor(&format!("{name}/MatMul_3"), Some(0.5), 0.0) }];
    StageReport { stage: name.into(), precision: "fp16".into(), runs: 4, outputs, inner }
}

fn actions(largest: Option<f64>, cosine: f64) -> ActionReport {
    let key = |key: &str, largest| KeyFigures { key: key.into(), column: format!("{key}_joint_2"), largest };
    ActionReport {
        keys: vec![key("left_arm", Some(0.002)), key("right_arm", largest)],
        cosine: Some(cosine),
        relative_l2: Some(0.0625),
        predicted: Figures::EQUAL,
        refused: Vec::new(),
        least_cosine: 0.99,
        most_rad: 0.01,
    }
}

fn report(stages: Vec<StageReport>, actions: Option<ActionReport>) -> Report {
    let mut report = Report {
        format: FORMAT,
        passed: false,
        reference: Reference::QuantizedNetworks,
        policy: "demo".into(),
        fingerprint: "sha256:00".into(),
        candidate: "tensorrt".into(),
        at: "2026-01-01T00:00:00Z".into(),
        bag: "bag".into(),
        bag_sha256: "ab".repeat(32),
        observations: 4,
        stages,
        actions,
        without_half_rounding: Vec::new(),
    };
    report.passed = report.failed().is_empty();
    report
}

fn both(language: Option<f64>) -> Vec<StageReport> {
    vec![
        stage("vision", vec![tensor("image_rows", Some(0.9999), 0.999)]),
        stage("language", vec![tensor("embs", Some(0.9999), 0.999), tensor("mask", language, 0.999)]),
    ]
}

#[test]
fn a_cosine_at_its_limit_passes_and_one_below_or_none_does_not() {
    for (cosine, passes) in [(Some(0.999), true), (Some(0.998_999), false), (None, false)] {
        assert_eq!(stage("s", vec![tensor("t", cosine, 0.999)]).passed(), passes, "{cosine:?}");
    }
}

#[test]
fn tensors_inside_a_network_are_shown_and_decide_nothing() {
    let report = report(both(Some(1.0)), None);
    assert!(report.passed && report.failed().is_empty());
    assert_eq!(report.stages[1].worst().cosine, Some(0.9999));
    assert!(report.to_string().contains("language/MatMul_3"), "{report}");
}

#[test]
fn the_engine_that_fails_is_named_and_the_others_keep_their_verdict() {
    let report = report(both(Some(0.71)), Some(actions(Some(0.5), 0.3)));
    assert_eq!((report.passed, report.failed()), (false, vec!["language"]));
    let [vision, language] = ["vision", "language"].map(|stage| report.verification(stage).expect("compared"));
    assert!(vision.passed && !language.passed);
    assert!(
        language.summary.starts_with("mask cosine 0.710000 < 0.999, rel L2 0.1250, max 0.2500, rel max 1.0e-4"),
        "{}",
        language.summary
    );
    assert_eq!((language.tensors.len(), language.observations), (3, 4));
    assert_eq!(report.verification("step"), None);
    let text = report.to_string();
    assert!(text.lines().any(|line| line.contains("mask") && line.ends_with("FAILED")), "{text}");
    assert!(text.ends_with("FAILED: language\n"), "{text}");
    // The norm of the difference by stage and for the chunk.
    for figure in ["0.1250", "rel L2 0.0625"] {
        assert!(text.contains(figure), "{figure} in {text}");
    }
    assert!(
        report.json().contains("\"relative_l2\": 0.125")
            && report.json().contains("\"reference\": \"quantized_networks\"")
    );
}

#[test]
fn when_only_the_whole_chain_is_off_no_engine_is_free_of_blame() {
    for (largest, cosine, word) in [
        (Some(0.010_1), 1.0, "right_arm_joint_2 0.0101 rad > 0.01"),
        (None, 1.0, "right_arm_joint_2 nan rad > 0.01"),
        (Some(0.01), 0.98, "cosine 0.980000 < 0.99"),
    ] {
        let report = report(both(Some(1.0)), Some(actions(largest, cosine)));
        assert_eq!(report.failed(), ["vision", "language"]);
        let verification = report.verification("vision").expect("compared");
        assert!(!verification.passed && verification.summary.contains(word), "{word} in {}", verification.summary);
    }
    assert!(report(both(Some(1.0)), Some(actions(Some(0.01), 0.99))).passed, "at the limits");
    let refused = ActionReport { refused: vec!["at 3 s: NaN".into()], ..actions(Some(0.0), 1.0) };
    let report = report(both(Some(1.0)), Some(refused));
    assert!(!report.passed && report.to_string().contains("no chunk at 3 s: NaN"), "{report}");
}

#[test]
fn half_precision_on_the_cpu_is_named_and_decides_nothing() {
    let quiet = report(both(Some(1.0)), None);
    assert!(!quiet.to_string().contains("--absmax-from"), "{quiet}");
    let half = Report { without_half_rounding: vec!["language".into()], ..quiet };
    assert!(half.passed && half.to_string().contains("warning: language in half precision"), "{half}");
}

#[test]
fn a_verification_reads_back_as_it_was_written() {
    let report = report(both(None), None);
    let verification = report.verification("language").expect("compared");
    let text = serde_json::to_string(&verification).expect("writes");
    assert_eq!(serde_json::from_str::<Verification>(&text).expect("reads"), verification, "{text}");
    assert!(report.json().contains("\"cosine\": null"), "{}", report.json());
}

#[test]
fn a_stage_becomes_a_trial_with_the_worst_of_its_outputs() {
    let trial = both(Some(0.71))[1].trial("int8");
    assert_eq!((trial.stage.as_str(), trial.precision.as_str(), trial.passed), ("language", "int8", false));
    assert_eq!(trial.figures.cosine, Some(0.71));
}
