//! Bundles of the demo policy with engines that are built here, once a process for each precision.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use vla_builder::{Effort, Origin, Request};
use vla_engines::Precision;
use vla_export::demo::bundle;
use vla_policy::PolicySpec;
use vla_policy::spec::POLICY_FILE;

/// Name of this suite's folders among the temporary ones; the process's number follows.
const FOLDERS: &str = "vla_trt-engines-";
const SEED: u64 = 7;
/// How long the builder looks for fast tactics: hardly, these engines only have to be right.
const LEVEL: u8 = 1;

/// The bundle whose stages are all of `precision`.
pub(super) fn of(precision: Precision) -> PathBuf {
    static SINGLE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    static HALF: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let held = if precision.is_fp32() { &SINGLE } else { &HALF };
    let built = held.get_or_init(|| build(precision).map_err(|error| format!("{error:#}")));
    built.clone().unwrap_or_else(|error| panic!("no {precision} engines of the demo policy: {error}"))
}

fn build(precision: Precision) -> anyhow::Result<PathBuf> {
    let dir = folder()?.join(precision.to_string());
    bundle::write(&vla_export::family::N1D6, &dir, SEED)?;
    let description = dir.join(POLICY_FILE);
    let text = fs::read_to_string(&description)?;
    fs::write(&description, text.replace("precision: fp16", &format!("precision: {precision}")))?;
    for stage in PolicySpec::load(&dir)?.engine_stages() {
        anyhow::ensure!(stage.precision == precision.to_string(), "stage '{}' is {}", stage.name, stage.precision);
        let request = Request {
            onnx: stage.onnx,
            engine: stage.file,
            precision,
            profile: stage.profile.into_iter().collect(),
            effort: Effort { level: Some(LEVEL), ..Effort::default() },
            ..Request::default()
        };
        let built = vla_builder::build(&request, &mut |_| true)?;
        let origin =
            Origin { precision: &stage.precision, flags: built.flags, duration: built.duration, ..Origin::default() };
        let probe = vla_builder::probe(&request.engine, false)?;
        vla_builder::record(&request.engine, &request.onnx, &origin, probe)?;
        eprintln!("built {} in {precision}: {} bytes, {:?}", stage.name, built.bytes, built.duration);
    }
    Ok(dir)
}

/// This process's folder. A test program has no end at which it could be removed, so the next one does it.
fn folder() -> anyhow::Result<PathBuf> {
    let all = std::env::temp_dir();
    for entry in fs::read_dir(&all)?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDERS)).and_then(|id| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let own = all.join(format!("{FOLDERS}{}", std::process::id()));
    fs::create_dir_all(&own)?;
    Ok(own)
}
