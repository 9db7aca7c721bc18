use super::*;
use std::ffi::c_void;
use std::ptr;
use vla_tensorrt::{Context, Engine};

/// Host memory that plays device memory, aligned as CUDA's.
struct Memory(Vec<Block>);

#[repr(align(256))]
#[derive(Clone, Copy)]
struct Block([f32; 64]);

impl Memory {
    fn new(bytes: usize) -> Self {
        Self(vec![Block([0.0; 64]); bytes.div_ceil(256)])
    }

    fn address(&mut self) -> u64 {
        self.0.as_mut_ptr().expose_provenance() as u64
    }

    fn values(&mut self) -> &mut [f32] {
        &mut self.0[0].0
    }
}

/// A toy context whose addresses are set, with the memory that they point to.
struct Bound {
    context: Context,
    rows: Memory,
    doubled: Memory,
    _ids: Memory,
    _activation: Memory,
}

#[expect(unsafe_code, reason = "addresses for the stand-in")]
fn bind(engine: &Engine) -> Bound {
    let mut context = engine.context(0).expect("a context");
    let (mut rows, mut ids, mut doubled, mut activation) =
        (Memory::new(256), Memory::new(256), Memory::new(256), Memory::new(4096));
    // SAFETY: every block is aligned to 256 bytes, larger than the largest shape, and moves into the result with the
    // context (its heap memory stays where it is).
    unsafe {
        context.set_activation(activation.address(), 4096).expect("enough");
        context.set_address("rows", rows.address()).expect("an input");
        context.set_address("ids", ids.address()).expect("an input");
        context.set_address("doubled", doubled.address()).expect("an output");
    }
    Bound { context, rows, doubled, _ids: ids, _activation: activation }
}

impl Bound {
    #[expect(unsafe_code, reason = "the stand-in has no stream")]
    fn enqueue(&mut self) -> Result<(), Error> {
        // SAFETY: the addresses of `bind` are live, and the stand-in runs at once and looks at no stream.
        unsafe { self.context.enqueue(ptr::null_mut::<c_void>()) }
    }
}

#[test]
fn a_context_runs_with_the_shapes_and_addresses_that_it_was_given() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
    let mut bound = bind(&engine);
    assert_eq!(bound.context.missing_shapes().expect("told"), ["rows"]);
    assert_eq!(bound.context.shape("doubled").expect("known"), [-1, 4]);
    bound.context.set_shape("rows", &[3, 4]).expect("inside the profile");
    assert!(bound.context.missing_shapes().expect("told").is_empty());
    assert_eq!(bound.context.shape("doubled").expect("known"), [3, 4]);
    bound.rows.values()[..13].fill(1.5);
    bound.enqueue().expect("run");
    assert_eq!(bound.doubled.values()[..13], [[3.0; 12].as_slice(), &[0.0]].concat());
}

#[test]
fn a_shape_outside_the_profile_is_refused_with_tensorrts_words() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
    let mut context = engine.context(0).expect("a context");
    let (reason, log) = refusal(context.set_shape("rows", &[9, 4]).expect_err("above max"));
    assert_eq!(reason, "TensorRT refuses this shape of input 'rows'");
    assert_eq!(log, ["standin: rows 9x4 is outside the profile, 1x4 to 8x4"]);
    let error = context.set_shape("rows", &[1; 9]).expect_err("rank 9");
    assert!(error.to_string().contains("has rank 9, TensorRT takes at most 8"), "{error}");
    let error = context.set_shape("row", &[1, 4]).expect_err("no such input");
    assert_eq!(error.to_string(), "the engine has no tensor 'row'; it has rows, ids, doubled");
}

#[test]
#[expect(unsafe_code, reason = "addresses that are refused")]
fn activation_memory_must_be_there_large_enough_and_aligned() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
    let mut context = engine.context(0).expect("a context");
    let mut memory = Memory::new(8192);
    let address = memory.address();
    // SAFETY: nothing is enqueued before memory that serves was given; the last call is refused for lack of it.
    unsafe {
        let error = context.set_activation(address, 4095).expect_err("too small");
        assert_eq!(error.to_string(), "activation memory of 4095 bytes, this engine needs 4096");
        let error = context.set_activation(address + 8, 4096).expect_err("badly aligned");
        assert!(error.to_string().contains("expected one aligned to 256 bytes"), "{error}");
        let error = context.enqueue(ptr::null_mut()).expect_err("none given");
        assert!(error.to_string().contains("no activation memory yet, this engine needs 4096 bytes"), "{error}");
        context.set_activation(address, 4096).expect("it serves");
    }
}

#[test]
fn a_failing_enqueue_carries_the_log_lines_of_that_call() {
    let bench = Bench::new();
    let plan = toy_with(&["say 1 an error while loading", "refuse enqueue"]);
    let engine = bench.runtime().load(&bench.file("toy.engine", &plan)).expect("loaded");
    let mut bound = bind(&engine);
    bound.context.set_shape("rows", &[1, 4]).expect("inside the profile");
    let error = bound.enqueue().expect_err("refused");
    assert!(!error.is_out_of_memory());
    let (reason, log) = refusal(error);
    assert_eq!((reason.as_str(), log.len()), ("TensorRT could not enqueue the engine", 1));
    assert_eq!(log, ["standin: [cask] unknown internal error"]);
    assert!(bench.log.tail().contains(&"an error while loading".to_owned()));
}

#[test]
fn a_context_that_cannot_be_made_is_refused_and_lack_of_memory_is_recognised() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("toy.engine", &toy_with(&["refuse context"]))).expect("loaded");
    let error = engine.context(0).err().expect("refused");
    assert!(error.is_out_of_memory(), "{error}");
    assert!(error.to_string().starts_with("TensorRT created no execution context\n  TensorRT: standin: "), "{error}");
    assert_eq!(engine.context(2).err().expect("no profile").to_string(), "the engine has 2 profiles, asked for 2");
}

#[test]
fn contexts_share_a_profile_where_this_version_lets_them() {
    let bench = Bench::new();
    let engine =
        bench.runtime().load(&bench.file("toy.engine", &toy_with(&["option share_profiles=1"]))).expect("loaded");
    let (first, second, other) = (engine.context(0), engine.context(0), engine.context(1));
    assert!(first.is_ok() && second.is_ok() && other.is_ok());
    drop((first, second, other));
    let alone = bench.runtime().load(&bench.file("alone.engine", TOY)).expect("loaded");
    let _first = alone.context(0).expect("the first context");
    // Built without the preview feature, 8.6 gives a profile to one context only.
    assert_eq!(alone.context(0).is_ok(), Library::headers().major > 8);
    let fixed = bench.runtime().load(&bench.file("fixed.engine", &["input rows f32 4"])).expect("loaded");
    let _first = fixed.context(0).expect("the first context");
    fixed.context(0).expect("without dynamic inputs there is no profile to share");
}

#[test]
fn whatever_is_dropped_first_context_engine_and_runtime_go_in_that_order() {
    let bench = Bench::new();
    let runtime = bench.runtime();
    let engine = runtime.load(&bench.file("toy.engine", TOY)).expect("loaded");
    let mut bound = bind(&engine);
    bench.log.clear();
    drop(runtime);
    drop(engine);
    assert!(bench.log.tail().is_empty(), "{:?}", bench.log.tail());
    bound.context.set_shape("rows", &[1, 4]).expect("still alive");
    bound.enqueue().expect("still alive");
    drop(bound);
    assert_eq!(
        bench.log.tail(),
        ["standin: context destroyed", "standin: engine destroyed", "standin: runtime destroyed"]
    );
}

#[test]
fn engines_and_contexts_move_between_threads() {
    let bench = Bench::new();
    let runtime = bench.runtime();
    let path = bench.file("toy.engine", TOY);
    let engine = std::thread::scope(|scope| scope.spawn(|| runtime.load(&path)).join().expect("no panic"));
    let engine = engine.expect("loaded");
    let mut context = engine.context(0).expect("a context");
    std::thread::spawn(move || context.set_shape("rows", &[2, 4]).map(|()| drop(context)))
        .join()
        .expect("no panic")
        .expect("set");
}

#[test]
fn a_log_may_go_before_what_logs_through_it() {
    let bench = Bench::new();
    let log = Log::new();
    let engine = Runtime::new(&bench.library, &log).expect("a runtime").load(&bench.file("toy.engine", TOY));
    drop(log);
    drop(engine.expect("loaded"));
}
