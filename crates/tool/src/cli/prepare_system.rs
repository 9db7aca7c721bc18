//! `vla-trt prepare-system`: prepares a machine for builds or measurements, and restores it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Outcome;
use crate::prepare::Preparation;

/// Interval at which signals and the command are checked.
const PERIOD: Duration = Duration::from_millis(20);
/// Time for a command to end after a Ctrl-C, which the terminal also sends to it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prepare this machine for a build or a measurement: set maximum power mode and fixed clocks (on a Jetson), drop page caches;
/// report desktop, swap and zram.
///
/// Runs COMMAND, or waits for Ctrl-C, and then restores what it changed, also after an error, Ctrl-C or SIGTERM. After SIGKILL
/// the next run restores it. Without root privileges it prints the commands and still runs COMMAND. Exit codes: COMMAND's; 1
/// when it could not be run or something was not restored; 2 wrong arguments.
#[derive(clap::Args, Debug)]
pub(crate) struct PrepareSystemArguments {
    /// Print what would be done, and do nothing.
    #[arg(long, conflicts_with = "command")]
    dry_run: bool,
    /// A folder to use as /.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// The user to act as, where the root is a folder.
    #[arg(long, value_name = "N", hide = true)]
    uid: Option<u32>,
    /// What to run meanwhile.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Signals as flags, so that this process restores the machine before it ends.
struct Signals {
    interrupted: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let signals = Self { interrupted: Arc::default(), terminated: Arc::default() };
        for (signal, flag) in [(SIGINT, &signals.interrupted), (SIGTERM, &signals.terminated)] {
            signal_hook::flag::register(signal, Arc::clone(flag)).context("watching for signals")?;
        }
        Ok(signals)
    }

    fn any(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.terminated.load(Ordering::Relaxed)
    }
}

/// Runs the command.
///
/// # Errors
/// Another run is active, the command does not start, or something was not restored.
pub(crate) fn run(args: &PrepareSystemArguments) -> anyhow::Result<Outcome> {
    let plan = match args.uid {
        Some(uid) => Preparation::for_user(&args.root, uid),
        None => Preparation::of(&args.root),
    };
    eprintln!("{plan}");
    if args.dry_run {
        return Ok(Outcome::Success);
    }
    // Before the first change, so that a signal during it does not end this process.
    let signals = Signals::watch()?;
    let changes = plan.changes_something();
    let guard = plan.apply()?;
    for line in guard.done() {
        eprintln!("prepared: {line}");
    }
    let outcome = match args.command.split_first() {
        Some((program, arguments)) if !signals.any() => command(program, arguments, &signals),
        // Nothing to restore: no need to wait.
        None if changes => {
            eprintln!("waiting for Ctrl-C, then everything is put back");
            while !signals.any() {
                thread::sleep(PERIOD);
            }
            Ok(Outcome::Success)
        }
        _ => Ok(Outcome::Success),
    };
    let restored = guard.restore();
    for line in restored.iter().flatten() {
        eprintln!("put back: {line}");
    }
    // If both failed, the command's error is returned.
    match (outcome, restored) {
        (Err(error), Err(other)) => {
            eprintln!("error: {other}");
            Err(error)
        }
        (outcome, restored) => restored.map_err(anyhow::Error::from).and(outcome),
    }
}

fn command(program: &str, arguments: &[String], signals: &Signals) -> anyhow::Result<Outcome> {
    let mut child = Command::new(program).args(arguments).spawn().with_context(|| format!("starting {program}"))?;
    let status = wait(&mut child, signals).with_context(|| format!("waiting for {program}"))?;
    Ok(Outcome::Command(code(status)))
}

/// Waits for the command. Forwards SIGTERM at once; after a Ctrl-C, which the terminal sends to both processes, sends SIGTERM
/// after a delay.
fn wait(child: &mut Child, signals: &Signals) -> std::io::Result<ExitStatus> {
    let mut interrupted: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if signals.interrupted.swap(false, Ordering::Relaxed) {
            interrupted.get_or_insert_with(Instant::now);
        }
        let late = interrupted.is_some_and(|since| since.elapsed() > PATIENCE);
        if signals.terminated.swap(false, Ordering::Relaxed) || late {
            interrupted = None;
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed());
            if let Some(pid) = pid {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
        }
        thread::sleep(PERIOD);
    }
}

/// Exit code as in a shell: 128 plus the signal's number if a signal ended the command.
fn code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(number).unwrap_or(1)
}
