use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn stage(name: &str, weights: u64, transient: u64) -> Footprint {
    Footprint {
        stage: name.into(),
        file: Figure::measured(weights * MIB),
        weights: Figure::measured(weights * MIB),
        host_copy: Figure::measured(weights * MIB),
        transient: Figure::measured(transient * MIB),
        ..Footprint::default()
    }
}

/// The user's own two engines on 16 GB: 3.08 GB and 2.2 GB, each kept twice, read window 64 MiB.
fn two_engines() -> MemoryPlan {
    let mut backbone = stage("backbone", 3080, 64);
    backbone.activation = Figure::declared(400 * MIB);
    let mut dit = stage("dit", 2200, 64);
    dit.activation = Figure::declared(150 * MIB);
    dit.io = Figure::declared(10 * MIB);
    MemoryPlan::new(vec![backbone, dit], true)
}

fn integrated(available: u64, device_free: u64) -> Pool {
    Pool {
        available: available * MIB,
        device_free: Some(device_free * MIB),
        total: 16_000 * MIB,
        device_total: Some(16_000 * MIB),
        integrated: true,
    }
}

#[test]
fn each_load_adds_weights_and_copy_and_peaks_by_what_it_needs_for_a_moment() {
    let steps = two_engines().steps();
    let total = |usage: Usage| usage.total() / MIB;
    assert_eq!(
        steps.iter().map(|s| (total(s.before), total(s.peak), total(s.after))).collect::<Vec<_>>(),
        [(0, 6224, 6160), (6160, 10_624, 10_560)]
    );
    assert_eq!(total(two_engines().running()), 10_560 + 400 + 10, "only the largest activation counts");
}

#[test]
fn engines_that_keep_their_own_activation_add_it_up() {
    let shared = two_engines();
    let each = MemoryPlan { shared_arena: false, ..shared.clone() };
    assert_eq!(shared.activation() / MIB, 400);
    assert_eq!(each.activation() / MIB, 550);
}

#[test]
fn on_an_integrated_gpu_host_and_device_are_one_pool_and_are_not_added() {
    let plan = two_engines();
    let needed = plan.smallest_budget() / MIB;
    assert_eq!(needed, 10_970 + 548, "peak and a twentieth");
    let reserve = Admission { budget: None, reserve: 1000 * MIB, ..Admission::default() };
    let enough = needed + 1000 + 1;
    assert!(plan.admit(reserve, Some(integrated(enough, enough))).is_ok());
    // Each figure alone would hold half of it: were they added it would pass.
    for pool in [integrated(enough - 2, 15_000), integrated(15_000, enough - 2)] {
        let shortage = plan.admit(reserve, Some(pool)).expect_err("one pool");
        assert!(matches!(shortage.limit, Limit::Machine { .. }), "{shortage}");
    }
}

#[test]
fn a_card_of_its_own_and_its_host_are_judged_apart() {
    let plan = two_engines();
    let card = |available: u64, free: u64| Some(Pool { integrated: false, ..integrated(available, free) });
    let none = Admission::default();
    // Weights 5280, activation 400, I/O 10 on the card; copies 5280 and a window of 64 on the host; margin 548.
    assert!(plan.admit(none, card(5280 + 64 + 549, 5690 + 549)).is_ok());
    let shortage = plan.admit(none, card(20_000, 5690 + 547)).expect_err("the card is full");
    assert!(
        matches!(shortage.limit, Limit::Device { .. }) && shortage.to_string().contains("on the GPU"),
        "{shortage}"
    );
    let shortage = plan.admit(none, card(5280 + 64 + 547, 20_000)).expect_err("the host is full");
    assert!(matches!(shortage.limit, Limit::Machine { .. }), "{shortage}");
}

#[test]
fn the_smallest_budget_admits_and_a_byte_less_does_not() {
    let plan = two_engines();
    let budget = |budget| Admission { budget: Some(budget), reserve: 0, ..Admission::default() };
    assert!(plan.admit(budget(plan.smallest_budget()), None).is_ok());
    let shortage = plan.admit(budget(plan.smallest_budget() - 1), None).expect_err("a byte is missing");
    assert_eq!(shortage.missing(), 1);
    // The reserve is left free inside a simulated machine, and in the real one beside the budget.
    let both = Admission { budget: Some(plan.smallest_budget()), reserve: MIB, ..Admission::default() };
    assert!(plan.admit(both, None).is_err());
    assert!(plan.admit(both, Some(integrated(15_000, 15_000))).is_ok());
}

#[test]
fn what_was_measured_beyond_the_plan_takes_from_the_budget_of_what_follows() {
    let mut plan = two_engines();
    let budget = Admission { budget: Some(plan.smallest_budget()), reserve: 0, ..Admission::default() };
    let within = 6160 * MIB + plan.margin();
    plan.measured.push(Growth { resident: 0, anonymous: within as i64, device: None });
    assert!(plan.admit(budget, None).is_ok(), "the margin is for that");
    plan.measured[0].anonymous += 1;
    assert!(plan.admit(budget, None).is_err());
}

#[test]
fn what_is_loaded_is_in_the_pools_figure_and_not_counted_twice() {
    let mut plan = two_engines();
    plan.measured.push(Growth { resident: 0, anonymous: 6160 << 20, device: None });
    let to_come = 10_970 - 6160 + 548;
    assert!(plan.admit(Admission::default(), Some(integrated(to_come + 1, to_come + 1))).is_ok());
    let shortage = plan.admit(Admission::default(), Some(integrated(to_come - 1, to_come - 1))).expect_err("short");
    assert_eq!(shortage.stage.as_deref(), Some("dit"));
    let text = shortage.to_string();
    assert!(text.contains("loaded") && text.contains("next") && text.contains("6160.0"), "{text}");
}

#[test]
fn a_shortage_names_another_order_that_fits_and_one_that_is_worse_is_not_named() {
    // Without streaming the whole file is beside its copies: small first piles it on top of everything.
    let plan = MemoryPlan::new(vec![stage("small", 100, 100), stage("large", 1000, 1000)], true);
    let better = plan.best_order();
    assert_eq!(better.order(), ["large", "small"]);
    let budget = Admission { budget: Some(better.smallest_budget()), reserve: 0, ..Admission::default() };
    let shortage = plan.admit(budget, None).expect_err("the order matters");
    let order = vec!["large".to_owned(), "small".to_owned()];
    assert_eq!(shortage.alternatives.order, Some((order, 200 * MIB)));
    assert!(shortage.alternatives.order_fits);
    let tiny = Admission { budget: Some(MIB), reserve: 0, ..Admission::default() };
    assert_eq!(better.admit(tiny, None).expect_err("tiny").alternatives.order, None);
}

#[test]
fn a_shortage_says_what_a_lower_profile_a_smaller_reserve_and_a_larger_budget_would_do() {
    let mut plan = two_engines();
    plan.stages[0].at_usual = Some((300 * MIB, 0));
    let shortage = plan
        .admit(Admission { budget: Some(10_000 * MIB), reserve: 0, ..Admission::default() }, None)
        .expect_err("too small");
    assert_eq!(shortage.alternatives.profile, Some(100 * MIB));
    assert!(shortage.missing() > 100 * MIB, "a lower profile is not enough by itself");
    assert_eq!(shortage.alternatives.fitting_budget, Some(plan.smallest_budget()));
    assert!(shortage.alternatives.unified);
    let reserve = Admission { budget: None, reserve: 2000 * MIB, ..Admission::default() };
    let shortage = plan.admit(reserve, Some(integrated(12_000, 13_000))).expect_err("reserve");
    assert_eq!(shortage.alternatives.fitting_reserve, Some(12_000 * MIB - plan.smallest_budget()));
    let shortage = plan.admit(reserve, Some(integrated(6000, 6000))).expect_err("small machine");
    assert_eq!(shortage.alternatives.fitting_reserve, None, "not even 0 is enough");
}

#[test]
fn estimates_are_marked_and_a_sum_with_an_estimate_is_one() {
    let mut plan = two_engines();
    plan.stages[1].weights = Figure::estimated(2200 * MIB);
    let text = plan.to_string();
    assert!(text.contains("~2200.0") && text.contains("~5280.0") && text.contains(" 3080.0"), "{text}");
}

#[test]
fn a_runtime_that_found_no_memory_gives_the_same_report() {
    let limit = Limit::Runtime { action: "deserializing".into(), source: "CUDA error 2".into() };
    let shortage = two_engines().shortage(limit, Admission::default(), Some(integrated(100, 100)));
    let text = shortage.to_string();
    assert!(text.starts_with("not enough memory to load stage 'backbone': deserializing: CUDA error 2\n"), "{text}");
    assert!(text.contains("all engines"), "{text}");
    assert_eq!(std::error::Error::source(&*shortage).map(ToString::to_string).as_deref(), Some("CUDA error 2"));
}

fn plans() -> impl Strategy<Value = MemoryPlan> {
    let sizes = proptest::collection::vec((0u64..4000, 0u64..4000, 0u64..3000, 0u64..500, 0u64..100), 1..6);
    (sizes, any::<bool>()).prop_map(|(sizes, shared)| {
        let stages = sizes.into_iter().enumerate().map(|(at, (weights, copy, transient, activation, io))| Footprint {
            stage: format!("s{at}"),
            weights: Figure::measured(weights),
            host_copy: Figure::measured(copy),
            transient: Figure::measured(transient),
            activation: Figure::estimated(activation),
            io: Figure::declared(io),
            ..Footprint::default()
        });
        MemoryPlan::new(stages.collect(), shared)
    })
}

/// Every order of the stages.
fn orders(stages: &[Footprint]) -> Vec<Vec<Footprint>> {
    if stages.is_empty() {
        return vec![Vec::new()];
    }
    (0..stages.len())
        .flat_map(|first| {
            let mut rest = stages.to_vec();
            let first = rest.remove(first);
            orders(&rest).into_iter().map(move |order| [vec![first.clone()], order].concat())
        })
        .collect()
}

proptest! {
    #[test]
    fn no_order_has_a_lower_worst_moment_than_the_best_order(plan in plans()) {
        let best = plan.best_order().peak_from(0);
        for order in orders(&plan.stages) {
            let other = MemoryPlan::new(order, plan.shared_arena).peak_from(0);
            prop_assert!(best.total <= other.total && best.host <= other.host && best.device <= other.device);
        }
    }

    #[test]
    fn more_memory_never_refuses_what_less_admits(plan in plans(), budget in 0u64..40_000_000, more in 0u64..10_000_000) {
        let admits = |budget| plan.admit(Admission { budget: Some(budget), reserve: 0, ..Admission::default() }, None).is_ok();
        prop_assert!(!admits(budget) || admits(budget + more));
        prop_assert_eq!(admits(budget), budget >= plan.smallest_budget());
    }

    #[test]
    fn what_is_still_to_come_never_grows_by_loading(plan in plans()) {
        let steps = plan.steps();
        let to_come = |next: usize| {
            let held = next.checked_sub(1).map_or(0, |last| steps[last].after.total());
            plan.peak_from(next).total - held
        };
        for next in 0..plan.stages.len() {
            prop_assert!(to_come(next + 1) <= to_come(next));
        }
    }
}
