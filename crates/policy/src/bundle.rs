//! A bundle to load: its fingerprint, the files of its stages, the output of its denoising loop.

use super::{Error, LoadOptions, PolicySpec, fingerprint};
use vla_engines::{EngineKind, Stage};

/// Replaces the fingerprint of policy.yaml by that of the files that are loaded, with a warning when they differ. Networks that
/// were added to the bundle count.
pub(super) fn with_true_fingerprint(mut spec: PolicySpec) -> Result<PolicySpec, Error> {
    let files = spec.files();
    let found = fingerprint(&spec.dir, &files.iter().map(String::as_str).collect::<Vec<_>>())?;
    if found != spec.fingerprint {
        tracing::warn!(
            expected = %spec.fingerprint,
            %found,
            "files of the policy changed since it was exported; chunks carry the fingerprint of the current files"
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
pub(super) fn stages(spec: &PolicySpec, options: &LoadOptions) -> Result<Vec<Stage>, Error> {
    let mut missing = Vec::new();
    let mut stages = Vec::with_capacity(spec.stages.len());
    for described in &spec.stages {
        let mut stage = spec.stage_for(described, options.engine);
        if let Some(file) = options.stage_files.get(&stage.name) {
            stage.file.clone_from(file);
        }
        if options.engine == EngineKind::Onnx {
            // The loaded network is also the one in the memory plan.
            stage.onnx.clone_from(&stage.file);
        }
        stage.allow_unverified = options.allow_unverified.contains(&stage.name);
        stage.allow_inaccurate = options.allow_inaccurate.contains(&stage.name);
        let absent = options.engine == EngineKind::Onnx && !stage.file.is_file();
        if let Some(what) = spec.supplied.get(&stage.name).filter(|_| absent) {
            missing.push(format!(
                "stage '{name}': {} does not exist: {what}. Copy it there with its weight files, or set \
                 engines.{name}.path",
                stage.file.display(),
                name = stage.name
            ));
        }
        stages.push(stage);
    }
    if missing.is_empty() { Ok(stages) } else { Err(Error::Supplied { missing }) }
}

/// The tensor of the actions after the last denoising step: the one that feeds `actions`.
pub(super) fn final_output(spec: &PolicySpec) -> Result<String, Error> {
    let outputs = spec.stages.iter().flat_map(|stage| &stage.outputs);
    let mut feeding = outputs.filter(|output| output.feeds.as_deref() == Some("actions"));
    feeding.next_back().map(|output| output.name.clone()).ok_or(Error::NoLoop)
}
