//! The ROS 2 node. Exit code 0 after SIGINT, SIGTERM or SIGHUP, 1 when it cannot run, 2 for a wrong command line, 3 when a part of
//! it ended that should not, after it braked the robot.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use vla_trt_node::args::{Arguments, Command, USAGE};
use vla_trt_node::{Console, Error, Shutdown};

/// How long the last lines may take to a reader of stderr that is slow, or gone.
const LAST_WORDS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let done = match Command::parse(std::env::args_os()) {
        Ok(Command::Help) => print(USAGE),
        Ok(Command::Version) => print(concat!("vla_trt_node ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(arguments)) => return run(&arguments),
        Err(error) => Err(error.into()),
    };
    ExitCode::from(code(&done))
}

fn run(arguments: &Arguments) -> ExitCode {
    // From here on nothing that anybody writes to stdout or stderr waits for a reader.
    let console = Console::install();
    if let Err(error) = &console {
        say(error);
    }
    let outcome = vla_trt_node::run(arguments);
    let code = code(&outcome.result);
    if let Ok(console) = console {
        console.flush(LAST_WORDS);
    }
    match outcome.shutdown {
        Shutdown::Clean => ExitCode::from(code),
        // A thread still runs inside an engine: exit handlers would pull its library from under it.
        Shutdown::Detached => vla_base::sys::exit_now(code),
    }
}

/// The exit code, and the words that go with it.
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
        // Whoever read has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|source| Error::Runtime { what: "printing", source }),
    }
}
