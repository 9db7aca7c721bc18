//! The engine kind itself, on the stand-ins of TensorRT and of CUDA's driver: what safe code may not break. Each test is a
//! process of its own, since the loader takes its search path at the start.

use std::process::Command;

use super::*;
use vla_base::tensor::{DType, HostTensor};
use vla_engines::{Backend as _, BufferSpec};
use vla_tensorrt::device::{LoadedEngine, Options, Tensorrt};

/// Set in the process that has the stand-ins on its path.
const INSIDE: &str = "VLA_TRT_TEST_WITH_STANDINS";

/// Runs `test`, which has this name, where the loader finds the stand-ins.
fn with_standins(name: &str, environment: &[(&str, &str)], test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([&format!("device::{name}"), "--exact", "--nocapture", "--test-threads", "1"]);
    command.env(INSIDE, "1").env("LD_LIBRARY_PATH", standin::folder()).envs(environment.iter().copied());
    let output = command.output().expect("it ran");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
}

fn open() -> Tensorrt {
    Tensorrt::open(Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn load(device: &mut Tensorrt, bench: &Bench) -> LoadedEngine {
    let file = bench.file("toy.engine", TOY);
    device.load_file("toy", &file).unwrap_or_else(|error| panic!("{error}"))
}

/// The tensors of the toy: rows, ids, doubled; with this many rows.
fn tensors(rows: usize) -> [BufferSpec; 3] {
    let of = |dtype, dims: &[usize], upload, download| BufferSpec { dtype, dims: dims.to_vec(), upload, download };
    [
        of(DType::F32, &[rows, 4], true, false),
        of(DType::I32, &[3], true, false),
        of(DType::F32, &[rows, 4], false, true),
    ]
}

/// The toy's own name of a tensor, and the place that it is bound to.
type To = (String, usize);

fn bound_to(at: &[usize; 3]) -> ([To; 2], [To; 1]) {
    let [rows, ids, doubled] = *at;
    ([("rows".to_owned(), rows), ("ids".to_owned(), ids)], [("doubled".to_owned(), doubled)])
}

const INPUTS_AND_OUTPUTS: [usize; 3] = [0, 1, 2];

#[test]
fn a_pass_runs_and_is_recorded_and_replayed_on_its_own_workspace() {
    with_standins("a_pass_runs_and_is_recorded_and_replayed_on_its_own_workspace", &[], || {
        let (bench, mut device) = (Bench::new(), open());
        let mut plan = load(&mut device, &bench);
        let mut workspace = device.workspace(&tensors(2), 1).expect("a workspace");
        let (inputs, outputs) = bound_to(&INPUTS_AND_OUTPUTS);
        let mut bound = device.bind(&mut plan, &mut workspace, &inputs, &outputs).expect("bound");
        let rows = HostTensor::from_f32(&[2, 4], (0..8u8).map(f32::from).collect()).expect("whole");
        device.write(&mut workspace, 0, &rows).expect("written");
        let mut pass = |device: &mut Tensorrt, workspace: &mut _| -> Result<(), vla_engines::Error> {
            device.upload(workspace)?;
            device.run(&mut plan, &mut bound, workspace).expect("runs");
            device.download(workspace)
        };
        pass(&mut device, &mut workspace).expect("runs");
        device.finish().expect("finished");
        let mut doubled = HostTensor::zeros(DType::F32, &[2, 4]).expect("small");
        device.downloaded(&workspace, 2, &mut doubled).expect("downloaded");
        assert_eq!(doubled.as_f32().expect("f32"), (0..8u8).map(|n| 2.0 * f32::from(n)).collect::<Vec<_>>());
        let mut recording = device.record(&mut workspace, &mut pass).expect("recorded").expect("a graph");
        device.replay(&mut recording, &mut workspace).expect("replayed");
        device.finish().expect("finished");
    });
}

#[test]
fn a_bound_engine_and_a_recording_are_refused_on_another_workspace() {
    with_standins("a_bound_engine_and_a_recording_are_refused_on_another_workspace", &[], || {
        let (bench, mut device) = (Bench::new(), open());
        let mut plan = load(&mut device, &bench);
        let mut first = device.workspace(&tensors(2), 1).expect("a workspace");
        let (inputs, outputs) = bound_to(&INPUTS_AND_OUTPUTS);
        let mut bound = device.bind(&mut plan, &mut first, &inputs, &outputs).expect("bound");
        let mut recording = {
            let mut pass = |device: &mut Tensorrt, workspace: &mut _| -> Result<(), vla_engines::Error> {
                device.run(&mut plan, &mut bound, workspace).expect("runs");
                Ok(())
            };
            device.record(&mut first, &mut pass).expect("recorded").expect("a graph")
        };
        // Its memory is gone: the addresses that both hold are anybody's.
        drop(first);
        let mut second = device.workspace(&tensors(2), 1).expect("a workspace");
        device.bind(&mut plan, &mut second, &inputs, &outputs).expect("bound");
        let error = device.run(&mut plan, &mut bound, &mut second).expect_err("of another workspace");
        assert!(error.to_string().contains("bound to another workspace"), "{error}");
        let error = device.replay(&mut recording, &mut second).expect_err("of another workspace").to_string();
        assert!(error.contains("captured on another workspace"), "{error}");
    });
}

#[test]
fn a_capture_takes_no_other_workspace_and_a_workspace_no_other_device() {
    with_standins("a_capture_takes_no_other_workspace_and_a_workspace_no_other_device", &[], || {
        let (bench, mut device, mut other) = (Bench::new(), open(), open());
        let mut plan = load(&mut device, &bench);
        let mut workspaces = [2, 3].map(|rows| device.workspace(&tensors(rows), 1).expect("a workspace"));
        let (inputs, outputs) = bound_to(&INPUTS_AND_OUTPUTS);
        let [captured, stranger] = &mut workspaces;
        let mut bound = device.bind(&mut plan, stranger, &inputs, &outputs).expect("bound");
        let mut seen = None;
        let mut pass = |device: &mut Tensorrt, _: &mut _| -> Result<(), vla_engines::Error> {
            seen = device.run(&mut plan, &mut bound, stranger).err();
            device.upload(stranger)
        };
        let recorded = device.record(captured, &mut pass).expect("goes on without a graph");
        assert!(recorded.is_none(), "nothing that holds a stranger's addresses");
        assert!(seen.is_some_and(|error| error.to_string().contains("another workspace is being captured")));
        let [workspace, _] = &mut workspaces;
        let error = other.bind(&mut plan, workspace, &inputs, &outputs).map(drop).expect_err("of another device");
        assert!(error.to_string().contains("the workspace is of another device"), "{error}");
    });
}

#[test]
fn places_that_are_smaller_than_the_shapes_of_a_context_are_refused_when_they_are_bound() {
    with_standins("places_that_are_smaller_than_the_shapes_of_a_context_are_refused_when_they_are_bound", &[], || {
        let (bench, mut device) = (Bench::new(), open());
        let mut plan = load(&mut device, &bench);
        let buffers: Vec<BufferSpec> = tensors(8).into_iter().chain(tensors(1)).collect();
        let mut workspace = device.workspace(&buffers, 1).expect("a workspace");
        let (inputs, outputs) = bound_to(&INPUTS_AND_OUTPUTS);
        device.bind(&mut plan, &mut workspace, &inputs, &outputs).expect("eight rows");
        // The context has eight rows by now; these places are of one.
        for at in [[3, 1, 2], [0, 1, 5]] {
            let (inputs, outputs) = bound_to(&at);
            let error = device.bind(&mut plan, &mut workspace, &inputs, &outputs).map(drop).expect_err("too small");
            assert!(error.to_string().contains("does not fit its buffer of 16 bytes"), "{error}");
        }
    });
}

#[test]
fn an_engine_with_tensors_in_host_memory_is_refused_by_name_when_it_is_loaded() {
    with_standins("an_engine_with_tensors_in_host_memory_is_refused_by_name_when_it_is_loaded", &[], || {
        let (bench, mut device) = (Bench::new(), open());
        let file = bench.file("shape.engine", &toy_with(&["input size i32 2 host shape"]));
        let error = device.load_file("resize", &file).map(drop).expect_err("refused");
        let vla_engines::Error::Load { stage, source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(stage, "resize");
        assert!(source.to_string().starts_with("'size' of the engine lies in host memory"), "{source}");
    });
}

#[test]
fn a_failed_enqueue_is_no_lost_device_while_the_driver_answers() {
    with_standins("a_failed_enqueue_is_no_lost_device_while_the_driver_answers", &[], || {
        let (bench, mut device) = (Bench::new(), open());
        let file = bench.file("cask.engine", &toy_with(&["refuse enqueue"]));
        let mut plan = device.load_file("toy", &file).expect("loaded");
        let mut workspace = device.workspace(&tensors(2), 1).expect("a workspace");
        let (inputs, outputs) = bound_to(&INPUTS_AND_OUTPUTS);
        let mut bound = device.bind(&mut plan, &mut workspace, &inputs, &outputs).expect("bound");
        let error = device.run(&mut plan, &mut bound, &mut workspace).expect_err("refused");
        assert!(error.to_string().contains("[cask] unknown internal error"), "{error}");
        assert_eq!(error.class(), vla_engines::ErrorClass::Other, "the stand-in's device is not lost");
    });
}

#[test]
fn on_unified_memory_the_drivers_figure_counts_unless_memavailable_is_asked_for() {
    let environment = [("STANDIN_INTEGRATED", "1"), ("STANDIN_DEVICE_FREE_MIB", "77")];
    with_standins("on_unified_memory_the_drivers_figure_counts_unless_memavailable_is_asked_for", &environment, || {
        let pool = open().pool();
        assert!(pool.integrated && pool.unified());
        assert_eq!(pool.free(false), 77 << 20);
        assert_eq!(pool.free(true), pool.available);
    });
}
