use super::*;
use vla_base::tensor::DType;
use vla_tensorrt::LoadPath;

#[test]
fn an_engine_tells_its_tensors_profiles_layers_and_memory() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
    let specs =
        |tensors: &[vla_tensorrt::Tensor]| tensors.iter().map(|tensor| tensor.spec.to_string()).collect::<Vec<_>>();
    assert_eq!(specs(engine.inputs()), ["rows: f32 [?, 4]", "ids: i32 [3]"]);
    assert_eq!(specs(engine.outputs()), ["doubled: f32 [?, 4]"]);
    let rows = engine.inputs()[0].profile.as_ref().expect("an input has a profile");
    assert_eq!((&rows.min[..], &rows.opt[..], &rows.max[..]), (&[1, 4][..], &[2, 4][..], &[8, 4][..]));
    assert_eq!(engine.inputs()[1].profile.as_ref().expect("an input has a profile").max, [3]);
    assert_eq!(engine.outputs()[0].profile, None);
    assert_eq!((engine.name(), engine.layers(), engine.profiles(), engine.activation_bytes()), ("toy", 5, 2, 4096));
    assert!(!engine.is_hardware_compatible());
    assert_eq!(engine.profile("rows", 1).expect("known").expect("an input").opt, [2, 4]);
    assert_eq!(engine.profile("doubled", 0).expect("known"), None);
    assert!(engine.profile("rows", 2).is_err() && engine.profile("row", 0).is_err());
    let second = if Library::headers().major == 8 { 4096 } else { 2048 };
    assert_eq!(engine.profile_activation_bytes(1).expect("known"), second);
    assert!(engine.profile_activation_bytes(2).is_err());
    let has_stat = Library::headers() >= vla_tensorrt::Version { major: 10, minor: 16, patch: 0 };
    assert_eq!(engine.weights_bytes(), has_stat.then_some(0));
}

#[test]
fn shape_inputs_lie_on_the_host_and_every_element_type_is_carried() {
    let bench = Bench::new();
    let mut lines = vec!["input lengths i32 2 host shape", "input a f16 1", "input b u8 1", "output c bool -"];
    let mut types = vec![DType::I32, DType::F16, DType::U8];
    if Library::headers().major >= 10 {
        lines.extend(["input d bf16 1", "input e i64 1"]);
        types.extend([DType::BF16, DType::I64]);
    }
    let engine = bench.runtime().load(&bench.file("types.engine", &lines)).expect("loaded");
    assert_eq!(engine.inputs().iter().map(|tensor| tensor.spec.dtype).collect::<Vec<_>>(), types);
    assert_eq!(engine.outputs()[0].spec.dtype, DType::Bool);
    assert!(engine.outputs()[0].spec.dims.is_empty());
    assert!(engine.inputs()[0].on_host && engine.inputs()[0].is_shape);
    assert!(!engine.inputs()[1].on_host && !engine.inputs()[1].is_shape);
}

#[test]
fn tensors_that_nobody_here_could_fill_are_refused_by_name() {
    let bench = Bench::new();
    let refused = |line: &str| {
        let error = bench.runtime().load(&bench.file("odd.engine", &[line])).err().expect("refused");
        assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
        error.to_string()
    };
    assert!(refused("input quantised i8 4").contains("tensor 'quantised' is of element type int8"));
    assert!(
        refused("input packed f32 4 vectorised").contains("tensor 'packed' of the engine is not stored row by row")
    );
}

#[test]
fn a_plan_of_many_pieces_loads_through_what_this_version_has() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("large.engine", &toy_with(&["payload 41000123"]))).expect("loaded");
    assert_eq!(engine.layers(), 5);
    let how = match Bench::new().library.load_path() {
        LoadPath::Mapped => "buffer",
        LoadPath::Reader => "IStreamReader",
        LoadPath::ReaderV2 => "IStreamReaderV2",
    };
    let line = format!("standin: loaded through {how} in 40 reads");
    assert!(bench.log.tail().contains(&line), "{:?}", bench.log.tail());
    let expected = match Library::headers() {
        version if version.major < 10 => LoadPath::Mapped,
        version if version.major == 10 && version.minor < 7 => LoadPath::Reader,
        _ => LoadPath::ReaderV2,
    };
    assert_eq!(Bench::new().library.load_path(), expected);
}

/// Anonymous memory of this process, in bytes.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a recent kernel");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn a_load_never_holds_the_file_in_anonymous_memory() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let bench = Bench::new();
    let size = 128 << 20;
    let path = bench.file("large.engine", &toy_with(&[&format!("payload {size}")]));
    let runtime = bench.runtime();
    let (before, done) = (anonymous(), AtomicBool::new(false));
    let peak = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(anonymous());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            peak
        });
        let engine = runtime.load(&path);
        done.store(true, Ordering::Relaxed);
        engine.expect("loaded");
        watch.join().expect("no panic")
    });
    let grown = peak.saturating_sub(before);
    assert!(peak > 0 && grown < size / 4, "{grown} bytes of anonymous memory for a file of {size}");
}

#[test]
fn reads_into_device_and_pinned_memory_wait_for_the_stream_and_arrive() {
    if Bench::new().library.load_path() != LoadPath::ReaderV2 {
        eprintln!("SKIPPED: only IStreamReaderV2 reads into device memory");
        return;
    }
    let bench = Bench::new();
    bench.runtime().load(&bench.file("device.engine", &toy_with(&["device", "payload 30000001"]))).expect("loaded");
}

#[test]
fn truncated_flipped_and_foreign_files_are_refused_with_tensorrts_words() {
    let bench = Bench::new();
    let whole = fs::read(bench.file("whole.engine", &toy_with(&["payload 3000000"]))).expect("read");
    let path = bench.path().join("broken.engine");
    let load = |content: &[u8]| {
        fs::write(&path, content).expect("written");
        let (reason, log) = refusal(bench.runtime().load(&path).err().expect("refused"));
        assert_eq!(reason, "TensorRT refuses to deserialize this engine");
        log.join("\n")
    };
    assert!(load(&whole[..whole.len() - 1000]).contains("the plan ends early"));
    let mut flipped = whole.clone();
    let at = flipped.len() - 7;
    flipped[at] ^= 4;
    assert!(load(&flipped).contains("Magic tag does not match"));
    assert!(load(b"\x08\x01onnx, not a plan").contains("this is not a plan"));
    assert!(load(&fs::read(bench.file("r.engine", &["refuse deserialize"])).expect("read")).contains("version tag"));
}

#[test]
fn a_missing_empty_or_unreadable_file_is_told_before_tensorrt_sees_it() {
    let bench = Bench::new();
    let empty = bench.path().join("empty.engine");
    fs::write(&empty, b"").expect("written");
    let runtime = bench.runtime();
    let before = bench.log.tail();
    for (path, words) in [
        (bench.path().join("none.engine"), "No such file"),
        (empty, "the file is empty"),
        (bench.path().to_owned(), "not a regular file"),
    ] {
        let error = runtime.load(&path).err().expect("refused");
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(words) && error.to_string().contains("reading engine"), "{error}");
    }
    assert_eq!(bench.log.tail(), before);
}

#[test]
fn the_warning_of_another_device_model_is_recognised_and_cleared() {
    let bench = Bench::new();
    let warning = "Using an engine plan file across different models of devices is not recommended and is likely to \
                   affect performance or even cause errors.";
    let say = format!("say 2 {warning}");
    bench.runtime().load(&bench.file("foreign.engine", &toy_with(&[&say]))).expect("it loads all the same");
    assert_eq!(bench.log.other_device().as_deref(), Some(warning));
    bench.log.clear();
    bench.runtime().load(&bench.file("own.engine", TOY)).expect("loaded");
    assert_eq!(bench.log.other_device(), None);
}

#[test]
fn a_log_made_later_hears_the_warning_of_another_device_model_too() {
    let bench = Bench::new();
    bench.runtime().load(&bench.file("own.engine", TOY)).expect("loaded");
    // As after ~/reload: TensorRT keeps the logger that it got first, and warns through that one.
    let Bench { dir, library, log } = bench;
    drop(log);
    let bench = Bench { dir, library, log: Log::new() };
    let say = "say 2 Using an engine plan file across different models of devices is not recommended";
    bench.runtime().load(&bench.file("foreign.engine", &toy_with(&[say]))).expect("it loads all the same");
    assert!(bench.log.other_device().is_some(), "{:?}", bench.log.tail());
}

#[test]
fn an_engine_that_cannot_be_described_is_refused_with_tensorrts_words() {
    let bench = Bench::new();
    let path = bench.file("toy.engine", &toy_with(&["refuse describe"]));
    let (reason, log) = refusal(bench.runtime().load(&path).err().expect("refused"));
    assert!(reason.contains("'rows' has rank -1"), "{reason}");
    assert_eq!(log, ["standin: Error Code 4: no shape of rows"]);
}

#[test]
fn tensors_in_host_memory_can_be_inspected_and_are_refused_by_name_for_running() {
    let bench = Bench::new();
    let more = toy_with(&["input size i32 2 host shape", "output sizes i32 2 host shape"]);
    let engine = bench.runtime().load(&bench.file("shape.engine", &more)).expect("loaded");
    assert!(engine.inputs().iter().any(|tensor| tensor.spec.name == "size" && tensor.on_host));
    let error = engine.check_locations().expect_err("in host memory");
    assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    assert!(error.to_string().starts_with("'size', 'sizes' of the engine lies in host memory"), "{error}");
    let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
    engine.check_locations().expect("on the device");
}

#[test]
fn an_engine_built_with_detailed_layers_is_inspected_as_json() {
    let bench = Bench::new();
    let engine = bench.runtime().load(&bench.file("toy.engine", &toy_with(&["option level=3"]))).expect("loaded");
    assert_eq!(engine.inspect().expect("JSON"), r#"{"Layers": ["level=3"]}"#);
}
