//! Compiles the kernels with nvcc when the feature `cuda` is on and nvcc is found; the program has none otherwise and says so when
//! the engine kind is loaded.
//!
//! `NVCC`: the compiler, else `nvcc` on `PATH`. `VLA_TRT_CUDA_ARCHITECTURES`: compute capabilities (`87` or `87,90`) instead of all,
//! for a build on the robot: each takes half a minute.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

const COMPILER: &str = "NVCC";
const ARCHITECTURES: &str = "VLA_TRT_CUDA_ARCHITECTURES";
/// Ampere, Orin, Ada, Hopper, Blackwell: an nvcc compiles those that it knows.
const ALL: [u32; 6] = [80, 86, 87, 89, 90, 120];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMPILER}");
    println!("cargo::rerun-if-env-changed={ARCHITECTURES}");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let compiled = if env::var_os("CARGO_FEATURE_CUDA").is_some() { kernels(&out) } else { Ok(Vec::new()) };
    if let Err(reason) = compiled.and_then(|compiled| list(&out, &compiled)) {
        println!("cargo::error={}", reason.replace('\n', "; "));
        std::process::exit(1);
    }
}

/// Compiles for each architecture; none without a compiler.
fn kernels(out: &Path) -> Result<Vec<u32>, String> {
    println!("cargo::rerun-if-changed=kernels");
    let Some(compiler) = compiler()? else {
        println!("cargo::rerun-if-env-changed=PATH");
        println!(
            "cargo::warning=nvcc was not found: the engine kind cuda is built without kernels and refuses to load. Set {COMPILER} or \
             put nvcc on PATH"
        );
        return Ok(Vec::new());
    };
    println!("cargo::rerun-if-changed={}", compiler.display());
    let architectures = architectures(&compiler)?;
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1_usize);
    thread::scope(|scope| {
        for _ in 0..jobs.min(architectures.len()) {
            scope.spawn(|| {
                while let Some(&architecture) = architectures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(reason) = compile(&compiler, architecture, out) {
                        failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(reason);
                    }
                }
            });
        }
    });
    match failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).first() {
        Some(reason) => Err(reason.clone()),
        None => Ok(architectures),
    }
}

/// The compiler that is named, or else one on `PATH`.
fn compiler() -> Result<Option<PathBuf>, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = |name: &Path| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    match env::var_os(COMPILER).filter(|named| !named.is_empty()).map(PathBuf::from) {
        Some(named) if named.is_file() => Ok(Some(named)),
        Some(named) => match found(&named) {
            Some(file) => Ok(Some(file)),
            None => Err(format!("{COMPILER} names '{}', which is no file; expected the path of nvcc", named.display())),
        },
        None => Ok(found(Path::new("nvcc"))),
    }
}

/// Those that are asked for, or all that the compiler knows.
fn architectures(compiler: &Path) -> Result<Vec<u32>, String> {
    let known = output(Command::new(compiler).arg("--list-gpu-code"))?;
    let known: Vec<u32> = known.split_whitespace().filter_map(|code| code.strip_prefix("sm_")?.parse().ok()).collect();
    let asked = env::var(ARCHITECTURES).unwrap_or_default();
    let asked: Vec<&str> = asked.split([',', ';', ' ']).filter(|asked| !asked.is_empty()).collect();
    if asked.is_empty() {
        return Ok(ALL.into_iter().filter(|architecture| known.contains(architecture)).collect());
    }
    let parsed = asked.iter().map(|asked| match asked.parse() {
        Ok(architecture) if ALL.contains(&architecture) && known.contains(&architecture) => Ok(architecture),
        _ => Err(format!(
            "{ARCHITECTURES} has '{asked}'; expected some of {ALL:?} that {} knows (nvcc --list-gpu-code)",
            compiler.display()
        )),
    });
    let mut architectures = parsed.collect::<Result<Vec<_>, _>>()?;
    architectures.sort_unstable();
    architectures.dedup();
    Ok(architectures)
}

fn image(out: &Path, architecture: u32) -> PathBuf {
    out.join(format!("kernels_{architecture}.cubin"))
}

/// Hopper's has its own instructions (CUDA 12.0); it runs on no other GPU, as sm_90 does not. nvcc does not list it.
fn target(architecture: u32) -> String {
    if architecture == 90 { "90a".to_owned() } else { architecture.to_string() }
}

fn compile(compiler: &Path, architecture: u32, out: &Path) -> Result<(), String> {
    let target = target(architecture);
    let target = format!("arch=compute_{target},code=sm_{target}");
    output(
        Command::new(compiler)
            .args(["-std=c++17", "-O3", "-cubin", "-gencode", &target, "-o"])
            .arg(image(out, architecture))
            .arg("kernels/kernels.cu"),
    )?;
    Ok(())
}

fn output(command: &mut Command) -> Result<String, String> {
    let made = command.output().map_err(|error| format!("running {command:?}: {error}"))?;
    if made.status.success() {
        return Ok(String::from_utf8_lossy(&made.stdout).into_owned());
    }
    Err(format!("{command:?} failed ({}): {}", made.status, String::from_utf8_lossy(&made.stderr).trim()))
}

/// The source that embeds the images.
fn list(out: &Path, compiled: &[u32]) -> Result<(), String> {
    let mut source = "&[\n".to_owned();
    for &architecture in compiled {
        let (major, minor) = (architecture / 10, architecture % 10);
        let _infallible = writeln!(source, "    (({major}, {minor}), include_bytes!({:?})),", image(out, architecture));
    }
    source.push_str("]\n");
    let file = out.join("cubins.rs");
    fs::write(&file, source).map_err(|error| format!("writing {}: {error}", file.display()))
}
