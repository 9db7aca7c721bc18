use super::*;

fn at(seconds: f64) -> Stamp {
    Stamp::default() + Span::from_seconds(seconds)
}

fn loaded() -> Report {
    let engines = Engines {
        policy: "demo".into(),
        fingerprint: "f".into(),
        files: vla_policy::LoadedFiles::default(),
        kind: "onnx".into(),
        stages: Vec::new(),
        duration: Duration::ZERO,
    };
    Report { engines: Some(Arc::new(engines)), published: 5, ..Report::default() }
}

fn moving() -> MotionStatus {
    MotionStatus { state: WatchdogState::Running, stops: 2, ..MotionStatus::default() }
}

fn view<'a>(now: f64, report: &'a Report, motion: &'a MotionStatus) -> View<'a> {
    View { now: at(now), inactive: None, report, motion: Some(motion), clients: Some(1) }
}

fn task(limit: f64, report: &Report, motion: &MotionStatus) -> RunningTask {
    let limit = Some(limit).filter(|limit| *limit > 0.0).map(Span::from_seconds);
    RunningTask::begin([1; 16], None, limit, &view(100.0, report, motion))
}

#[test]
fn a_task_ends_with_its_time_limit_and_without_one_never() {
    let (report, motion) = (loaded(), moving());
    let mut limited = task(3.0, &report, &motion);
    assert_eq!(limited.over(&view(102.9, &report, &motion), Instant::now()), None);
    let over = limited.over(&view(103.0, &report, &motion), Instant::now());
    assert_eq!(over.map(|(reason, _)| reason), Some(Reason::TimeLimit));
    assert_eq!(task(0.0, &report, &motion).over(&view(1e6, &report, &motion), Instant::now()), None);
}

#[test]
fn a_stop_ends_a_task_also_when_it_was_resumed_before_anybody_looked() {
    let (report, motion) = (loaded(), moving());
    let mut task = task(0.0, &report, &motion);
    let stopped = MotionStatus { state: WatchdogState::Stopped, reason: Some("~/stop was called".into()), ..moving() };
    let (reason, message) = task.over(&view(101.0, &report, &stopped), Instant::now()).expect("over");
    assert_eq!((reason, message.as_str()), (Reason::Stopped, "~/stop was called"));
    let resumed = MotionStatus { stops: 3, ..moving() };
    let over = task.over(&view(101.0, &report, &resumed), Instant::now());
    assert_eq!(over.map(|(reason, _)| reason), Some(Reason::Stopped));
}

#[test]
fn a_hold_does_not_end_a_task() {
    let (report, motion) = (loaded(), moving());
    let mut task = task(0.0, &report, &motion);
    let held = MotionStatus { state: WatchdogState::Holding, ..moving() };
    assert_eq!(task.over(&view(101.0, &report, &held), Instant::now()), None);
    assert_eq!(task.phase(&view(101.0, &report, &held)), "held");
    let unready = MotionStatus { forbidden: Some("no server".into()), ..moving() };
    assert_eq!(task.phase(&view(101.0, &report, &unready)), "waiting");
}

#[test]
fn another_policy_or_an_inactive_node_replaces_a_task() {
    let (report, motion) = (loaded(), moving());
    let mut task = task(0.0, &report, &motion);
    // Loaded again within one look.
    for other in [loaded(), Report::default()] {
        let over = task.over(&view(101.0, &other, &motion), Instant::now());
        assert_eq!(over.map(|(reason, _)| reason), Some(Reason::Replaced));
    }
    let inactive = View { inactive: Some("inactive".into()), ..view(101.0, &report, &motion) };
    assert_eq!(task.over(&inactive, Instant::now()), Some((Reason::Replaced, "inactive".to_owned())));
}

#[test]
fn a_task_without_a_client_ends_after_a_while_and_one_whose_client_comes_back_does_not() {
    let (report, motion) = (loaded(), moving());
    let mut task = task(0.0, &report, &motion);
    let alone = || View { clients: Some(0), ..view(101.0, &report, &motion) };
    let begun = Instant::now();
    assert_eq!(task.over(&alone(), begun), None);
    assert_eq!(task.over(&view(101.0, &report, &motion), begun + ALONE), None);
    assert_eq!(task.over(&alone(), begun + ALONE), None, "counted anew");
    let over = task.over(&alone(), begun + 2 * ALONE);
    assert_eq!(over.map(|(reason, _)| reason.status()), Some(Status::Aborted));
    // A middleware that does not count ends nothing.
    let unknown = View { clients: None, ..view(101.0, &report, &motion) };
    assert_eq!(task.over(&unknown, begun + 9 * ALONE), None);
}

#[test]
fn chunks_and_time_count_from_the_beginning_of_the_task() {
    let (mut report, motion) = (loaded(), moving());
    report.last = Some(crate::report::LastChunk { clamped: 4, latency: Span::from_millis(80.0), ..Default::default() });
    let task = task(0.0, &report, &motion);
    let first = task.feedback(&view(100.5, &report, &motion));
    assert_eq!((first.chunks, first.clamped, first.latency_ms), (0, 0, 0.0), "the last chunk is not its own");
    report.published += 3;
    let later = task.feedback(&view(102.5, &report, &motion));
    assert_eq!((later.chunks, later.clamped, later.latency_ms, later.elapsed_s), (3, 4, 80.0, 2.5));
    let result = task.result(Reason::Cancelled, "c", &view(99.0, &report, &motion));
    assert_eq!((result.elapsed_s, result.chunks), (0.0, 3), "the clock was set back");
}
