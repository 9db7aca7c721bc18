use super::*;

fn id(number: u8) -> GoalId {
    [number; 16]
}

fn at(seconds: i64) -> Stamp {
    Stamp::from_nanos(seconds * 1_000_000_000)
}

/// Goals 1 to 3, accepted at 1 to 3 s; the first runs.
fn three() -> Goals<&'static str, u32> {
    let mut goals = Goals::default();
    for number in 1..=3 {
        assert!(goals.accept(id(number), at(i64::from(number))));
    }
    goals.begin(&id(1));
    goals
}

fn states(goals: &Goals<&'static str, u32>) -> Vec<Status> {
    goals.all().map(|(_, _, status)| status).collect()
}

#[test]
fn a_goal_is_accepted_once_and_the_first_runs() {
    let mut goals = three();
    assert!(!goals.accept(id(2), at(9)));
    assert_eq!(states(&goals), [Status::Executing, Status::Accepted, Status::Accepted]);
}

#[test]
fn a_request_for_a_result_waits_for_the_end_and_a_late_one_does_not() {
    let mut goals = three();
    assert!(goals.ask(&id(1), 7).is_none());
    let ended = goals.end(&id(1), Status::Succeeded, "over").expect("it ran");
    assert_eq!((ended.status, ended.result, ended.waiting), (Status::Succeeded, "over", vec![7]));
    assert_eq!(goals.ask(&id(1), 8), Some((8, Some((Status::Succeeded, "over")))));
    assert_eq!(goals.ask(&id(9), 9), Some((9, None)), "unknown");
    assert!(goals.end(&id(1), Status::Aborted, "again").is_none());
}

#[test]
fn requests_for_one_result_do_not_pile_up() {
    let mut goals = three();
    let answered = (0..100).filter(|&request| goals.ask(&id(1), request).is_some()).count();
    assert_eq!(answered, 100 - WAITING);
}

#[test]
fn results_of_old_goals_are_forgotten_and_running_ones_never() {
    let mut goals = three();
    for number in 4..=100 {
        goals.accept(id(number), at(i64::from(number)));
        goals.end(&id(number), Status::Aborted, "over");
    }
    assert_eq!(goals.all().count(), 3 + KEPT);
    assert_eq!(goals.status(&id(1)), Some(Status::Executing));
    assert_eq!((goals.status(&id(4)), goals.status(&id(100))), (None, Some(Status::Aborted)));
}

#[test]
fn goals_are_cancelled_by_identity_by_time_or_all() {
    let none = GoalId::default();
    assert_eq!(three().cancel(&id(2), Stamp::default()), Cancelled::Goals(vec![id(2)]));
    assert_eq!(three().cancel(&none, Stamp::default()), Cancelled::Goals(vec![id(1), id(2), id(3)]));
    assert_eq!(three().cancel(&none, at(2)), Cancelled::Goals(vec![id(1), id(2)]));
    assert_eq!(three().cancel(&id(3), at(1)), Cancelled::Goals(vec![id(1), id(3)]));
    let mut goals = three();
    goals.cancel(&id(1), Stamp::default());
    assert_eq!(states(&goals), [Status::Canceling, Status::Accepted, Status::Accepted]);
    assert_eq!(goals.cancel(&id(1), Stamp::default()), Cancelled::Goals(Vec::new()), "already canceling");
}

#[test]
fn a_goal_that_is_unknown_or_has_ended_cannot_be_cancelled() {
    let mut goals = three();
    assert_eq!(goals.cancel(&id(9), Stamp::default()), Cancelled::Unknown);
    goals.end(&id(1), Status::Succeeded, "over");
    assert_eq!(goals.cancel(&id(1), Stamp::default()), Cancelled::Ended);
    assert_eq!(goals.cancel(&GoalId::default(), Stamp::default()), Cancelled::Goals(vec![id(2), id(3)]));
}
