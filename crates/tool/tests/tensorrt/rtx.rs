//! TensorRT-RTX's half of the shim, on the stand-in compiled against its headers: the two libraries side by side, engines of the
//! other one, the runtime cache. Its real parser and builder: `rtx_real`.

use std::process::Command;
use std::sync::Arc;

use super::*;
use vla_engines::{Backend as _, BufferSpec};
use vla_tensorrt::device::{Options, Tensorrt};
use vla_tensorrt::{BuildOptions, Family, build};

/// The first bytes of an engine of TensorRT-RTX 1.7.1.
const RTX_HEAD: &[u8] = b"vtrt\0\0\0\0\x02\0\0\0\0\0\0\0\xb4\x40\x22\0\0\0\0\0\x01\x07\x01\x74";

fn rtx() -> Option<Bench> {
    let library = Library::open_family(Family::Rtx, Some(&standin::rtx_folder()?)).expect("the stand-in");
    Some(Bench { dir: tempfile::tempdir().expect("a folder"), library, log: Log::new() })
}

#[test]
fn both_libraries_are_open_at_once_and_each_engine_stays_with_its_own() {
    let (Some(rtx), tensorrt) = (rtx(), Bench::new()) else { return };
    assert_eq!((rtx.library.family(), tensorrt.library.family()), (Family::Rtx, Family::Tensorrt));
    assert_eq!(Some(rtx.library.version()), Family::Rtx.headers());
    assert!(rtx.library.record_name().starts_with("RTX 1."), "{}", rtx.library.record_name());
    // The stand-ins are two libraries with classes of the same names and other virtual functions.
    for bench in [&rtx, &tensorrt, &rtx] {
        let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
        assert_eq!((engine.name(), engine.layers(), engine.profiles()), ("toy", 5, 2));
        let mut context = engine.context(0).expect("a context");
        context.set_shape("rows", &[2, 4]).expect("inside the profile");
        assert_eq!(context.shape("doubled").expect("known"), [2, 4]);
    }
}

#[test]
fn an_engine_of_the_other_library_is_refused_before_it_is_deserialized() {
    let tensorrt = Bench::new();
    let of_rtx = tensorrt.path().join("rtx.engine");
    fs::write(&of_rtx, RTX_HEAD).expect("written");
    match tensorrt.runtime().load(&of_rtx).err().expect("refused") {
        Error::OtherFamily { found: Family::Rtx, expected: Family::Tensorrt, file } => assert_eq!(file, of_rtx),
        other => panic!("expected the other family, found {other}"),
    }
    let Some(rtx) = rtx() else { return };
    let of_tensorrt = rtx.path().join("tensorrt.engine");
    fs::write(&of_tensorrt, b"ftrt and the rest of a plan").expect("written");
    let error = rtx.runtime().load(&of_tensorrt).err().expect("refused");
    assert!(matches!(error, Error::OtherFamily { found: Family::Tensorrt, expected: Family::Rtx, .. }), "{error}");
    // One of its own that is damaged reaches the library, which refuses it.
    fs::write(&of_tensorrt, RTX_HEAD).expect("written");
    assert!(matches!(rtx.runtime().load(&of_tensorrt).err(), Some(Error::Refused { .. })));
}

#[test]
fn compute_capabilities_are_for_tensorrt_rtx() {
    let bench = Bench::new();
    let onnx = bench.file("net.onnx", &["name net", "input x f32 4", "output y f32 4", "layer /a f32 y"]);
    let compute_capabilities = vec!["sm86".parse().expect("a compute capability")];
    let options = BuildOptions { compute_capabilities, ..BuildOptions::default() };
    let built = build(&bench.library, &bench.log, &onnx, &options, &mut Vec::new(), &mut |_| true);
    assert!(matches!(built, Err(Error::Unsupported(_))), "{built:?}");
}

#[test]
fn a_runtime_cache_is_filled_by_contexts_and_taken_by_the_next_load() {
    let Some(bench) = rtx() else { return };
    let engine = bench.runtime().load(&bench.file("toy.engine", TOY)).expect("loaded");
    let cache = Arc::new(engine.runtime_cache(&[]).expect("a cache"));
    assert!(!cache.used());
    let contexts =
        [engine.context_with(0, &cache), engine.context_with(0, &cache)].map(|made| made.expect("a context"));
    let bytes = cache.bytes().expect("serialized");
    assert_eq!(bytes, b"standin kernels 2");
    drop(contexts);
    assert!(engine.runtime_cache(&bytes).expect("a cache").used());
    let other = engine.runtime_cache(b"of another driver").expect("an empty cache");
    assert!(!other.used());
    let second = bench.runtime().load(&bench.file("second.engine", TOY)).expect("loaded");
    assert!(matches!(second.context_with(0, &cache), Err(Error::Argument(_))), "a cache of another engine");
    let tensorrt = Bench::new();
    let engine = tensorrt.runtime().load(&tensorrt.file("toy.engine", TOY)).expect("loaded");
    assert!(matches!(engine.runtime_cache(&[]), Err(Error::Unsupported(_))));
}

/// Runs `test`, which has this name, in a process whose loader finds the folder's libraries.
fn with_path(name: &str, folder: &Path, environment: &[(&str, &str)], test: impl FnOnce()) {
    const INSIDE: &str = "VLA_TRT_TEST_WITH_RTX_STANDINS";
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([&format!("rtx::{name}"), "--exact", "--nocapture", "--test-threads", "1"]);
    command.env(INSIDE, "1").env("LD_LIBRARY_PATH", folder).envs(environment.iter().copied());
    let output = command.output().expect("it ran");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
}

#[test]
fn where_tensorrt_rtx_is_the_only_library_engines_run_with_it_and_their_kernels_are_kept() {
    let Some(folder) = standin::rtx_folder() else { return };
    let name = "where_tensorrt_rtx_is_the_only_library_engines_run_with_it_and_their_kernels_are_kept";
    with_path(name, &folder, &[], || {
        let bench = Bench {
            dir: tempfile::tempdir().expect("a folder"),
            library: Library::open().expect("the only library"),
            log: Log::new(),
        };
        let file = bench.file("toy.engine", TOY);
        let kept = bench.path().join("toy.engine.runtime_cache");
        let run = || {
            let mut device = Tensorrt::open(Options::default()).unwrap_or_else(|error| panic!("{error}"));
            assert!(device.identity().tensorrt.starts_with("RTX "), "{:?}", device.identity());
            let mut engine = device.load_file("toy", &file).unwrap_or_else(|error| panic!("{error}"));
            let of = |dtype, dims: &[usize]| BufferSpec { dtype, dims: dims.to_vec(), upload: true, download: true };
            let buffers = [
                of(vla_base::tensor::DType::F32, &[2, 4]),
                of(vla_base::tensor::DType::I32, &[3]),
                of(vla_base::tensor::DType::F32, &[2, 4]),
            ];
            let mut workspace = device.workspace(&buffers, 0).expect("a workspace");
            let inputs = [("rows".to_owned(), 0), ("ids".to_owned(), 1)];
            let mut bound =
                device.bind(&mut engine, &mut workspace, &inputs, &[("doubled".to_owned(), 2)]).expect("bound");
            device.run(&mut engine, &mut bound, &mut workspace).expect("runs");
            device.finish().expect("finished");
            device.release_load_memory(&engine);
            fs::read_to_string(&kept).expect("kept")
        };
        assert_eq!(run(), "standin kernels 1");
        assert_eq!(run(), "standin kernels 2");
        fs::write(&kept, "of another driver").expect("written");
        assert_eq!(run(), "standin kernels 1");
    });
}

#[test]
fn the_variable_chooses_the_library() {
    let Some(folder) = standin::rtx_folder() else { return };
    let both = format!("{}:{}", standin::folder().display(), folder.display());
    let name = "the_variable_chooses_the_library";
    for (value, expected) in
        [("tensorrt_rtx", "tensorrt_rtx"), ("tensorrt", "tensorrt"), ("", "tensorrt"), ("rtx", "none")]
    {
        let environment = [(vla_tensorrt::FAMILY_VARIABLE, value), ("VLA_TRT_TEST_EXPECTED", expected)];
        with_path(name, Path::new(&both), &environment, || {
            let opened = Library::open().map(|library| library.family().to_string());
            match std::env::var("VLA_TRT_TEST_EXPECTED").expect("set").as_str() {
                "none" => assert!(matches!(opened, Err(Error::Argument(_))), "{opened:?}"),
                expected => assert_eq!(opened.expect("opened"), expected),
            }
        });
    }
}
