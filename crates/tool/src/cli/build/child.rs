//! The build process: its parent's and its own part.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use vla_builder::{Built, Probe, Request};
use vla_engines::memory::{MemoryUse, mib};
use vla_engines::provenance::Release;
use vla_tensorrt::{BuildProgress, Severity};

/// Interval at which the parent checks for the end and for signals, and updates the memory display.
const PERIOD: Duration = Duration::from_millis(100);
/// Makes CUDA load a kernel at its first launch instead of all of TensorRT's at the start. Read when CUDA is initialised.
const MODULE_LOADING: &str = "CUDA_MODULE_LOADING";
/// Maximum length of a displayed phase name.
const PHASE: usize = 60;

/// Messages of the child on standard output, one line of JSON each.
#[derive(Serialize, Deserialize)]
enum Said {
    /// Current phase of the builder.
    Phase(String),
    /// The end.
    Built(Built),
}

/// A flag that SIGINT and SIGTERM set, so that the parent cleans up before it ends.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Registers the signal handlers.
    pub(super) fn watch() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // A second one ends at once, whatever is under way.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
                .context("watching for signals")?;
        }
        Ok(Self(flag))
    }

    /// Checks the flag between steps that have no child process.
    ///
    /// # Errors
    /// If a signal has arrived.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.wanted(), "stopped: engines that were finished stay, and have no verdict yet");
        Ok(())
    }

    fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Builds in a separate process and displays its progress: time, phase, the child's resident memory and the machine's free
/// memory.
pub(super) fn build(request: &Request, stop: &Stop) -> anyhow::Result<Built> {
    let program = std::env::current_exe().context("finding this program for its child")?;
    let mut command = Command::new(program);
    if std::env::var_os(MODULE_LOADING).is_none() {
        command.env(MODULE_LOADING, "LAZY");
    }
    let mut child = command
        .args(["build", "--here", &serde_json::to_string(request)?])
        // Required by the argument group; the child uses the JSON only.
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the process that builds")?;
    let phase = Arc::new(Mutex::new(String::new()));
    let out = child.stdout.take().context("the output of the process that builds")?;
    let listener = thread::spawn({
        let phase = Arc::clone(&phase);
        move || listen(out, &phase)
    });
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("  {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let mut peak_anonymous = 0;
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for the process that builds")? {
            break status;
        }
        if stop.wanted() {
            child.kill().context("ending the process that builds")?;
            child.wait().context("waiting for the process that builds")?;
            bar.finish_and_clear();
            bail!(
                "stopped: {} was not built and nothing of it remains; engines that were finished stay, and the same \
                 command goes on after them",
                request.engine.display()
            );
        }
        let theirs = MemoryUse::of(child.id());
        peak_anonymous = theirs.anonymous.max(peak_anonymous);
        bar.set_message(format!(
            "resident {:.0} MiB, free {:.0} MiB  {}",
            mib(theirs.resident),
            mib(theirs.available),
            phase.lock().unwrap_or_else(PoisonError::into_inner)
        ));
        thread::sleep(PERIOD);
    };
    bar.finish_and_clear();
    if !status.success() {
        bail!("{} was not built ({status})", request.engine.display());
    }
    let built = listener.join().ok().flatten();
    let built = built.map(|built| Built { peak_anonymous, ..built });
    built.with_context(|| format!("the process that built {} ended without its report", request.engine.display()))
}

/// Reads the child's messages until it ends.
fn listen(out: ChildStdout, phase: &Mutex<String>) -> Option<Built> {
    let mut built = None;
    for line in BufReader::new(out).lines() {
        match serde_json::from_str(&line.ok()?) {
            Ok(Said::Phase(text)) => *phase.lock().unwrap_or_else(PoisonError::into_inner) = text,
            Ok(Said::Built(report)) => built = Some(report),
            Err(error) => tracing::debug!("the process that builds: {error}"),
        }
    }
    built
}

/// The child's part: builds and reports progress.
pub(super) fn work(request: &Request) -> anyhow::Result<()> {
    // Ends with its parent: otherwise the build could run for an hour without the parent's lock.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("asking to end with the parent")?;
    let mut said = Instant::now() - PERIOD;
    let built = vla_builder::build(request, &mut |progress| {
        if let Some(text) = phase(&progress)
            && said.elapsed() >= PERIOD
        {
            said = Instant::now();
            line(&Said::Phase(text)).is_ok()
        } else {
            true
        }
    })?;
    Ok(line(&Said::Built(built))?)
}

/// Loads and runs an engine in a separate process, which also tests whether the runtime's host copy can be released.
pub(super) fn probe(engine: &Path, emulated: bool) -> anyhow::Result<Probe> {
    let program = std::env::current_exe().context("finding this program for its child")?;
    let mut command = Command::new(program);
    command.args(["build", "--probe"]).arg(engine).args(emulated.then_some("--emulated")).arg(".");
    let out =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("starting the process that tries")?;
    let said = String::from_utf8_lossy(&out.stdout);
    let last = said.lines().rev().find_map(|line| serde_json::from_str::<Probe>(line).ok());
    let Some(mut probe) = last else { bail!("{} does not run here ({})", engine.display(), out.status) };
    if !out.status.success() {
        // The process measured the engine and then ended during the test of the host copy.
        let why = match out.status.signal() {
            Some(signal_hook::consts::SIGSEGV) => Some("the runtime writes to its host copy"),
            _ => {
                tracing::warn!("giving back the host copy of {} was not tried: {}", engine.display(), out.status);
                None
            }
        };
        probe.memory.release = why.map(Release::failed);
    }
    Ok(probe)
}

/// That process's part: prints one line of JSON before the test and one after it.
pub(super) fn probe_here(engine: &Path, emulated: bool) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("asking to end with the parent")?;
    let mut first = Ok(());
    let probe = vla_builder::probe_and_try_release(engine, emulated, &mut |probe| first = line(probe))?;
    first?;
    Ok(line(&probe)?)
}

fn line(what: &impl Serialize) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    writeln!(out)?;
    out.flush()
}

/// Display name of a phase; on TensorRT 8, which has no phases, the last log line.
fn phase(progress: &BuildProgress<'_>) -> Option<String> {
    let text = match progress {
        BuildProgress::Begin { phase, parent: None, .. } => phase,
        BuildProgress::Line { severity: Severity::Info | Severity::Warning, text } => text,
        _ => return None,
    };
    Some(text.chars().take(PHASE).collect())
}
