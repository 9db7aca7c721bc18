//! The load loop and the checks before a run, on a fake backend that fails at a chosen call.

use std::rc::Rc;

use super::*;
use crate::ErrorClass;
use crate::graph::{Input, Output, Stage};
use crate::memory::Limit;
use crate::profile::Profile;
use vla_base::tensor::{DType, Dim};

mod frames;
mod stand_in;

use stand_in::{Diary, MIB, StandIn};

fn stage(name: &str, input: &str, output: &str, dims: Vec<Dim>) -> Stage {
    let file = std::path::PathBuf::from(format!("{name}.engine"));
    let dims = Some(dims);
    Stage {
        name: name.into(),
        onnx: file.clone(),
        file,
        repeat: false,
        inputs: vec![Input {
            tensor: input.into(),
            name: input.into(),
            dtype: None,
            dims: dims.clone(),
            constants: None,
        }],
        outputs: vec![Output { tensor: output.into(), name: output.into(), dtype: None, dims, feeds: None }],
        precision: "fp16".into(),
        profile: vec![("S".into(), [1, 4, 8])],
        allow_unverified: false,
        allow_inaccurate: false,
    }
}

fn stages() -> Vec<Stage> {
    let dims = || vec![Dim::Symbol("S".into()), Dim::Fixed(2)];
    vec![stage("vision", "pixels", "rows", dims()), stage("language", "rows", "embeddings", dims())]
}

fn load_with(backend: StandIn, order: Option<&[String]>, admission: Admission) -> Result<Pipeline<StandIn>, Error> {
    let dims = vec![Dim::Symbol("S".into()), Dim::Fixed(2)];
    let host = [TensorSpec { name: "pixels".into(), dtype: DType::F32, dims }];
    Pipeline::load(backend, &stages(), order, &host, admission, &mut |_| {})
}

fn loaded(backend: StandIn) -> Pipeline<StandIn> {
    load_with(backend, None, Admission::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(backend: StandIn, admission: Admission) -> Error {
    load_with(backend, None, admission).err().expect("refused")
}

fn symbols(s: usize) -> Symbols {
    [("S".to_owned(), s)].into()
}

fn execute(pipeline: &mut Pipeline<StandIn>) -> Result<(), Error> {
    let Pipeline { instances, backend, engines, graph, .. } = pipeline;
    let run = instances[0].execute(backend, engines, graph, &mut []);
    run.map_err(|error| pipeline.judge(error))
}

fn prepare(pipeline: &mut Pipeline<StandIn>, s: usize) -> Result<(), Error> {
    let instance = pipeline.instance(&symbols(s), 1);
    let instance = instance.map_err(|error| pipeline.judge(error))?;
    pipeline.instances.insert(0, instance);
    Ok(())
}

#[test]
fn every_stage_is_verified_before_the_first_is_loaded_and_the_largest_is_loaded_first() {
    let diary = Diary::default();
    let pipeline = loaded(StandIn { diary: Rc::clone(&diary), ..StandIn::default() });
    assert_eq!(*diary.borrow(), ["verify vision", "verify language", "load language", "load vision"]);
    let order: Vec<&str> = pipeline.reports.iter().map(|report| report.stage.as_str()).collect();
    assert_eq!(order, ["language", "vision"]);
    assert_eq!(pipeline.reports[0].planned.weights.bytes, 300 * MIB);
    assert!(pipeline.engines[0].name == "vision", "engines stand in run order");
}

#[test]
fn what_verification_finds_is_told_of_all_stages_and_nothing_is_loaded() {
    let diary = Diary::default();
    let backend = StandIn { diary: Rc::clone(&diary), unverified: vec!["vision", "language"], ..StandIn::default() };
    let text = refused(backend, Admission::default()).to_string();
    assert!(text.contains("stage 'vision'") && text.contains("stage 'language'"), "{text}");
    assert_eq!(*diary.borrow(), ["verify vision", "verify language"]);
}

#[test]
fn a_budget_that_the_whole_plan_breaks_is_refused_before_the_first_load() {
    let diary = Diary::default();
    let admission = Admission { budget: Some(350 * MIB), reserve: 0, ..Admission::default() };
    let error = refused(StandIn { diary: Rc::clone(&diary), ..StandIn::default() }, admission);
    assert!(error.does_not_fit(), "{error}");
    assert!(!diary.borrow().iter().any(|entry| entry.starts_with("load")), "{:?}", diary.borrow());
}

#[test]
fn a_runtime_without_memory_frees_what_was_loaded_last_first_and_gives_the_table() {
    let diary = Diary::default();
    let backend = StandIn { diary: Rc::clone(&diary), no_memory_for: Some("vision"), ..StandIn::default() };
    let Error::DoesNotFit(shortage) = refused(backend, Admission::default()) else { panic!("a refusal") };
    assert_eq!(shortage.stage.as_deref(), Some("vision"));
    assert!(matches!(shortage.limit, Limit::Runtime { .. }), "{shortage}");
    assert!(shortage.to_string().contains("loaded"), "{shortage}");
    assert_eq!(diary.borrow()[2..], ["load language", "load vision", "free language"]);
}

#[test]
fn engines_are_freed_in_the_opposite_order_of_loading_when_the_stages_do_not_fit_together() {
    let profile = || Some(Profile { min: vec![1, 2], opt: vec![2, 2], max: vec![4, 2] });
    for order in [["vision", "language"], ["language", "vision"]] {
        let diary = Diary::default();
        let backend = StandIn { diary: Rc::clone(&diary), profile: profile(), ..StandIn::default() };
        let names = order.map(str::to_owned);
        let error = load_with(backend, Some(&names), Admission::default()).err().expect("refused").to_string();
        assert!(error.contains("profile accepts [1, 2]..[4, 2], the policy needs [S 1..8, 2]"), "{error}");
        let [first, second] = order;
        let loads =
            [format!("load {first}"), format!("load {second}"), format!("free {second}"), format!("free {first}")];
        assert_eq!(diary.borrow()[2..], loads);
    }
}

#[test]
fn a_size_outside_the_profile_is_refused_before_the_device_allocates() {
    let diary = Diary::default();
    let profile = Profile { min: vec![1, 2], opt: vec![4, 2], max: vec![8, 2] };
    let mut pipeline = loaded(StandIn { diary: Rc::clone(&diary), profile: Some(profile), ..StandIn::default() });
    diary.borrow_mut().clear();
    let error = prepare(&mut pipeline, 9).expect_err("S above 8").to_string();
    assert!(error.contains("engine 'language', input 'rows': dimension 0 (S) is 9"), "{error}");
    assert!(diary.borrow().is_empty(), "{:?}", diary.borrow());
    prepare(&mut pipeline, 8).expect("the largest");
}

#[test]
fn a_failing_run_is_told_with_shapes_and_the_runtimes_last_words() {
    let mut pipeline = loaded(StandIn { run: Some(("language", ErrorClass::Other)), ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    let error = execute(&mut pipeline).expect_err("the second stage fails");
    assert!(!error.is_sticky());
    let text = error.to_string();
    assert!(text.starts_with("stage 'language' failed while running: enqueueV3 failed"), "{text}");
    assert!(text.contains("rows: f32 [3, 2]") && text.contains("Cask unknown internal error"), "{text}");
}

#[test]
fn a_pass_that_fails_on_the_device_is_told_with_every_stages_shapes() {
    let reason = || "CUDA error 719".into();
    let failed = Error::Device { action: "waiting for the GPU".into(), source: reason() };
    for (error, sticky) in [(failed, false), (Error::DeviceLost { source: reason() }, true)] {
        let mut pipeline = loaded(StandIn { finish: Some(error), ..StandIn::default() });
        prepare(&mut pipeline, 3).expect("prepares");
        let error = execute(&mut pipeline).expect_err("fails after it was enqueued");
        assert_eq!(error.is_sticky(), sticky, "{error:?}");
        let text = error.to_string();
        for words in
            ["CUDA error 719", "'vision|language'", "vision.pixels: f32 [3, 2]", "language.rows", "Cask unknown"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

#[test]
fn a_run_without_memory_does_not_make_a_later_refusal_one_of_memory() {
    let profile = Profile { min: vec![1, 2], opt: vec![4, 2], max: vec![8, 2] };
    let run = Some(("vision", ErrorClass::DoesNotFit));
    let mut pipeline = loaded(StandIn { run, profile: Some(profile), ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    assert!(execute(&mut pipeline).expect_err("no memory").does_not_fit());
    let error = prepare(&mut pipeline, 9).expect_err("S above 8");
    assert!(matches!(error, Error::Profile(_)), "{error:?}");
}

#[test]
fn a_run_without_memory_does_not_make_a_later_failure_of_the_device_one_of_memory() {
    let mut pipeline = loaded(StandIn { run: Some(("vision", ErrorClass::DoesNotFit)), ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    assert!(execute(&mut pipeline).expect_err("no memory").does_not_fit());
    // The next pass is enqueued, and fails on the backend for another reason.
    pipeline.backend.run = None;
    pipeline.backend.finish = Some(Error::Device { action: "waiting for the GPU".into(), source: "busy".into() });
    let error = execute(&mut pipeline).expect_err("fails on the backend");
    assert!(matches!(error, Error::Enqueue(_)), "{error:?}");
}

#[test]
fn a_pass_that_finds_no_memory_on_the_device_is_told_so_with_the_table() {
    let finish = Some(Error::OutOfMemory { action: "launching a CUDA graph".into(), source: "error 2".into() });
    let mut pipeline = loaded(StandIn { finish, ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    let error = execute(&mut pipeline).expect_err("no memory");
    assert!(error.does_not_fit(), "{error:?}");
}

#[test]
fn a_loaded_pipeline_frees_the_engine_loaded_last_first() {
    for order in [["vision", "language"], ["language", "vision"]] {
        let diary = Diary::default();
        let backend = StandIn { diary: Rc::clone(&diary), ..StandIn::default() };
        let pipeline = load_with(backend, Some(&order.map(str::to_owned)), Admission::default());
        drop(pipeline.unwrap_or_else(|error| panic!("{error}")));
        let [first, second] = order;
        assert_eq!(diary.borrow()[4..], [format!("free {second}"), format!("free {first}")]);
    }
}

#[test]
fn a_lost_device_is_sticky_and_keeps_the_reason() {
    let mut pipeline = loaded(StandIn { run: Some(("vision", ErrorClass::DeviceLost)), ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    let error = execute(&mut pipeline).expect_err("lost");
    assert!(error.is_sticky() && error.to_string().contains("enqueueV3 failed"), "{error}");
}

#[test]
fn a_run_without_memory_gives_the_table() {
    let mut pipeline = loaded(StandIn { run: Some(("vision", ErrorClass::DoesNotFit)), ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    let error = execute(&mut pipeline).expect_err("no memory");
    assert!(error.does_not_fit() && error.to_string().contains("to run the loaded engines"), "{error}");
}

#[test]
fn another_instructions_buffers_make_room_for_a_new_one() {
    // Three tensors per instance: the fourth buffer exceeds the maximum.
    let mut pipeline = loaded(StandIn { buffers: Some(4), ..StandIn::default() });
    prepare(&mut pipeline, 3).expect("prepares");
    prepare(&mut pipeline, 4).expect("after the first instance's buffers are freed");
    assert_eq!(pipeline.instances.len(), 1);
    pipeline.backend.buffers = Some(2);
    let error = prepare(&mut pipeline, 5).expect_err("too little for one");
    assert!(error.does_not_fit(), "{error}");
}

#[test]
fn where_only_the_page_cache_is_in_the_way_it_is_named_and_the_pool_is_asked_once_more() {
    let shares = |device_free: &[u64]| StandIn { device_free: device_free.to_vec().into(), ..StandIn::default() };
    // After the policy's own pages were dropped, the driver counts enough.
    load_with(shares(&[100, 1000]), None, Admission::default()).map(drop).expect("fits at the second look");
    let Error::DoesNotFit(shortage) = refused(shares(&[100, 200, 1000]), Admission::default()) else {
        panic!("refused")
    };
    let text = shortage.to_string();
    assert!(text.contains("200.0 MiB free by the GPU driver's count, without 1048376.0 MiB of page cache"), "{text}");
    assert!(shortage.alternatives.page_cache.is_some(), "{text}");
    let counted = Admission { count_available: true, ..Admission::default() };
    load_with(shares(&[100]), None, counted).map(drop).expect("MemAvailable counts");
    // The policy's pages leave the cache then, too: looked at twice before the first load, once before the second.
    let pipeline = load_with(shares(&[100, 200, 1000, 2000]), None, counted).expect("MemAvailable counts");
    assert_eq!(*pipeline.backend.device_free.borrow(), [2000]);
    // If MemAvailable is also too small, dropping the page cache does not help.
    let short = StandIn { available: vec![300], ..shares(&[100]) };
    assert!(!refused(short, Admission::default()).to_string().contains("page cache"));
}

#[test]
fn a_machine_that_shrinks_between_two_loads_refuses_the_second_and_frees_the_first() {
    let diary = Diary::default();
    // First enough for 400, a margin of 20 and some bytes of I/O; then another instance uses the rest.
    let backend = StandIn { diary: Rc::clone(&diary), available: vec![421, 119], ..StandIn::default() };
    let text = refused(backend, Admission::default()).to_string();
    assert!(text.contains("stage 'vision': 120.0 MiB still to come, 119.0 MiB free"), "{text}");
    assert_eq!(diary.borrow()[2..], ["load language", "free language"]);
    loaded(StandIn { available: vec![421, 121], ..StandIn::default() });
}
