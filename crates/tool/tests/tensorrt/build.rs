use super::*;
use std::collections::BTreeMap;
use std::io::{self, Write};
use vla_engines::profile::Profile;
use vla_tensorrt::{
    BuildOptions, BuildProgress, Built, Calibrator, Constraints, Severity, TacticSources, Version, build,
    build_calibrated,
};

/// A network with a dynamic input and two layers.
const NET: &[&str] = &[
    "name net",
    "activation 256",
    "payload 2500000",
    "input rows f32 ?x4",
    "output sum f32 ?x4",
    "layer /block.0/norm/Mul f32 normed",
    "layer /block.0/ids/Gather i32 gathered",
    "layer /block.0/Cast f32 cast",
];

fn rows(min: usize, opt: usize, max: usize) -> BTreeMap<String, Profile> {
    let profile = Profile { min: vec![min, 4], opt: vec![opt, 4], max: vec![max, 4] };
    BTreeMap::from([("rows".to_owned(), profile)])
}

fn options() -> BuildOptions {
    BuildOptions { profiles: vec![rows(1, 2, 8)], ..BuildOptions::default() }
}

fn has_precision_flags() -> bool {
    Library::headers().major < 11
}

impl Bench {
    fn build(&self, lines: &[&str], options: &BuildOptions) -> Result<(Built, Vec<u8>), Error> {
        let mut plan = Vec::new();
        let onnx = self.file("net.onnx", lines);
        build(&self.library, &self.log, &onnx, options, &mut plan, &mut |_| true).map(|built| (built, plan))
    }

    /// Lines of a plan that the stand-in's builder made.
    fn told(&self, options: &BuildOptions) -> Vec<String> {
        let (_, plan) = self.build(NET, options).expect("built");
        let end = plan.windows(5).position(|window| window == b"\nend\n").expect("the end of the text");
        String::from_utf8_lossy(&plan[..end])
            .lines()
            .filter_map(|line| line.strip_prefix("option "))
            .map(str::to_owned)
            .collect()
    }
}

fn assert_told(told: &[String], expected: &[&str]) {
    for line in expected {
        assert!(told.iter().any(|told| told == line), "'{line}' is missing in {told:#?}");
    }
}

#[test]
fn a_built_plan_is_written_in_pieces_and_loads() {
    struct Pieces(Vec<u8>, usize);
    impl Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            self.1 = self.1.max(piece.len());
            self.0.write(piece)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bench = Bench::new();
    let (onnx, mut out) = (bench.file("net.onnx", NET), Pieces(Vec::new(), 0));
    let built = build(&bench.library, &bench.log, &onnx, &options(), &mut out, &mut |_| true).expect("built");
    assert_eq!(built.bytes, out.0.len() as u64);
    assert_eq!((built.layers, built.fp32_layers), (3, 0));
    assert_eq!(built.inputs[0].spec.to_string(), "rows: f32 [?, 4]");
    assert_eq!(built.outputs[0].spec.to_string(), "sum: f32 [?, 4]");
    // From 10.13 on TensorRT writes as it builds; the stand-in does so in pieces of 1 MiB.
    if Library::headers() >= (Version { major: 10, minor: 13, patch: 0 }) {
        assert!(out.1 <= 1 << 20, "a piece of {} bytes", out.1);
    }
    let path = bench.path().join("net.engine");
    fs::write(&path, &out.0).expect("written");
    let engine = bench.runtime().load(&path).expect("loaded");
    assert_eq!(engine.inputs()[0].profile.as_ref().expect("an input").max, [8, 4]);
}

#[test]
fn options_reach_the_builder_and_defaults_are_plain() {
    let bench = Bench::new();
    let plain = bench.told(&options());
    assert_told(&plain, &["tf32=0", "aux_streams=0", "detailed=0", "profile 0 rows 1x4 2x4 8x4"]);
    assert!(!plain.iter().any(|line| line.starts_with("workspace") || line.starts_with("level")), "{plain:?}");
    let sources = TacticSources { edge_mask: true, ..TacticSources::default() };
    let told = bench.told(&BuildOptions {
        tf32: true,
        workspace_bytes: Some(1 << 28),
        tactic_dram_bytes: Some(1 << 27),
        optimization_level: Some(2),
        tactic_sources: Some(sources),
        aux_streams: Some(3),
        detailed_layers: true,
        profiles: vec![rows(1, 2, 8), rows(1, 1, 1)],
        ..options()
    });
    assert_told(
        &told,
        &[
            "tf32=1",
            "workspace=268435456",
            "tactic_dram=134217728",
            "level=2",
            "edge_mask=1",
            "jit=0",
            "aux_streams=3",
            "detailed=1",
            "profile 1 rows 1x4 1x4 1x4",
        ],
    );
    if Library::headers().major == 8 {
        assert_told(&plain, &["share_profiles=1", "faster_dynamic_shapes=1", "network_flags=1"]);
    } else {
        assert_told(&plain, &["network_flags=0"]);
    }
}

#[test]
fn precision_flags_reach_the_builder_or_are_refused_where_types_are_the_networks_own() {
    let bench = Bench::new();
    let half = BuildOptions { fp16: true, int8: true, constraints: Constraints::Prefer, ..options() };
    if has_precision_flags() {
        assert_told(&bench.told(&half), &["fp16=1", "int8=1", "prefer=1", "obey=0"]);
        assert_told(&bench.told(&options()), &["fp16=0", "int8=0", "prefer=0", "obey=0"]);
    } else {
        let error = bench.build(NET, &half).expect_err("no such flag");
        assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains("has no builder flag for FP16"), "{error}");
    }
    let bf16 = bench.build(NET, &BuildOptions { bf16: true, ..options() });
    assert_eq!(bf16.is_ok(), Library::headers().major == 10);
    let strong = bench.build(NET, &BuildOptions { strongly_typed: true, ..options() });
    assert_eq!(strong.is_ok(), Library::headers().major >= 10);
    let both = BuildOptions { strongly_typed: true, fp16: true, ..options() };
    assert!(bench.build(NET, &both).is_err());
}

#[test]
fn layers_are_held_in_single_precision_by_pattern() {
    let bench = Bench::new();
    let held = |pattern: &str| BuildOptions { fp32_layers: vec![pattern.to_owned()], ..options() };
    if !has_precision_flags() {
        assert!(matches!(bench.build(NET, &held("*norm*")).err(), Some(Error::Unsupported(_))));
        return;
    }
    let told = bench.told(&held("*"));
    assert_told(&told, &["precision /block.0/norm/Mul f32", "output_type /block.0/norm/Mul f32", "obey=1"]);
    // A layer on integers, or one that changes a type, has no precision.
    assert!(!told.iter().any(|line| line.contains("Gather") || line.contains("Cast")), "{told:?}");
    let (built, _) = bench.build(NET, &held("/block.*/norm*")).expect("built");
    assert_eq!(built.fp32_layers, 1);
    let error = bench.build(NET, &held("*norn*")).expect_err("a pattern that fits nothing");
    assert_eq!(error.to_string(), "no layer of the network fits '*norn*'");
}

#[test]
fn tensors_inside_the_network_become_outputs() {
    let bench = Bench::new();
    let with = |name: &str| BuildOptions { outputs: vec![name.to_owned()], ..options() };
    let (built, _) = bench.build(NET, &with("normed")).expect("built");
    assert_eq!(built.outputs.iter().map(|o| o.spec.name.as_str()).collect::<Vec<_>>(), ["sum", "normed"]);
    let error = bench.build(NET, &with("nothing")).expect_err("no such tensor");
    assert_eq!(error.to_string(), "no layer of the network makes a tensor 'nothing'");
}

#[test]
fn profiles_and_levels_that_do_not_fit_are_refused_before_the_build() {
    let bench = Bench::new();
    let error = bench.build(NET, &BuildOptions::default()).expect_err("a profile is needed");
    assert!(error.to_string().contains("'rows: f32 [?, 4]' has dynamic dimensions and needs a profile"), "{error}");
    let error = bench.build(NET, &BuildOptions { profiles: vec![rows(3, 2, 8)], ..options() }).expect_err("min > opt");
    assert!(error.to_string().contains("expected min <= opt <= max"), "{error}");
    assert!(!bench.log.tail().iter().any(|line| line.contains("building")), "{:?}", bench.log.tail());
}

#[test]
fn a_shape_inputs_profile_holds_its_values() {
    let bench = Bench::new();
    let net = ["name net", "input lengths i32 2 shape", "output sum f32 ?x4"];
    let profile = Profile { min: vec![1, 1], opt: vec![5, 7], max: vec![9, 9] };
    let profiles = vec![BTreeMap::from([("lengths".to_owned(), profile)])];
    let (_, plan) = bench.build(&net, &BuildOptions { profiles, ..options() }).expect("built");
    assert!(String::from_utf8_lossy(&plan).contains("option profile 0 lengths 1x1 5x7 9x9"));
}

#[test]
fn every_parser_error_is_told_with_its_node() {
    let bench = Bench::new();
    let net = ["error 12 /a/Foo Foo no importer for Foo", "error 40 /b/Bar Bar unsupported attribute"];
    let error = bench.build(&net, &options()).expect_err("refused");
    let Error::Parse { errors, .. } = &error else { panic!("{error:?}") };
    assert_eq!((errors.len(), errors[1].node), (2, Some(40)));
    let words = error.to_string();
    let named = Library::headers().major >= 10;
    let first = if named { "node 12 '/a/Foo' (Foo): no importer for Foo" } else { "node 12: no importer for Foo" };
    assert!(words.contains("net.onnx:\n") && words.contains(first), "{words}");
    assert!(words.contains("unsupported attribute"), "{words}");
}

#[test]
fn a_missing_or_unreadable_onnx_file_is_told() {
    let bench = Bench::new();
    let mut plan = Vec::new();
    let none = bench.path().join("none.onnx");
    let error = build(&bench.library, &bench.log, &none, &options(), &mut plan, &mut |_| true).expect_err("no file");
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("none.onnx"), "{error}");
    fs::write(&none, b"\x08\x07").expect("written");
    let error = build(&bench.library, &bench.log, &none, &options(), &mut plan, &mut |_| true).expect_err("not ONNX");
    assert!(matches!(error, Error::Parse { .. }), "{error:?}");
    assert!(error.to_string().contains("TensorRT: standin: ModelImporter: failed to parse"), "{error}");
    assert!(plan.is_empty());
}

#[test]
fn a_build_that_fails_carries_tensorrts_words() {
    let bench = Bench::new();
    let net: Vec<&str> = NET.iter().copied().chain(["refuse build"]).collect();
    let (reason, log) = refusal(bench.build(&net, &options()).expect_err("refused"));
    assert_eq!(reason, "TensorRT built no engine");
    assert_eq!(log, ["standin: Could not find any implementation for node {ForeignNode[/block]}."]);
}

#[test]
fn progress_comes_as_phases_with_steps_and_as_log_lines() {
    let bench = Bench::new();
    let mut seen = Vec::new();
    let net: Vec<&str> = NET.iter().copied().chain(["say 2 a warning of the parser", "say 4 noise"]).collect();
    let onnx = bench.file("net.onnx", &net);
    build(&bench.library, &bench.log, &onnx, &options(), &mut io::sink(), &mut |progress| {
        seen.push(match progress {
            BuildProgress::Begin { phase, parent, steps } => format!("begin {phase} in {parent:?}: {steps}"),
            BuildProgress::Step { phase, step } => format!("step {phase} {step}"),
            BuildProgress::End { phase } => format!("end {phase}"),
            BuildProgress::Line { severity, text } => format!("{severity:?} {text}"),
        });
        true
    })
    .expect("built");
    let warning = format!("{:?} a warning of the parser", Severity::Warning);
    assert_eq!(seen[..2], [warning, "Info standin: building net".to_owned()]);
    if Library::headers().major >= 10 {
        let nested =
            ["begin standin tactics in Some(\"standin build\"): 1", "step standin tactics 0", "end standin tactics"];
        let mut expected = vec!["begin standin build in None: 2"];
        expected.extend(nested);
        expected.push("step standin build 0");
        expected.extend(nested);
        expected.extend(["step standin build 1", "end standin build"]);
        assert_eq!(seen[2..2 + expected.len()], expected);
    }
}

#[test]
fn a_callers_stop_cancels_the_build_and_so_does_a_callers_panic() {
    let bench = Bench::new();
    let onnx = bench.file("net.onnx", NET);
    let mut plan = Vec::new();
    let mut cancelled = |stop: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send)| {
        let error = build(&bench.library, &bench.log, &onnx, &options(), &mut plan, stop).expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        // TensorRT 8 cannot be stopped: there the caller learns it at the end.
        assert_eq!(plan.is_empty(), Library::headers().major >= 10);
        plan.clear();
    };
    cancelled(&mut |progress| !matches!(progress, BuildProgress::Step { .. } | BuildProgress::Line { .. }));
    cancelled(&mut |_| panic!("a panic must not unwind into TensorRT"));
}

#[test]
fn a_writer_that_fails_ends_the_build_with_its_own_words() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bench = Bench::new();
    let onnx = bench.file("net.onnx", NET);
    let error = build(&bench.library, &bench.log, &onnx, &options(), &mut Full, &mut |_| true).expect_err("full");
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error:?}");
}

#[test]
fn a_timing_cache_goes_in_and_comes_out_and_a_foreign_one_is_passed_over() {
    let bench = Bench::new();
    let with = |cache: Option<&[u8]>| BuildOptions { timing_cache: cache.map(<[u8]>::to_vec), ..options() };
    let (first, _) = bench.build(NET, &with(None)).expect("built");
    assert_eq!((first.timing_cache.as_slice(), first.timing_cache_used), (b"timed net\n".as_slice(), false));
    let (second, _) = bench.build(NET, &with(Some(&first.timing_cache))).expect("built");
    assert!(second.timing_cache_used);
    assert_eq!(second.timing_cache, b"timed net\ntimed net\n");
    let (foreign, _) = bench.build(NET, &with(Some(b"other device"))).expect("built");
    assert_eq!((foreign.timing_cache.as_slice(), foreign.timing_cache_used), (b"timed net\n".as_slice(), false));
}

/// Three batches at addresses 1000, 2000, 3000.
#[derive(Default)]
struct Batches {
    given: u64,
    fails: bool,
    cache: Option<Vec<u8>>,
    stored: Vec<u8>,
}

impl Calibrator for Batches {
    fn batch_size(&self) -> usize {
        2
    }

    fn next(&mut self, inputs: &[&str], addresses: &mut Vec<u64>) -> Result<bool, String> {
        assert_eq!(inputs, ["rows"]);
        self.given += 1;
        if self.fails && self.given == 2 {
            return Err("sample 1: NaN".to_owned());
        }
        addresses.push(self.given * 1000);
        Ok(self.given <= 3)
    }

    fn cache(&self) -> Option<&[u8]> {
        self.cache.as_deref()
    }

    fn store(&mut self, cache: &[u8]) -> Result<(), String> {
        self.stored = cache.to_vec();
        Ok(())
    }
}

#[test]
fn calibration_takes_batches_writes_its_cache_and_uses_one_that_is_there() {
    let bench = Bench::new();
    let onnx = bench.file("net.onnx", NET);
    let shapes = BTreeMap::from([("rows".to_owned(), vec![5, 4])]);
    let int8 = BuildOptions { int8: has_precision_flags(), calibration_shapes: Some(shapes), ..options() };
    let run = |calibrator: &mut Batches, plan: &mut Vec<u8>| {
        build_calibrated(&bench.library, &bench.log, &onnx, &int8, calibrator, plan, &mut |_| true)
    };
    let (mut batches, mut plan) = (Batches::default(), Vec::new());
    let built = run(&mut batches, &mut plan);
    if !has_precision_flags() {
        assert!(built.expect_err("no calibration").to_string().contains("TensorRT 11 has no calibration"));
        return;
    }
    built.expect("built");
    let text = String::from_utf8_lossy(&plan).into_owned();
    assert!(text.contains("option calibration=3 batches of 2, addresses 6000"), "{}", &text[..800]);
    assert!(text.contains("option calibration_shapes=rows 5x4"), "{}", &text[..800]);
    assert_eq!(text.matches("profile rows").count(), 1, "its shapes are no profile of the engine: {}", &text[..800]);
    assert_eq!(batches.stored, b"standin cache of 3");

    let mut cached = Batches { cache: Some(b"kept".to_vec()), ..Batches::default() };
    plan.clear();
    run(&mut cached, &mut plan).expect("built");
    assert!(String::from_utf8_lossy(&plan).contains("option calibration=cache kept"));
    assert_eq!(cached.given, 0);

    let mut failing = Batches { fails: true, ..Batches::default() };
    let error = run(&mut failing, &mut Vec::new()).expect_err("a batch fails");
    assert_eq!(error.to_string(), "calibration failed: sample 1: NaN");
}

#[test]
fn a_missing_parser_library_is_told_at_the_build_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = format!("libnvinfer.so.{}", Library::headers().major);
    fs::copy(standin::folder().join(&name), dir.path().join(&name)).expect("copied");
    let library = Library::open_in(dir.path()).expect("libnvinfer is there");
    let bench = Bench::new();
    Runtime::new(&library, &bench.log).expect("no parser is needed to run");
    let onnx = bench.file("net.onnx", NET);
    let error = build(&library, &bench.log, &onnx, &options(), &mut io::sink(), &mut |_| true).expect_err("no parser");
    assert!(error.to_string().contains("libnvonnxparser.so"), "{error}");
}

/// An ONNX file that holds the stand-in's text, with one weight in a file beside it.
fn with_weight(bench: &Bench, name: &str) -> PathBuf {
    use prost::Message as _;
    use vla_engines::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    fs::write(bench.path().join("weights.data"), [7, 7, 7, 7, 9, 9, 9, 9]).expect("written");
    let weight = TensorProto {
        name: Some(name.into()),
        dims: vec![1],
        data_type: Some(1),
        data_location: Some(1),
        external_data: vec![entry("location", "weights.data"), entry("offset", "4"), entry("length", "4")],
        ..TensorProto::default()
    };
    let text = format!("standin\n{}\nend\n", NET.join("\n"));
    let graph = GraphProto { initializer: vec![weight], name: Some(text), ..GraphProto::default() };
    let path = bench.path().join("external.onnx");
    fs::write(&path, ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()).expect("written");
    path
}

#[test]
fn weights_beside_the_model_are_handed_over_mapped_where_the_parser_takes_them_so() {
    let bench = Bench::new();
    let headers = Library::headers();
    if (headers.major, headers.minor) < (10, 13) {
        eprintln!("SKIPPED: TensorRT {headers} reads external weights itself");
        return;
    }
    let mut plan = Vec::new();
    let onnx = with_weight(&bench, "w");
    build(&bench.library, &bench.log, &onnx, &options(), &mut plan, &mut |_| true).expect("built");
    let text = String::from_utf8_lossy(&plan);
    assert!(text.contains("option initializers=w 4 bytes from 9; "), "{}", &text[..800]);

    let onnx = with_weight(&bench, "refused");
    let error = build(&bench.library, &bench.log, &onnx, &options(), &mut plan, &mut |_| true).expect_err("refused");
    assert!(matches!(error, Error::Parse { .. }), "{error}");
}
