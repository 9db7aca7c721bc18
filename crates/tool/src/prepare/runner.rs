//! Runs the machine's programs; no other module starts one.

use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::root::Root;

/// Search path of programs. PATH is not used, because only system programs may run as root.
const FOLDERS: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The slowest, `jetson_clocks --store` on a cold machine, takes a few seconds.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Runner<'r>(&'r Root);

impl<'r> Runner<'r> {
    pub(super) fn new(root: &'r Root) -> Self {
        Self(root)
    }

    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        let runs =
            |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        FOLDERS.iter().map(|folder| self.0.join(folder).join(program)).find(runs)
    }

    /// Runs a program to its end and returns its output. Answers "no" to every question (nvpmodel asks whether to reboot). A
    /// Ctrl-C at the terminal does not reach the program, so that it is not interrupted half-way.
    ///
    /// # Errors
    /// A message in one line, with the command.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let command = format!("{program} {}", arguments.join(" "));
        let fail = |what: String| format!("{} {what}", command.trim_end());
        let path = self.find(program).ok_or_else(|| fail("is not there".into()))?;
        let child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| fail(format!("does not start: {error}")))?;
        let (status, printed) = finish(child).map_err(fail)?;
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        if status.success() { Ok(printed) } else { Err(fail(format!("failed ({status}): {printed}"))) }
    }
}

/// Waits for a child process, which is killed with its children at the timeout.
fn finish(mut child: Child) -> Result<(ExitStatus, String), String> {
    if let Some(mut input) = child.stdin.take() {
        // Fails if the program does not read its input and has already ended.
        input.write_all(b"no\n").unwrap_or_default();
    }
    let readers = (read(child.stdout.take()), read(child.stderr.take()));
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if started.elapsed() > LIMIT => {
                if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                    rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
                        .map_err(|error| error.to_string())?;
                }
                child.wait().map_err(|error| error.to_string())?;
                return Err(format!("took longer than {} s and was ended", LIMIT.as_secs()));
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    let text = |reader: JoinHandle<String>| reader.join().unwrap_or_default();
    Ok((status, text(readers.0) + &text(readers.1)))
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
