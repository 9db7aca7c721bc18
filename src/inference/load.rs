//! Loading the policy, with progress in diagnostics and log.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use crate::phase::Phase;
use crate::report::Engines;
use vla_engines::LoadEvent;
use vla_engines::memory::mib;
use vla_policy::spec::POLICY_FILE;
use vla_policy::{FrameSizes, PolicySpec, Progress};
use vla_runtime::parameters::PolicyShape;
use vla_runtime::session;
use vla_runtime::session::Session;

/// Why no policy was loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The policy or its engines.
    #[error(transparent)]
    Session(Box<session::Error>),
    /// Its description.
    #[error("{0}")]
    Description(String),
}

impl From<session::Error> for Error {
    fn from(error: session::Error) -> Self {
        Self::Session(Box::new(error))
    }
}

impl Error {
    /// Whether only a new start of the node can help.
    pub(super) fn needs_restart(&self) -> bool {
        matches!(self, Self::Session(error) if error.needs_restart())
    }
}

/// Reads the policy's description again and loads the policy with the settings in force.
///
/// # Errors
/// The error of the policy; a description that does not fit the declared parameters.
pub(super) fn load(folder: &Path, shape: &PolicyShape, shared: &Shared) -> Result<Session, Error> {
    let started = Instant::now();
    shared.phase.set(Phase::Planning);
    let settings = shared.settings.get();
    let spec = described(folder, shape).map_err(Error::Description)?;
    // Frames of another size are refused on arrival, so that the input is in error before the first inference.
    let frames = FrameSizes::load(&spec).map_err(|error| Error::Description(error.to_string()))?;
    shared.inputs.set_frame_check(frames.into_check());
    let mut progress = |step: Progress| report_progress(shared, &step);
    let session = Session::load(spec, &settings, &mut progress)?;
    let policy = session.policy();
    let engines = Engines {
        policy: policy.spec().name.clone(),
        fingerprint: policy.spec().fingerprint.clone(),
        files: policy.files().clone(),
        kind: policy.engine_kind().to_owned(),
        stages: policy.load_reports().to_vec(),
        duration: started.elapsed(),
    };
    let (stages, seconds) = (engines.stages.len(), engines.duration.as_secs_f64());
    tracing::info!("policy {} ready: {stages} {} engines in {seconds:.2} s", policy.spec().name, engines.kind);
    shared.report.update(|report| report.engines = Some(Arc::new(engines)));
    Ok(session)
}

/// The policy on disk. The parameters were declared for `shape`, which only a restart can change.
fn described(folder: &Path, shape: &PolicyShape) -> Result<PolicySpec, String> {
    let spec = PolicySpec::load(folder).map_err(|error| error.to_string())?;
    let differences = shape.differences(&PolicyShape::load(&spec).map_err(|error| error.to_string())?);
    if differences.is_empty() {
        return Ok(spec);
    }
    Err(format!(
        "{} no longer fits the parameters that this node declared at its start: {}; restart the node, or restore the former \
         policy and call ~/reload",
        folder.join(POLICY_FILE).display(),
        differences.join("; ")
    ))
}

fn report_progress(shared: &Shared, step: &Progress) {
    match step {
        Progress::Planning => shared.phase.set(Phase::Planning),
        Progress::WarmUp => shared.phase.set(Phase::WarmUp),
        Progress::Engine(LoadEvent::Loading { index, total, stage, bytes }) => {
            let (index, total) = (index + 1, *total);
            shared.phase.set(Phase::Loading { index, total, stage: stage.clone() });
            tracing::info!("loading engine {index} of {total}: {stage}, {:.2} MiB", mib(*bytes));
        }
        Progress::Engine(LoadEvent::Loaded(report)) => {
            let signed = |bytes: i64| bytes as f64 / f64::from(1 << 20);
            let device =
                report.measured.device.map_or_else(String::new, |d| format!(", {:+.1} MiB on the GPU", signed(d)));
            tracing::info!(
                "loaded {} in {:.2} s: {:.1} MiB planned, {:.1} MiB measured ({:+.1} MiB resident, of it {:+.1} MiB anonymous{device})",
                report.stage,
                report.duration.as_secs_f64(),
                mib(report.planned.kept()),
                mib(report.measured.kept()),
                signed(report.measured.resident),
                signed(report.measured.anonymous),
            );
        }
    }
}
