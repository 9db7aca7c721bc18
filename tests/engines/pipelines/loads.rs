//! Orders, budgets and refusals of a load.

use vla_engines::{Admission, EngineKind, Error, LoadEvent};

use super::bench::{Bench, Kind, Load};
use super::given::{Given, STAGES, assert_same_bits};

/// Every order on the CPU; on a GPU the policy's own and the opposite one.
fn orders(kind: Kind) -> Vec<Vec<String>> {
    let all = permutations(&STAGES.map(str::to_owned));
    match kind {
        Kind::Onnx(_) => all,
        #[cfg(feature = "tensorrt")]
        Kind::Tensorrt(_) => [all.first(), all.last()].into_iter().flatten().cloned().collect(),
        #[cfg(feature = "cuda")]
        Kind::Cuda(_) => [all.first(), all.last()].into_iter().flatten().cloned().collect(),
    }
}

fn permutations(items: &[String]) -> Vec<Vec<String>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        let rest = [&items[..at], &items[at + 1..]].concat();
        all.extend(permutations(&rest).into_iter().map(|tail| [vec![first.clone()], tail].concat()));
    }
    all
}

pub(super) fn every_load_order_gives_the_same_bits_and_anything_else_is_refused(bench: &Bench) {
    let given = Given::usual(bench);
    let expected = given.run(&mut *bench.load(Load::default()));
    for order in orders(bench.kind) {
        let mut pipeline = bench.load(Load { order: Some(&order), ..Load::default() });
        let loaded: Vec<&str> = pipeline.reports().iter().map(|report| report.stage.as_str()).collect();
        assert_eq!(loaded, order);
        // No verdict is made for lists of operations here.
        let unverified = bench.kind.engine() == EngineKind::Cuda;
        assert!(pipeline.reports().iter().all(|report| report.bytes > 0 && report.unverified == unverified));
        assert_same_bits(&given.run(&mut *pipeline), &expected, &order.join(", "));
    }
    let refusals: [(&[&str], &str); 3] = [
        (&["vision", "language", "context"], "'step' is missing"),
        (&["vision", "language", "context", "step", "vision"], "'vision' is named twice"),
        (&["vision", "language", "context", "dit"], "'dit' is no stage"),
    ];
    for (order, words) in refusals {
        let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
        let error = refused(bench, Load { order: Some(&order), ..Load::default() });
        assert!(matches!(error, Error::LoadOrder { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(words) && text.ends_with("the stages are vision, language, context, step"), "{text}");
    }
}

pub(super) fn the_smallest_budget_loads_and_a_byte_less_loads_nothing(bench: &Bench) {
    let plan = bench.plan();
    let (smallest, first) = (plan.smallest_budget(), plan.order()[0].to_owned());
    let within = |budget| Load {
        admission: Admission { budget: Some(budget), reserve: 0, ..Admission::default() },
        ..Load::default()
    };
    for budget in [smallest - 1, smallest / 2, 0] {
        let error = refused(bench, within(budget));
        let Error::DoesNotFit(shortage) = &error else { panic!("{error:?}") };
        assert!(shortage.missing() >= smallest - budget, "{} of {}", shortage.missing(), smallest - budget);
        let text = error.to_string();
        assert!(text.starts_with(&format!("not enough memory to load stage '{first}': ")), "{text}");
        assert!(text.contains("allowed by the memory budget") && text.contains("smallest budget"), "{text}");
        assert!(STAGES.iter().all(|stage| text.contains(&format!("\n  {stage} "))), "a row a stage: {text}");
    }
    let given = Given::usual(bench);
    let expected = given.run(&mut *bench.load(Load::default()));
    let mut pipeline = bench.load(within(smallest));
    assert_same_bits(&given.run(&mut *pipeline), &expected, "within the smallest budget");
}

pub(super) fn a_network_that_differs_from_its_description_is_refused_whole(bench: &Bench) {
    let mut stages = bench.stages();
    let at = |name: &str| STAGES.iter().position(|stage| *stage == name).expect("a stage");
    stages[at("vision")].outputs[0].tensor = "image_row".into();
    stages[at("context")].inputs.retain(|input| input.name != "state");
    stages[at("step")].outputs[0].feeds = Some("noise".into());
    let error = bench.load_stages(&stages, Load::default(), &mut |_| {}).err().expect("refused");
    assert!(matches!(error, Error::Graph { .. }), "{error:?}");
    let text = error.to_string();
    for words in [
        "stage 'vision': ",
        "has no output 'image_row'; it has image_rows",
        "stage 'context': the network has an input 'state: f32 [1, 128]' that the stage does not describe",
        "stage 'step': output 'next_actions' feeds 'noise', which no stage reads",
    ] {
        assert!(text.contains(words), "'{words}' is not in {text}");
    }
}

/// A refusal before anything is loaded.
fn refused(bench: &Bench, how: Load<'_>) -> Error {
    let mut loaded = Vec::new();
    let error = bench.load_stages(&bench.stages(), how, &mut |event| {
        if let LoadEvent::Loaded(report) = event {
            loaded.push(report.stage);
        }
    });
    let error = error.err().expect("refused");
    assert!(loaded.is_empty(), "{loaded:?} was loaded before {error}");
    error
}
