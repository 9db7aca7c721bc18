//! The ROS 2 node: exit code 0 after SIGINT or SIGTERM, 1 when it cannot run, 2 for a wrong command line.

use std::io::Write as _;
use std::process::ExitCode;

use vla_trt::ros::args::{Command, USAGE};
use vla_trt::ros::{self, Ended, Error};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves the exit code.
            writeln!(std::io::stderr(), "vla_trt_node: {error}").ok();
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments = match Command::parse(std::env::args_os())? {
        Command::Help => return print(USAGE),
        Command::Version => return print(concat!("vla_trt_node ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Run(arguments) => arguments,
    };
    match ros::run(&arguments)? {
        Ended::Whole => Ok(()),
        // A thread still runs inside an engine: exit handlers would pull its library from under it.
        Ended::Busy => vla_trt::sys::exit_now(0),
    }
}

fn print(text: &str) -> Result<(), Error> {
    match write!(std::io::stdout(), "{text}") {
        // Whoever read has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|source| Error::Runtime { what: "printing", source }),
    }
}
