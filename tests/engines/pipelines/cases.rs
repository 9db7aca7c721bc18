//! What a loaded pipeline does, whatever runs it.

use vla_base::tensor::{DType, HostTensor};
use vla_engines::{Error, Inference, Launch};
use vla_export::demo;

use super::bench::{Bench, Load};
use super::given::{Given, RESULT, STAGES, assert_close, assert_same_bits, distance, execute, floats, result};
use super::reference::Reference;

/// Smallest number of half precision that has all its bits: below it the rounding is no smaller.
const SMALLEST_HALF: f32 = 1.0 / 16384.0;
/// Outputs of the stages in run order.
const OUTPUTS: [&str; 8] = ["image_rows", "vl_embs", "k0", "v0", "k2", "v2", "state_features", RESULT];

pub(super) fn every_output_of_every_stage_is_that_of_the_networks(bench: &Bench) {
    let (mut pipeline, mut reference) = (bench.load(Load::default()), Reference::of(bench));
    for steps in demo::STEPS {
        let given = Given::usual(bench).with_steps(steps);
        let (found, expected) = (given.inspect(&mut *pipeline), reference.inspect(&given));
        let mut names: Vec<&String> = found.iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, expected.keys().collect::<Vec<_>>());
        for (name, found) in &found {
            let expected = &expected[name];
            assert_eq!(found.dims(), expected.dims(), "{name}");
            let [found, expected] = [found, expected].map(floats);
            assert!(expected.iter().any(|value| *value != 0.0), "{name} is nothing but zeros");
            assert_close(bench, &found, &expected, &format!("{name} of {steps} steps"));
        }
    }
}

pub(super) fn the_same_input_gives_the_same_bits_and_every_step_count_its_own_result(bench: &Bench) {
    let (mut pipeline, mut reference) = (bench.load(Load::default()), Reference::of(bench));
    let usual = Given::usual(bench);
    let mut results: Vec<Vec<f32>> = Vec::new();
    for steps in demo::STEPS {
        let given = usual.with_steps(steps);
        let first = given.run(&mut *pipeline);
        assert_same_bits(&given.run(&mut *pipeline), &first, &format!("{steps} steps again"));
        assert_close(bench, &first, &reference.run(&given), &format!("{steps} steps"));
        results.push(first);
    }
    let other = usual.with_salt(2).run(&mut *pipeline);
    assert!(distance(&other, &usual.run(&mut *pipeline)) > 0.1, "other inputs give the same actions");
    for (at, steps) in demo::STEPS.iter().enumerate().skip(1) {
        assert!(distance(&results[at], &results[at - 1]) > 1e-3, "{steps} steps give what fewer gave");
    }
}

/// The first pass of a program runs step by step; where the kind records, the later ones are a recording.
pub(super) fn a_recorded_pass_gives_the_bits_of_one_run_step_by_step(bench: &Bench) {
    let mut recording = bench.load(Load::default());
    let given = Given::usual(bench);
    let first = given.run(&mut *recording);
    for pass in 2..=4 {
        assert_same_bits(&given.run(&mut *recording), &first, &format!("pass {pass}"));
    }
    let other = given.with_salt(5);
    let from_recording = other.run(&mut *recording);
    drop(recording);
    let mut plain = bench.load(Load { launch: Launch::StepByStep, ..Load::default() });
    for pass in 1..=3 {
        assert_same_bits(&given.run(&mut *plain), &first, &format!("pass {pass} without a recording"));
    }
    assert_same_bits(&from_recording, &other.run(&mut *plain), "other inputs through a recording");
}

pub(super) fn another_instruction_in_between_changes_nothing(bench: &Bench) {
    let (mut pipeline, mut reference) = (bench.load(Load::default()), Reference::of(bench));
    let a = Given::usual(bench);
    let b = a.with_text(23).with_salt(3);
    let first = a.run(&mut *pipeline);
    for round in 0..3 {
        let between = b.run(&mut *pipeline);
        assert_close(bench, &between, &reference.run(&b), &format!("the other instruction, round {round}"));
        assert_same_bits(&a.run(&mut *pipeline), &first, &format!("the first instruction, round {round}"));
    }
}

pub(super) fn more_lengths_than_programs_are_kept_come_back_to_the_same_bits(bench: &Bench) {
    let (mut pipeline, mut reference) = (bench.load(Load::default()), Reference::of(bench));
    let [least, usual, most] = demo::TEXT;
    let lengths = [least, 31, usual, 100, 151, most];
    let given = |text: usize| Given::usual(bench).with_text(text).with_salt(text as u64);
    let results = lengths.map(|text| given(text).run(&mut *pipeline));
    for (text, result) in lengths.iter().zip(&results) {
        assert_close(bench, result, &reference.run(&given(*text)), &format!("{text} text tokens"));
    }
    for (text, result) in lengths.iter().zip(&results).rev() {
        assert_same_bits(&given(*text).run(&mut *pipeline), result, &format!("{text} text tokens again"));
    }
    // Step counts make programs too.
    for steps in demo::STEPS {
        given(usual).with_steps(steps).run(&mut *pipeline);
    }
    assert_same_bits(&given(least).run(&mut *pipeline), &results[0], "the shortest after all others");
}

pub(super) fn rows_of_strength_zero_keep_their_noise(bench: &Bench) {
    let mut pipeline = bench.load(Load::default());
    let kept = bench.kind.tolerance().kept;
    // An odd and an even count: the loop ends in either of its two buffers.
    for steps in [1, 4] {
        let strength = (0..demo::HORIZON).map(|row| if row % 3 == 0 { 0.0 } else { 1.0 }).collect();
        let given = Given::usual(bench).with_steps(steps).with_strength(strength);
        // Once step by step, once recorded.
        for pass in 1..=2 {
            let (actions, noise) = (given.run(&mut *pipeline), given.noise());
            let rows = actions.chunks_exact(demo::DIMS).zip(noise.chunks_exact(demo::DIMS));
            for (row, (found, noise)) in rows.enumerate() {
                if given.strength[row] == 0.0 {
                    let change = |(a, b): (&f32, &f32)| (a - b).abs() / b.abs().max(SMALLEST_HALF);
                    let most = found.iter().zip(noise).map(change).fold(0.0, f32::max);
                    assert!(most <= kept, "row {row}, {steps} steps, pass {pass}: changed by {most:e} of itself");
                } else {
                    assert!(distance(found, noise) > 1e-2, "row {row}, {steps} steps, pass {pass}: still noise");
                }
            }
        }
    }
}

pub(super) fn host_tensors_that_do_not_fit_are_refused_by_name_and_the_pipeline_goes_on(bench: &Bench) {
    let mut pipeline = bench.load(Load::default());
    let given = Given::usual(bench);
    let first = given.run(&mut *pipeline);
    given.feed(&mut *pipeline);
    let zeros = |dtype, dims: &[usize]| HostTensor::zeros(dtype, dims).expect("small");
    let state = "tensor 'state': expected f32 [1, 128], found ";
    let refusals = [
        ("state", zeros(DType::F32, &[1, 64]), format!("{state}f32 [1, 64]")),
        ("state", zeros(DType::F32, &[2, 128]), format!("{state}f32 [2, 128]")),
        ("state", zeros(DType::F32, &[]), format!("{state}f32 []")),
        (
            "text_rows",
            zeros(DType::F32, &[63, 96]),
            "tensor 'text_rows': expected f32 [64, 96], found f32 [63, 96]".into(),
        ),
        (
            "text_rows",
            zeros(DType::F32, &[96, 64]),
            "tensor 'text_rows': expected f32 [64, 96], found f32 [96, 64]".into(),
        ),
        (
            "state",
            zeros(DType::I32, &[1, 128]),
            "tensor 'state': expected f32 (or a type that converts to it), found i32 [1, 128]".into(),
        ),
        (
            "state",
            zeros(DType::F16, &[1, 128]),
            "tensor 'state': expected f32 (or a type that converts to it), found f16 [1, 128]".into(),
        ),
        (
            "positions",
            zeros(DType::F32, &[124]),
            "tensor 'positions': expected i32 (or a type that converts to it), found f32 [124]".into(),
        ),
        (
            "positions",
            zeros(DType::I64, &[124]),
            "tensor 'positions': expected i32 (or a type that converts to it), found i64 [124]".into(),
        ),
        (
            "velocity",
            zeros(DType::F32, &[1]),
            "tensor 'velocity': expected the name of a tensor of this pipeline, found no such tensor".into(),
        ),
    ];
    for (name, tensor, expected) in refusals {
        let error = pipeline.write(name, &tensor).expect_err(&expected);
        assert!(matches!(error, Error::HostTensor { .. }) && !error.is_sticky(), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
    for (mut tensor, found) in
        [(zeros(DType::F32, &[50, 127]), "f32 [50, 127]"), (zeros(DType::F16, &[50, 128]), "f16 [50, 128]")]
    {
        let error = pipeline.read(RESULT, &mut tensor).expect_err(found);
        assert_eq!(error.to_string(), format!("tensor 'next_actions': expected f32 [50, 128], found {found}"));
    }
    execute(&mut *pipeline);
    assert_same_bits(&result(&mut *pipeline), &first, "after the refusals");
}

pub(super) fn what_the_host_puts_in_place_is_what_it_would_have_written(bench: &Bench) {
    let mut pipeline = bench.load(Load::default());
    let given = Given::usual(bench);
    let written = given.run(&mut *pipeline);
    given.with_salt(9).run(&mut *pipeline);
    for pass in 1..=2 {
        for (name, tensor) in given.tensors() {
            match (tensor.as_f32(), pipeline.input_buffer_mut(name)) {
                (Some(values), Some(place)) => {
                    assert_eq!(place.len(), values.len(), "{name}");
                    place.copy_from_slice(values);
                }
                (None, None) => pipeline.write(name, &tensor).unwrap_or_else(|error| panic!("{error}")),
                (values, place) => {
                    panic!("{name}: single precision {}, a place {}", values.is_some(), place.is_some());
                }
            }
        }
        execute(&mut *pipeline);
        assert_same_bits(&result(&mut *pipeline), &written, &format!("placed, pass {pass}"));
    }
    assert!(pipeline.input_buffer_mut("velocity").is_none(), "a place for a tensor that there is not");
}

pub(super) fn what_is_inspected_is_what_is_executed(bench: &Bench) {
    let mut pipeline = bench.load(Load::default());
    for steps in demo::STEPS {
        let given = Given::usual(bench).with_steps(steps).with_salt(u64::from(steps));
        let inspected = given.inspect(&mut *pipeline);
        // After a step-by-step pass, and after a recorded one.
        for pass in 1..=2 {
            given.run(&mut *pipeline);
            for output in OUTPUTS {
                let last = if output == RESULT { format!("{output}[{}]", steps - 1) } else { output.to_owned() };
                let (_, shown) = inspected.iter().find(|(name, _)| *name == last).expect(&last);
                let mut read = HostTensor::zeros(shown.dtype(), shown.dims()).expect("small");
                pipeline.read(output, &mut read).unwrap_or_else(|error| panic!("{error}"));
                let [read, shown] = [&read, shown].map(floats);
                assert_same_bits(&read, &shown, &format!("{last} of pass {pass}"));
            }
        }
        let again = given.inspect(&mut *pipeline);
        assert_eq!(again.len(), inspected.len());
        for ((name, again), (_, first)) in again.iter().zip(&inspected) {
            let [again, first] = [again, first].map(floats);
            assert_same_bits(&again, &first, &format!("{name}, inspected again"));
        }
    }
}

pub(super) fn nothing_runs_before_a_program_is_prepared_and_a_new_program_holds_zeros(bench: &Bench) {
    let mut pipeline = bench.load(Load::default());
    let given = Given::usual(bench);
    let mut actions = HostTensor::zeros(DType::F32, &[demo::HORIZON, demo::DIMS]).expect("small");
    let refused = |outcome: Result<(), Error>| {
        let error = outcome.expect_err("no program yet");
        assert!(matches!(error, Error::NotPrepared), "{error}");
    };
    refused(pipeline.read(RESULT, &mut actions));
    refused(pipeline.execute(&mut []));
    refused(pipeline.inspect(&mut |_| {}));
    refused(given.tensors().iter().try_for_each(|(name, tensor)| pipeline.write(name, tensor)));
    assert!(pipeline.input_buffer_mut("pixels").is_none());
    shown(&*pipeline, 0);
    let unknown = pipeline.prepare(&[("T".to_owned(), 64)].into(), 4).expect_err("no value of S");
    assert!(matches!(&unknown, Error::Symbol { symbol, known, .. } if symbol == "S" && known == "T"), "{unknown}");
    let steps = pipeline.prepare(&given.symbols(), 3).expect_err("no constants of 3 steps").to_string();
    assert!(steps.contains("no tensor 'modulation.3'; it has ") && steps.contains("modulation.4"), "{steps}");
    refused(pipeline.execute(&mut []));
    pipeline.prepare(&given.symbols(), given.steps).expect("prepares");
    shown(&*pipeline, 17);
    actions.as_f32_mut().expect("f32").fill(1.0);
    pipeline.read(RESULT, &mut actions).expect("prepared");
    assert!(actions.as_f32().expect("f32").iter().all(|value| *value == 0.0), "not zeros before the first run");
    given.run(&mut *pipeline);
}

/// Inputs of all stages that the prepared program shows.
fn shown(pipeline: &dyn Inference, expected: usize) {
    let mut inputs = Vec::new();
    pipeline.shapes(&mut |input| inputs.push(format!("{}.{} {:?}", input.stage, input.tensor, input.dims)));
    assert_eq!(inputs.len(), expected, "{inputs:?}");
    assert!(expected == 0 || inputs.contains(&"language.text_rows [64, 96]".to_owned()), "{inputs:?}");
}

pub(super) fn every_stage_has_a_time_in_every_pass(bench: &Bench) {
    let mut pipeline = bench.load(Load::default());
    let given = Given::usual(bench);
    for pass in 1..=3 {
        given.feed(&mut *pipeline);
        let started = std::time::Instant::now();
        let times = execute(&mut *pipeline);
        let wall = started.elapsed();
        assert_eq!(times.iter().map(|time| time.stage.as_str()).collect::<Vec<_>>(), STAGES);
        assert!(times.iter().all(|time| !time.time.is_zero()), "pass {pass}: {times:?}");
        let sum: std::time::Duration = times.iter().map(|time| time.time).sum();
        assert!(sum <= wall, "pass {pass}: {sum:?} in the stages, {wall:?} in all");
    }
}
