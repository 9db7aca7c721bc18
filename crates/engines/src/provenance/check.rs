//! Compares a record with this device and these files.

use std::path::Path;

use super::device::BOARD;
use super::rejection::{Difference, Reason, Rejection};
use super::{DeviceIdentity, Provenance, board, hash, l4t};
use crate::graph::Stage;
use crate::profile;
use crate::profile::Uncovered;

/// Part of TensorRT's warning about an engine that another GPU model built, equal in every known version.
pub const OTHER_MODEL: &str = "different models of devices";

/// Result of a successful verification.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum ProvenanceStatus {
    /// Not tied to a device: an ONNX file.
    #[default]
    NotApplicable,
    /// Built on this device from these files.
    Verified(Box<Provenance>),
    /// No record; allowed by the operator.
    Unverified,
}

impl ProvenanceStatus {
    /// Figures of its failed accuracy gate.
    pub fn inaccuracy(&self) -> Option<&str> {
        let verification = self.provenance()?.verification.as_ref().filter(|verification| !verification.passed)?;
        Some(&verification.summary)
    }

    /// The record, when there is one.
    pub fn provenance(&self) -> Option<&Provenance> {
        match self {
            Self::Verified(provenance) => Some(provenance),
            Self::NotApplicable | Self::Unverified => None,
        }
    }
}

/// Verifies the engine of a stage before TensorRT reads it. Reads the engine once (without leaving its pages in the page
/// cache), and the network if its files changed since the build.
///
/// # Errors
/// [`Rejection`] with every difference.
pub fn verify(stage: &Stage, device: &DeviceIdentity) -> Result<ProvenanceStatus, Rejection> {
    verify_on(stage, |_| device.clone())
}

/// Verifies as [`verify`] on a machine without GPU access: files, L4T and board below `root` are compared; the properties
/// that only CUDA and TensorRT report are assumed to match.
///
/// # Errors
/// As [`verify`].
pub fn verify_without_gpu(stage: &Stage, root: &Path) -> Result<ProvenanceStatus, Rejection> {
    verify_on(stage, |built| DeviceIdentity { l4t: l4t(root), board: board(root), ..built.clone() })
}

/// `device` returns this device's identity, given the one in the record.
fn verify_on(stage: &Stage, device: impl Fn(&DeviceIdentity) -> DeviceIdentity) -> Result<ProvenanceStatus, Rejection> {
    let reject = |reason| Err(Rejection::new(stage, None, reason));
    if !stage.file.is_file() {
        return reject(Reason::NoEngine);
    }
    match Provenance::read(&stage.file) {
        Ok(Some(record)) => {
            check(&record, &device(&record.device), stage)?;
            check_accuracy(&record, stage)?;
            Ok(ProvenanceStatus::Verified(Box::new(record)))
        }
        Ok(None) if stage.allow_unverified => Ok(ProvenanceStatus::Unverified),
        Ok(None) => reject(Reason::NoRecord),
        Err(error) => reject(Reason::BadRecord(error)),
    }
}

/// Compares a record with this device, the engine file and the network, cheapest first; files are hashed only when
/// their sizes agree.
///
/// # Errors
/// [`Reason::Mismatch`] with every difference.
pub fn check(record: &Provenance, device: &DeviceIdentity, stage: &Stage) -> Result<(), Rejection> {
    let mut differences = match &record.portable {
        Some(portable) => portable.differences(&record.device, device),
        None => device_differences(record, device),
    };
    if record.precision != stage.precision {
        differences.push(Difference::new("precision", &record.precision, format!("{} (policy)", stage.precision)));
    }
    for Uncovered { input, built, required } in profile::uncovered(stage, |tensor| record.profiles.get(tensor)) {
        differences.push(Difference::new(format!("profile of {input}"), built, format!("{required} (policy)")));
    }
    differences.extend(engine_difference(record, &stage.file));
    differences.extend(network_difference(record, &stage.onnx));
    differences.extend(calibration_difference(record, &stage.file));
    if differences.is_empty() {
        return Ok(());
    }
    Err(Rejection::new(stage, Some(record), Reason::Mismatch(differences)))
}

/// Every property of the device that differs from the one in the record.
fn device_differences(record: &Provenance, device: &DeviceIdentity) -> Vec<Difference> {
    let pairs = record.device.properties().into_iter().zip(device.properties());
    // An engine built under emulation has the name of the larger module's board.
    let emulated = |what: &str| what == BOARD && record.emulated;
    let differing = pairs.filter(|((what, built), (_, here))| built != here && !emulated(what));
    differing.map(|((what, built), (_, here))| Difference::new(what, built, here)).collect()
}

/// Rejects an engine that failed its accuracy gate, unless the stage allows it. An engine without a verdict is accepted.
///
/// # Errors
/// [`Reason::Inaccurate`].
pub fn check_accuracy(record: &Provenance, stage: &Stage) -> Result<(), Rejection> {
    let failed = record.verification.as_ref().filter(|verification| !verification.passed);
    if failed.is_none() || stage.allow_inaccurate {
        return Ok(());
    }
    Err(Rejection::new(stage, Some(record), Reason::Inaccurate))
}

fn engine_difference(record: &Provenance, engine: &Path) -> Option<Difference> {
    let unreadable = |error: std::io::Error| Difference::new("engine file", "readable", error.to_string());
    let bytes = match std::fs::metadata(engine) {
        Ok(meta) => meta.len(),
        Err(error) => return Some(unreadable(error)),
    };
    if bytes != record.engine.bytes {
        let what = if bytes < record.engine.bytes { "engine size (truncated)" } else { "engine size" };
        return Some(Difference::new(what, format!("{} bytes", record.engine.bytes), format!("{bytes} bytes")));
    }
    match hash::file_sha256(engine) {
        Ok(sha256) => (sha256 != record.engine.sha256)
            .then(|| Difference::new("engine sha256 (changed or damaged)", &record.engine.sha256, sha256)),
        Err(error) => Some(unreadable(error)),
    }
}

fn network_difference(record: &Provenance, model: &Path) -> Option<Difference> {
    match record.onnx.current(model) {
        Ok(sha256) if sha256 == record.onnx.sha256 => None,
        Ok(sha256) => Some(Difference::new("ONNX sha256 (exported again)", &record.onnx.sha256, sha256)),
        Err(reason) => Some(Difference::new("ONNX", &record.onnx.sha256, reason)),
    }
}

/// Compares the calibration cache, if it still exists, with the one used for the build.
fn calibration_difference(record: &Provenance, engine: &Path) -> Option<Difference> {
    let calibration = record.calibration.as_ref()?;
    let file = engine.parent().unwrap_or(Path::new("")).join(&calibration.file);
    let sha256 = hash::file_sha256(&file).ok()?;
    let what = "calibration cache sha256";
    (sha256 != calibration.sha256).then(|| Difference::new(what, &calibration.sha256, sha256))
}

/// Rejects an engine for which TensorRT logged the warning about another GPU model while it was deserialized, unless its
/// record says that it was built under emulation of this one.
///
/// # Errors
/// [`Reason::OtherModel`].
pub fn other_model<'l>(
    stage: &Stage,
    verified: &ProvenanceStatus,
    log: impl IntoIterator<Item = &'l str>,
) -> Result<(), Rejection> {
    let Some(line) = log.into_iter().find(|line| line.contains(OTHER_MODEL)) else { return Ok(()) };
    if verified.provenance().is_some_and(|record| record.emulated) {
        return Ok(());
    }
    let reason = Reason::OtherModel { line: line.to_owned() };
    Err(Rejection::new(stage, verified.provenance(), reason))
}
