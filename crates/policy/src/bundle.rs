//! A bundle as it is loaded: its fingerprint, its stages' files, the tensor that closes its loop.

use super::{Error, LoadOptions, PolicySpec, fingerprint};
use vla_engines as engine;
use vla_engines::EngineKind;

/// Chunks carry the fingerprint of the files that made them: one that policy.yaml does not know is said and replaced,
/// and networks that were put into the bundle count.
pub(super) fn with_true_fingerprint(mut spec: PolicySpec) -> Result<PolicySpec, Error> {
    let files = spec.files();
    let found = fingerprint(&spec.dir, &files.iter().map(String::as_str).collect::<Vec<_>>())?;
    if found != spec.fingerprint {
        tracing::warn!(
            expected = %spec.fingerprint,
            %found,
            "files of the policy changed since it was made; chunks carry the fingerprint of what is there now"
        );
        spec.fingerprint = found;
    }
    let supplied = spec.supplied_files();
    if !supplied.is_empty() {
        let all: Vec<&str> = files.iter().chain(&supplied).map(String::as_str).collect();
        spec.fingerprint = fingerprint(&spec.dir, &all)?;
    }
    Ok(spec)
}

/// The bundle's stages with the files that this engine kind loads.
pub(super) fn stages(spec: &PolicySpec, options: &LoadOptions) -> Result<Vec<engine::Stage>, Error> {
    let mut missing = Vec::new();
    let mut stages = Vec::with_capacity(spec.stages.len());
    for described in &spec.stages {
        let mut stage = spec.stage_for(described, options.engine);
        if let Some(file) = options.stage_files.get(&stage.name) {
            stage.file.clone_from(file);
        }
        if options.engine == EngineKind::Onnx {
            // The network that is loaded is the one that is planned for.
            stage.onnx.clone_from(&stage.file);
        }
        stage.allow_unverified = options.allow_unverified.contains(&stage.name);
        stage.allow_inaccurate = options.allow_inaccurate.contains(&stage.name);
        let absent = options.engine == EngineKind::Onnx && !stage.file.is_file();
        if let Some(what) = spec.supplied.get(&stage.name).filter(|_| absent) {
            missing.push(format!(
                "stage '{name}': expected {}, found no such file: {what}. Put it there, with the weights that lie beside \
                 it, or set engines.{name}.path",
                stage.file.display(),
                name = stage.name
            ));
        }
        stages.push(stage);
    }
    if missing.is_empty() { Ok(stages) } else { Err(Error::Supplied { missing }) }
}

/// The tensor that holds the actions after the last repetition: the one that feeds `actions`.
pub(super) fn final_output(spec: &PolicySpec) -> Result<String, Error> {
    let outputs = spec.stages.iter().flat_map(|stage| &stage.outputs);
    let mut feeding = outputs.filter(|output| output.feeds.as_deref() == Some("actions"));
    feeding.next_back().map(|output| output.name.clone()).ok_or(Error::NoLoop)
}
