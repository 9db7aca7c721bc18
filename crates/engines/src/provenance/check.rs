//! A record against this device and these files.

use std::fmt;
use std::path::{Path, PathBuf};

use super::device::BOARD;
use super::{DeviceIdentity, OWN_KERNELS_FLAG, Provenance, board, hash, l4t};
use crate::onnx::Network;
use crate::wiring::Stage;
use crate::{Error, profile};

/// What TensorRT says of a plan from another module, in every version that is known.
pub const OTHER_MODEL: &str = "different models of devices";

/// One thing that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What.
    pub what: String,
    /// In the engine's record.
    pub built: String,
    /// On this device, in these files.
    pub here: String,
}

impl Difference {
    fn new(what: impl Into<String>, built: impl Into<String>, here: impl Into<String>) -> Self {
        Self { what: what.into(), built: built.into(), here: here.into() }
    }
}

/// What verification found out about an engine that may be loaded.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Verified {
    /// Not an engine that is tied to a device: an ONNX file.
    #[default]
    Unneeded,
    /// Built on this device from these files.
    Proven(Box<Provenance>),
    /// Nothing says where it was built, and the operator allows that.
    Unproven,
}

impl Verified {
    /// What was found when its results were held against its network's and were too far from them.
    pub fn inaccuracy(&self) -> Option<&str> {
        let verification = self.provenance()?.verification.as_ref().filter(|verification| !verification.passed)?;
        Some(&verification.summary)
    }

    /// The record, when there is one.
    pub fn provenance(&self) -> Option<&Provenance> {
        match self {
            Self::Proven(provenance) => Some(provenance),
            Self::Unneeded | Self::Unproven => None,
        }
    }
}

/// An engine that is not loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no engine file.
    NoEngine {
        /// Stage.
        stage: String,
        /// Where it was looked for.
        engine: PathBuf,
        /// Command that builds it.
        build: String,
    },
    /// There is no record beside it.
    NoRecord {
        /// Stage.
        stage: String,
        /// The engine.
        engine: PathBuf,
        /// Command that builds it again.
        build: String,
        /// Command that writes a record for an engine that was built on this device.
        adopt: String,
    },
    /// The record cannot be used.
    BadRecord {
        /// Stage.
        stage: String,
        /// What is wrong, with the file.
        reason: String,
        /// Command that builds it again.
        build: String,
    },
    /// It differs from this device or these files.
    Mismatch {
        /// Stage.
        stage: String,
        /// The engine.
        engine: PathBuf,
        /// Everything that differs.
        differences: Vec<Difference>,
        /// Command that builds it again.
        build: String,
    },
    /// Its results are further from its network's than the policy allows.
    Inaccurate {
        /// Stage.
        stage: String,
        /// The engine.
        engine: PathBuf,
        /// The figures with their limits, and when they were taken.
        figures: String,
        /// Command that builds it again, in the precision that it has.
        build: String,
    },
    /// TensorRT itself says that the engine comes from another module.
    OtherModel {
        /// Stage.
        stage: String,
        /// The engine.
        engine: PathBuf,
        /// TensorRT's own words.
        words: String,
        /// Command that builds it again.
        build: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEngine { stage, engine, build } => {
                write!(f, "stage '{stage}': there is no engine {}; build it:\n  {build}", engine.display())
            }
            Self::NoRecord { stage, engine, build, adopt } => write!(
                f,
                "stage '{stage}': nothing says where {} was built ({} is missing). Build it here:\n  {build}\nor, if it was \
                 built on this very device with another tool:\n  {adopt}\nor set engines.{stage}.allow_unverified: true to \
                 load it unverified",
                engine.display(),
                Provenance::path(engine).display()
            ),
            Self::BadRecord { stage, reason, build } => {
                write!(f, "stage '{stage}': {reason}; build the engine again:\n  {build}")
            }
            Self::Mismatch { stage, engine, differences, build } => {
                let plural = if differences.len() == 1 { "thing differs" } else { "things differ" };
                writeln!(
                    f,
                    "stage '{stage}': {} was not built for this device and these files: {} {plural}",
                    engine.display(),
                    differences.len()
                )?;
                let width = differences.iter().map(|difference| difference.what.len()).max().unwrap_or(0);
                for Difference { what, built, here } in differences {
                    writeln!(f, "  {what:width$}  engine: {built}, here: {here}")?;
                }
                write!(f, "build it again on this device:\n  {build}")
            }
            Self::Inaccurate { stage, engine, figures, build } => write!(
                f,
                "stage '{stage}': {} is less accurate than policy.yaml allows: {figures}. Build it in another precision \
                 (stages.{stage}.precision in policy.yaml: fp16 or fp32 where int8 does not hold, fp32 where fp16 does not), \
                 or with more calibration samples:\n  {build}\nor set engines.{stage}.allow_inaccurate: true to load it all \
                 the same",
                engine.display()
            ),
            Self::OtherModel { stage, engine, words, build } => write!(
                f,
                "stage '{stage}': TensorRT says that {} comes from another module: {words}. Such an engine loads and dies at \
                 its first inference; build it again on this device:\n  {build}",
                engine.display()
            ),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Provenance { refusals: vec![refusal] }
    }
}

/// Verifies the engine of a stage before anything of it is read by TensorRT. Cost: one read of the engine (whose
/// pages do not stay in the page cache), and one of the network when its files changed since the build.
///
/// # Errors
/// [`Refusal`] with everything that is wrong and the command that mends it.
pub fn verify(stage: &Stage, device: &DeviceIdentity) -> Result<Verified, Refusal> {
    verify_on(stage, |_| device.clone())
}

/// Verifies as [`verify`] on a machine whose GPU cannot be asked: its files, L4T and board below `root` are compared,
/// what only CUDA and TensorRT tell is taken from the record.
///
/// # Errors
/// As [`verify`].
pub fn verify_without_gpu(stage: &Stage, root: &Path) -> Result<Verified, Refusal> {
    verify_on(stage, |built| DeviceIdentity { l4t: l4t(root), board: board(root), ..built.clone() })
}

/// `device` says what this device is, given the one of the record.
fn verify_on(stage: &Stage, device: impl Fn(&DeviceIdentity) -> DeviceIdentity) -> Result<Verified, Refusal> {
    let build = || rebuild_command(stage, None);
    let name = || stage.name.clone();
    if !stage.file.is_file() {
        return Err(Refusal::NoEngine { stage: name(), engine: stage.file.clone(), build: build() });
    }
    match Provenance::read(&stage.file) {
        Ok(Some(record)) => {
            check(&record, &device(&record.device), stage)?;
            check_accuracy(&record, stage)?;
            Ok(Verified::Proven(Box::new(record)))
        }
        Ok(None) if stage.allow_unverified => Ok(Verified::Unproven),
        Ok(None) => {
            let adopt = format!("vla-trt adopt {} --onnx {}", quoted(&stage.file), quoted(&stage.onnx));
            Err(Refusal::NoRecord { stage: name(), engine: stage.file.clone(), build: build(), adopt })
        }
        Err(error) => Err(unreadable(stage, &error)),
    }
}

fn unreadable(stage: &Stage, error: &super::Error) -> Refusal {
    let build = rebuild_command(stage, None);
    Refusal::BadRecord { stage: stage.name.clone(), reason: error.to_string(), build }
}

/// A record that cannot be read, as an error of the engine room.
pub(crate) fn bad_record(stage: &Stage, error: &super::Error) -> Error {
    unreadable(stage, error).into()
}

/// Compares a record with this device, the engine file and the network, cheapest first; files are hashed only when
/// their sizes agree.
///
/// # Errors
/// [`Refusal::Mismatch`] with every difference.
pub fn check(record: &Provenance, device: &DeviceIdentity, stage: &Stage) -> Result<(), Refusal> {
    let mut differences = Vec::new();
    for ((what, built), (_, here)) in record.device.properties().into_iter().zip(device.properties()) {
        // A larger module that emulated this one is another board with the same GPU.
        let emulated = what == BOARD && record.emulated;
        if built != here && !emulated {
            differences.push(Difference::new(what, built, here));
        }
    }
    if record.precision != stage.precision {
        differences.push(Difference::new("precision", &record.precision, format!("{} (policy.yaml)", stage.precision)));
    }
    for (tensor, built, wanted) in profile::uncovered(stage, |tensor| record.profiles.get(tensor)) {
        differences.push(Difference::new(format!("profile of {tensor}"), built, format!("{wanted} (policy.yaml)")));
    }
    differences.extend(engine_difference(record, &stage.file));
    differences.extend(network_difference(record, &stage.onnx));
    differences.extend(calibration_difference(record, &stage.file));
    if differences.is_empty() {
        return Ok(());
    }
    let build = rebuild_command(stage, Some(record));
    Err(Refusal::Mismatch { stage: stage.name.clone(), engine: stage.file.clone(), differences, build })
}

/// Refuses an engine that failed its accuracy gate, unless the stage allows it by name. An engine that was not held
/// against its network is not refused.
///
/// # Errors
/// [`Refusal::Inaccurate`].
pub fn check_accuracy(record: &Provenance, stage: &Stage) -> Result<(), Refusal> {
    let failed = record.verification.as_ref().filter(|verification| !verification.passed);
    let Some(failed) = failed.filter(|_| !stage.allow_inaccurate) else { return Ok(()) };
    Err(Refusal::Inaccurate {
        stage: stage.name.clone(),
        engine: stage.file.clone(),
        figures: format!("{} ({} observations, {})", failed.summary, failed.observations, failed.at),
        build: rebuild_command(stage, Some(record)),
    })
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

/// A calibration cache that is still there must be the one that was used.
fn calibration_difference(record: &Provenance, engine: &Path) -> Option<Difference> {
    let calibration = record.calibration.as_ref()?;
    let file = engine.parent().unwrap_or(Path::new("")).join(&calibration.file);
    let sha256 = hash::file_sha256(&file).ok()?;
    let what = "calibration cache sha256";
    (sha256 != calibration.sha256).then(|| Difference::new(what, &calibration.sha256, sha256))
}

/// Holds what TensorRT's logger said while an engine was deserialized against its record: the warning about another
/// module refuses the engine unless it was built under emulation of this one.
///
/// # Errors
/// [`Refusal::OtherModel`].
pub fn other_model<'l>(
    stage: &Stage,
    verified: &Verified,
    log: impl IntoIterator<Item = &'l str>,
) -> Result<(), Refusal> {
    let Some(words) = log.into_iter().find(|line| line.contains(OTHER_MODEL)) else { return Ok(()) };
    if verified.provenance().is_some_and(|record| record.emulated) {
        return Ok(());
    }
    let build = rebuild_command(stage, verified.provenance());
    Err(Refusal::OtherModel { stage: stage.name.clone(), engine: stage.file.clone(), words: words.to_owned(), build })
}

/// The command that builds the engine of a stage here, with everything that policy.yaml and the record say of it.
pub fn rebuild_command(stage: &Stage, record: Option<&Provenance>) -> String {
    let mut command = format!(
        "vla-trt build --onnx {} --engine {} --precision {}",
        quoted(&stage.onnx),
        quoted(&stage.file),
        stage.precision
    );
    for (symbol, [min, opt, max]) in &stage.profile {
        command += &format!(" --profile {}={min}:{opt}:{max}", quoted(Path::new(symbol)));
    }
    let flags = record.map_or(&[][..], |record| &record.flags);
    let value = |prefix: &str| flags.iter().find_map(|flag| flag.strip_prefix(prefix)).filter(|value| is_number(value));
    if let Some(level) = value("optimisation level ") {
        command += &format!(" --opt-level {level}");
    }
    let workspace = flags.iter().find_map(|flag| flag.strip_prefix("workspace ")?.strip_suffix(" MiB"));
    if let Some(mib) = workspace.filter(|mib| is_number(mib)) {
        command += &format!(" --workspace-mib {mib}");
    }
    if flags.iter().any(|flag| flag == OWN_KERNELS_FLAG) {
        command += " --low-memory-mode";
    }
    if stage.precision.split('+').any(|part| part == "int8") {
        command += &scales(stage, record);
    }
    command
}

/// Where INT8 scales come from: as the record has it, else a file that is still to be recorded.
fn scales(stage: &Stage, record: Option<&Provenance>) -> String {
    let is_stem = stage.onnx.file_stem().is_some_and(|stem| stem == stage.name.as_str());
    let named = if is_stem { String::new() } else { format!(" --calib-stage {}", quoted(Path::new(&stage.name))) };
    let Some(calibration) = record.and_then(|record| record.calibration.as_ref()) else {
        let own = Network::open(&stage.onnx).is_ok_and(|network| network.is_quantized());
        return if own { String::new() } else { format!(" --calib-data calib.npz{named}") };
    };
    let cache = stage.file.parent().unwrap_or(Path::new("")).join(&calibration.file);
    let data = calibration.data.as_deref().map(|data| format!(" --calib-data {}{named}", quoted(data)));
    format!("{} --calib-cache {}", data.unwrap_or_default(), quoted(&cache))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
