//! The ROS 2 node. Exit code 0 after SIGINT, SIGTERM or SIGHUP, 1 when it cannot run, 2 for a wrong command line, 3 when a part of
//! it ended that should not, after it braked the robot.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use vla_trt_node::args::{Arguments, Command, USAGE};
use vla_trt_node::{Console, DEFAULT_NAME, Error, Logging, Outcome, Shutdown, Signals};

/// Longest wait for a slow reader of stderr to take the last lines.
const FLUSH_TIME: Duration = Duration::from_millis(200);
/// Longest wait for tokio's own threads at the end.
const RUNTIME_TIME: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let done = match Command::parse(std::env::args_os()) {
        Ok(Command::Help) => print(USAGE),
        Ok(Command::Version) => print(concat!("vla_trt_node ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(arguments)) => return run(&arguments),
        Ok(Command::Check(arguments)) => return check(&arguments),
        Err(error) => Err(error.into()),
    };
    ExitCode::from(code(&done))
}

fn run(arguments: &Arguments) -> ExitCode {
    // From here on no write to stdout or stderr waits for a reader.
    let console = Console::install();
    if let Err(error) = &console {
        say(error);
    }
    let outcome = run_node(arguments);
    let code = code(&outcome.result);
    if let Ok(console) = console {
        console.flush(FLUSH_TIME);
    }
    match outcome.shutdown {
        Shutdown::Clean => ExitCode::from(code),
        // A thread still runs inside an engine: exit handlers would unload its library.
        Shutdown::Detached => vla_base::sys::exit_now(code),
    }
}

/// Installs logger, panic hook and signal handlers, and runs the node on a runtime.
fn run_node(arguments: &Arguments) -> Outcome {
    let level = arguments.log_level(DEFAULT_NAME).unwrap_or_default();
    let (logging, records) = Logging::new(level, arguments.console_logs);
    logging.install();
    Logging::log_panics();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Tasks only move bytes and short messages: two workers on any machine.
    let runtime = match runtime.worker_threads(2).thread_name("ros").enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return Outcome::not_started(Error::Runtime { what: "the async runtime", source }),
    };
    let outcome = runtime.block_on(async {
        // Before the node: a signal during the start is kept.
        match Signals::install() {
            Ok(mut signals) => vla_trt_node::run(arguments, logging, records, signals.next()).await,
            Err(error) => Outcome::not_started(error),
        }
    });
    runtime.shutdown_timeout(RUNTIME_TIME);
    outcome
}

/// Prints the findings of `--check`; the exit code says whether all is well.
fn check(arguments: &Arguments) -> ExitCode {
    let result = vla_trt_node::check::run(arguments);
    let is_well = result.as_ref().is_ok_and(|table| table.is_well);
    let printed = result.and_then(|table| print(&table.text));
    match code(&printed) {
        0 if !is_well => ExitCode::from(1),
        code => ExitCode::from(code),
    }
}

/// Prints the error, if any, and returns the exit code.
fn code(result: &Result<(), Error>) -> u8 {
    result.as_ref().err().map_or(0, |error| {
        say(error);
        error.exit_code()
    })
}

fn say(error: &Error) {
    // A closed stderr leaves the exit code.
    writeln!(std::io::stderr(), "vla_trt_node: {error}").ok();
}

fn print(text: &str) -> Result<(), Error> {
    match write!(std::io::stdout(), "{text}") {
        // The reader has closed the pipe.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|source| Error::Runtime { what: "printing", source }),
    }
}
