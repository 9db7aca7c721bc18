//! The load loop and the checks before a run, on a fake backend that fails at a chosen call.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::frames::FrameBuffers;
use crate::graph::{Input, Output, Stage};
use crate::memory::{Figure, Footprint, Limit, Pool};
use crate::profile::Profile;
use crate::provenance::{ProvenanceStatus, Reason, Rejection};
use crate::{BufferSpec, ErrorClass};
use vla_base::tensor::{DType, Dim};

const MIB: u64 = 1 << 20;

/// Events of a stand-in engine.
type Diary = Rc<RefCell<Vec<String>>>;

/// A stand-in for a backend that allocates nothing and computes nothing.
#[derive(Default)]
struct StandIn {
    diary: Diary,
    profile: Option<Profile>,
    unverified: Vec<&'static str>,
    no_memory_for: Option<&'static str>,
    /// Free memory after each load, MiB; the last value is repeated.
    available: Vec<u64>,
    /// Free memory reported by an integrated GPU's driver at each query, MiB; the last value is repeated. Empty: no such GPU.
    device_free: RefCell<Vec<u64>>,
    run: Option<(&'static str, ErrorClass)>,
    /// Result of waiting for a pass.
    finish: Option<Error>,
    /// Maximum number of live buffers.
    buffers: Option<usize>,
    live: Rc<()>,
    /// The one buffer of a workspace that the host may fill; with one it takes frames.
    memory: Vec<f32>,
}

struct Engine {
    name: String,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    diary: Diary,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.diary.borrow_mut().push(format!("free {}", self.name));
    }
}

impl Backend for StandIn {
    type Engine = Engine;
    /// One reference count per tensor, to count live tensors; and memory.
    type Workspace = (Vec<Rc<()>>, Vec<f32>);
    type Bound = ();
    type Recording = Infallible;

    fn kind(&self) -> &'static str {
        "stand-in"
    }

    fn pool(&self) -> Pool {
        let loads = self.diary.borrow().iter().filter(|entry| entry.starts_with("load")).count();
        let mib = self.available.get(loads).or(self.available.last()).copied().unwrap_or(1 << 20);
        let pool = Pool { available: mib * MIB, ..Pool::default() };
        let mut device_free = self.device_free.borrow_mut();
        let free = if device_free.len() > 1 { Some(device_free.remove(0)) } else { device_free.first().copied() };
        Pool { device_free: free.map(|free| free * MIB), integrated: free.is_some(), ..pool }
    }

    fn verify(&mut self, stage: &Stage) -> Result<ProvenanceStatus, Error> {
        self.diary.borrow_mut().push(format!("verify {}", stage.name));
        if self.unverified.contains(&stage.name.as_str()) {
            return Err(Rejection::new(stage, None, Reason::NoEngine).into());
        }
        Ok(ProvenanceStatus::NotApplicable)
    }

    fn footprint(&self, stage: &Stage, _verified: &ProvenanceStatus) -> Result<Footprint, Error> {
        let weights = if stage.name == "vision" { 100 } else { 300 };
        let figure = Figure::measured(weights * MIB);
        Ok(Footprint { stage: stage.name.clone(), file: figure, weights: figure, ..Footprint::default() })
    }

    fn load(&mut self, stage: &Stage, _verified: &ProvenanceStatus) -> Result<Engine, Error> {
        self.diary.borrow_mut().push(format!("load {}", stage.name));
        if self.no_memory_for == Some(stage.name.as_str()) {
            return Err(Error::OutOfMemory { action: "deserializing".into(), source: "error 2".into() });
        }
        let described = |name: &str, dims: &Option<Vec<Dim>>| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            dims: dims.clone().unwrap_or_default(),
        };
        Ok(Engine {
            name: stage.name.clone(),
            inputs: stage.inputs.iter().map(|input| described(&input.tensor, &input.dims)).collect(),
            outputs: stage.outputs.iter().map(|output| described(&output.tensor, &output.dims)).collect(),
            diary: Rc::clone(&self.diary),
        })
    }

    fn inputs<'e>(&self, engine: &'e Engine) -> &'e [TensorSpec] {
        &engine.inputs
    }

    fn outputs<'e>(&self, engine: &'e Engine) -> &'e [TensorSpec] {
        &engine.outputs
    }

    fn tensor_profile<'e>(&self, engine: &'e Engine, tensor: &str) -> Option<&'e Profile> {
        // Leaked, because this stand-in has one engine type for all engines.
        let found = self.profile.clone().filter(|_| tensor == "rows" && !engine.name.is_empty())?;
        Some(Box::leak(Box::new(found)))
    }

    fn log_tail(&self) -> Vec<String> {
        vec!["Cask unknown internal error".into()]
    }

    fn workspace(&mut self, tensors: &[BufferSpec], _events: usize) -> Result<Self::Workspace, Error> {
        let (mut workspace, memory) = (Vec::new(), self.memory.clone());
        for _ in tensors {
            self.diary.borrow_mut().push("allocate".into());
            if self.buffers.is_some_and(|most| Rc::strong_count(&self.live) > most) {
                return Err(Error::OutOfMemory { action: "allocating".into(), source: "error 2".into() });
            }
            workspace.push(Rc::clone(&self.live));
        }
        Ok((workspace, memory))
    }

    fn bind(
        &mut self,
        _engine: &mut Engine,
        _workspace: &mut Self::Workspace,
        _inputs: &[(String, usize)],
        _outputs: &[(String, usize)],
    ) -> Result<(), Error> {
        Ok(())
    }

    fn run(&mut self, engine: &mut Engine, _bound: &mut (), _workspace: &mut Self::Workspace) -> Result<(), Error> {
        let (action, source) = ("running".to_owned(), "enqueueV3 failed".into());
        match self.run {
            Some((stage, class)) if stage == engine.name => Err(match class {
                ErrorClass::DeviceLost => Error::DeviceLost { source },
                ErrorClass::DoesNotFit => Error::OutOfMemory { action, source },
                ErrorClass::WrongProvenance | ErrorClass::Other => Error::Device { action, source },
            }),
            _ => Ok(()),
        }
    }

    fn write(&mut self, _: &mut Self::Workspace, _index: usize, _tensor: &HostTensor) -> Result<(), Error> {
        Ok(())
    }

    fn input_buffer_mut<'w>(&mut self, workspace: &'w mut Self::Workspace, index: usize) -> Option<&'w mut [f32]> {
        self.diary.borrow_mut().push(format!("fill {index}"));
        (!workspace.1.is_empty()).then_some(workspace.1.as_mut_slice())
    }

    fn takes_frames(&self) -> bool {
        !self.memory.is_empty()
    }

    fn make_pixels(&mut self, _: &mut Self::Workspace, buffers: &FrameBuffers) -> Result<(), Error> {
        self.diary.borrow_mut().push(format!("{buffers:?}"));
        Ok(())
    }

    fn upload(&mut self, _: &mut Self::Workspace) -> Result<(), Error> {
        Ok(())
    }

    fn record_event(&mut self, _: &mut Self::Workspace, _event: usize) -> Result<(), Error> {
        Ok(())
    }

    fn download(&mut self, _: &mut Self::Workspace) -> Result<(), Error> {
        Ok(())
    }

    fn elapsed(&self, _: &Self::Workspace, _event: usize) -> Duration {
        Duration::ZERO
    }

    fn downloaded(&self, _: &Self::Workspace, _index: usize, _tensor: &mut HostTensor) -> Result<(), Error> {
        Ok(())
    }

    fn read(&mut self, _: &Self::Workspace, _index: usize, _tensor: &mut HostTensor) -> Result<(), Error> {
        Ok(())
    }

    fn replay(&mut self, recording: &mut Infallible, _: &mut Self::Workspace) -> Result<(), Error> {
        match *recording {}
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.finish.take().map_or(Ok(()), Err)
    }
}

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

/// Two images of 8 x 4.
fn pictures(memory: Vec<f32>) -> (Pipeline<StandIn>, Diary) {
    let dims = || [2, 3, 4, 8].map(Dim::Fixed).to_vec();
    let diary = Diary::default();
    let backend = StandIn { diary: Rc::clone(&diary), memory, ..StandIn::default() };
    let host = [TensorSpec { name: "pixels".into(), dtype: DType::F32, dims: dims() }];
    let stages = [stage("vision", "pixels", "rows", dims())];
    let pipeline = Pipeline::load(backend, &stages, None, &host, Admission::default(), &mut |_| {});
    (pipeline.unwrap_or_else(|error| panic!("{error}")), diary)
}

#[test]
fn pixels_of_an_input_that_takes_frames_are_made_of_its_slots_in_each_pass() {
    let words = FrameSlots::words(2, [8, 4]);
    let (mut pipeline, diary) = pictures(vec![f32::NAN; words]);
    let plain = Instance::new(
        &mut pipeline.backend,
        &mut pipeline.engines,
        &pipeline.graph,
        &pipeline.tables,
        &Symbols::new(),
        1,
        &[],
    );
    drop(plain.unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(diary.borrow_mut().drain(..).filter(|entry| entry == "allocate").count(), 2);
    let accept = |pipeline: &mut Pipeline<StandIn>, name: &str| pipeline.only(name).is_some() && pipeline.accept(name);
    assert!(accept(&mut pipeline, "pixels") && accept(&mut pipeline, "pixels"));
    assert!(!accept(&mut pipeline, "rows") && !accept(&mut pipeline, "other"), "made by a stage, or none at all");
    prepare(&mut pipeline, 1).unwrap_or_else(|error| panic!("{error}"));
    execute(&mut pipeline).unwrap_or_else(|error| panic!("{error}"));
    let buffers = FrameBuffers { images: 2, size: [8, 4], slots: 2, between: 3, pixels: 0 };
    let expected = ["allocate"; 4].map(str::to_owned).into_iter().chain([format!("{buffers:?}")]);
    assert_eq!(diary.borrow_mut().drain(..).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // Pixels go to the slots, too.
    let Pipeline { instances, backend, graph, .. } = &mut pipeline;
    let pixels = HostTensor::from_f32(&[2, 3, 4, 8], vec![0.5; 192]).expect("a tensor");
    instances[0].write(backend, graph, 0, &pixels).unwrap_or_else(|error| panic!("{error}"));
    let found = instances[0].input_buffer_mut(backend, graph, 0);
    assert_eq!(found.as_deref(), pixels.as_f32());
    assert_eq!(*diary.borrow(), ["fill 2", "fill 2"]);
}

#[test]
fn a_backend_that_makes_no_pixels_of_frames_is_given_none() {
    let (mut pipeline, diary) = pictures(Vec::new());
    assert!(!pipeline.accept("pixels"));
    prepare(&mut pipeline, 1).unwrap_or_else(|error| panic!("{error}"));
    execute(&mut pipeline).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(diary.borrow().iter().filter(|entry| *entry == "allocate").count(), 2);
    assert!(pipeline.instances[0].frames_mut(&mut pipeline.backend, 0).is_none());
}
