//! The demo policy and the sample bag, for tests that run the whole chain.
#![allow(dead_code)] // each test uses its part

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use vla_bags::BagReader;
use vla_base::tensor::DType;
use vla_export::synthetic_checkpoint::{self, Size};
use vla_export::{Family, bundle, demo};
use vla_messages::ActionChunkMessage;
use vla_offline::replay;
use vla_policy::PolicySpec;
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape, Settings, Value};

pub use crate::root;

/// The sample bag.
pub fn bag() -> PathBuf {
    root().join("data/aloha_cube")
}

/// The action chunks in the output of a replay.
pub fn chunks(bag: &Path) -> Vec<ActionChunkMessage> {
    let reader = BagReader::open(bag).expect("the output is a bag");
    let topic = reader.find(replay::ACTION_CHUNK_TOPIC).expect("its topic");
    let messages = reader.messages(&[topic]).expect("messages");
    messages.map(|message| ActionChunkMessage::parse(&message.expect("readable").data).expect("a chunk")).collect()
}

/// Parameters that fit the demo policy and the sample bag.
pub fn params() -> PathBuf {
    root().join("config/aloha.yaml")
}

/// Makes the demo policy in a folder that goes with the returned value.
pub fn policy() -> TempDir {
    policy_of(&vla_export::family::N1D6)
}

/// As [`policy`], of a release.
pub fn policy_of(family: &'static Family) -> TempDir {
    point_at_onnx_runtime();
    let dir = tempfile::tempdir().expect("a temporary folder");
    demo::bundle::write(family, dir.path(), 7).expect("the demo policy");
    dir
}

/// The same exported in half precision, the stages `single` in single precision.
pub fn policy_in_half_precision(single: &[&str]) -> TempDir {
    point_at_onnx_runtime();
    let (checkpoint, dir) = (tempfile::tempdir().expect("scratch"), tempfile::tempdir().expect("scratch"));
    synthetic_checkpoint::fill_folder(
        &vla_export::family::N1D6,
        Size::Demo,
        7,
        checkpoint.path(),
        u64::MAX,
        &mut |_| {},
    )
    .expect("a checkpoint");
    let mut request = demo::bundle::request(&vla_export::family::N1D6, checkpoint.path());
    request.dtype = DType::F16;
    request.dtype_of = single.iter().map(|stage| ((*stage).to_owned(), DType::F32)).collect();
    bundle::write(&request, dir.path(), &mut |_| {}).expect("exports");
    dir
}

/// Settings of `config/aloha.yaml`, changed by `-p` style assignments.
pub fn settings(policy: &Path, assignments: &[&str]) -> Arc<Settings> {
    Arc::clone(parameters(policy, assignments).settings())
}

/// Parameters of `config/aloha.yaml`, changed by `-p` style assignments; `limits_file` is read.
pub fn parameters(policy: &Path, assignments: &[&str]) -> Parameters {
    let spec = PolicySpec::load(policy).expect("the demo policy's description");
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt").expect("a node name"));
    overrides.add_file(&params()).expect("config/aloha.yaml");
    for assignment in assignments {
        overrides.add_argument(assignment).expect("an assignment");
    }
    overrides.set("policy", Value::String(policy.to_string_lossy().into_owned()));
    let shape = PolicyShape::load(&spec).expect("the demo policy's processor");
    let mut parameters = Parameters::new(shape, &overrides).expect("settings of the demo");
    parameters.read_limits_file().unwrap_or_else(|problems| panic!("{problems}"));
    parameters
}

/// scripts/setup.sh puts the library there; a variable that is set already wins.
#[allow(unsafe_code)]
pub fn point_at_onnx_runtime() {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        return;
    }
    // A folder for each version.
    let versions = std::fs::read_dir(root().join(".cache/onnxruntime")).into_iter().flatten().flatten();
    let mut libraries = versions.map(|version| version.path().join("libonnxruntime.so"));
    if let Some(library) = libraries.find(|library| library.exists()) {
        // SAFETY: nextest gives each test a process of its own, and under `cargo test` every thread sets the same value.
        unsafe { std::env::set_var("ORT_DYLIB_PATH", library) };
    }
}
