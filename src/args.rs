//! The command line of the node, checked before ROS is initialised.
//!
//! r2r hands the process's own arguments to `rcl_init` and panics when that
//! fails, and `rcl` ignores an unknown flag; so the same grammar is parsed here first, with an
//! error message for each mistake.

use std::ffi::OsString;
use std::path::PathBuf;

use super::level::{Level, UnknownLevel};
use vla_runtime::parameters;
use vla_runtime::parameters::Remap;

/// What `--help` prints.
pub const USAGE: &str = "\
Runs a vision-language-action policy as a ROS 2 node.

Usage: vla_trt_node [--check] [--ros-args [ROS ARGUMENTS] [--]]

Options:
      --check    Listen to the robot's topics for 5 s, compare them with the parameters and the policy, print
                 one line a finding and end; loads no engine
  -h, --help     Print this help
  -V, --version  Print the version

ROS arguments:
  --params-file FILE      Parameters from a YAML file (may be repeated; later wins)
  -p, --param NAME:=VALUE One parameter; VALUE is YAML
  -r, --remap FROM:=TO    Another name for a topic or service; __node:=NAME, __ns:=/NAMESPACE
  --log-level LEVEL       debug, info, warn, error or fatal; LOGGER:=LEVEL for one logger
  --log-config-file FILE, --log-file-name PREFIX, -e, --enclave PATH
  --enable-rosout-logs, --disable-rosout-logs, --enable-stdout-logs, --disable-stdout-logs,
  --enable-external-lib-logs, --disable-external-lib-logs

Exit codes: 0 ended by SIGINT, SIGTERM or SIGHUP, after braking; 1 did not start; 2 wrong command line;
  3 a part of the node ended by itself, after braking. With --check: 0 all is well; 1 otherwise.

The parameter 'policy' (the folder of a policy bundle) has no default:
  vla_trt_node --ros-args -p policy:=out/demo/policy
";

/// Why a command line was refused. The process then ends with exit code 2.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UsageError {
    /// rcl takes UTF-8 only.
    #[error("argument {index} is not valid UTF-8: {shown}; write it in UTF-8")]
    NotUtf8 {
        /// Position on the command line; 0 is the program.
        index: usize,
        /// The argument with the broken bytes replaced.
        shown: String,
    },
    /// Outside `--ros-args`.
    #[error("unexpected argument '{0}'; ROS arguments follow --ros-args (see --help)")]
    Unexpected(String),
    /// Inside `--ros-args`.
    #[error(
        "unknown ROS argument '{0}'; expected one of --params-file, -p, -r, --log-level, --log-config-file, \
         --log-file-name, --enclave, --enable-/--disable-{{rosout,stdout,external-lib}}-logs, or -- to end them"
    )]
    UnknownFlag(String),
    /// A flag at the end of its section.
    #[error("{flag} needs a value: {flag} {form}")]
    MissingValue {
        /// The flag as typed.
        flag: String,
        /// What should follow.
        form: &'static str,
    },
    /// Not of the form that the flag takes.
    #[error("{flag} {found}: expected {expected}")]
    Malformed {
        /// The flag as typed.
        flag: String,
        /// Its value as typed.
        found: String,
        /// The form, with an example.
        expected: &'static str,
    },
    /// `--log-level` with a word that is no level.
    #[error("--log-level {found}: {source}")]
    Level {
        /// The value as typed.
        found: String,
        /// Which word.
        source: UnknownLevel,
    },
}

/// The request of the command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the node.
    Run(Arguments),
    /// Compare the running ROS graph with the parameters, and end.
    Check(Arguments),
    /// Print [`USAGE`].
    Help,
    /// Print the version.
    Version,
}

/// The part of the ROS arguments that the node itself uses; names, remaps and the enclave are applied by `rcl`.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Arguments {
    /// Parameter files and single parameters in the order typed; later ones win.
    pub overrides: Vec<ParameterArgument>,
    /// Rules for topic names, in the order typed; the first that matches wins. rcl applies them; here they give the name of a topic
    /// in the graph.
    pub remaps: Vec<Remap>,
    /// `(logger, level)`; no logger means every one.
    pub log_levels: Vec<(Option<String>, Level)>,
    /// Whether logs are published on /rosout.
    pub rosout_logs: bool,
    /// Whether logs are written to the console (stderr; the flag is named after stdout for historical reasons).
    pub console_logs: bool,
}

/// One source of parameter values.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum ParameterArgument {
    /// `--params-file FILE`.
    File(PathBuf),
    /// `-p [NODE:]NAME:=VALUE`.
    Assignment {
        /// Only for the node of that name.
        node: Option<String>,
        /// The parameter's name.
        name: String,
        /// YAML.
        value: String,
    },
}

impl Arguments {
    fn new() -> Self {
        Self {
            overrides: Vec::new(),
            remaps: Vec::new(),
            log_levels: Vec::new(),
            rosout_logs: true,
            console_logs: true,
        }
    }

    /// The level asked for this logger name; the last mention wins.
    pub fn log_level(&self, logger: &str) -> Option<Level> {
        let applies = |of: &Option<String>| of.as_deref().is_none_or(|of| of == logger);
        self.log_levels.iter().rev().find(|(of, _)| applies(of)).map(|(_, level)| *level)
    }
}

impl Command {
    /// Reads a command line (the program's name first).
    ///
    /// # Errors
    /// The first argument that `rcl` would not understand, or would ignore.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut words = Vec::new();
        for (index, word) in arguments.into_iter().enumerate() {
            let word = word.into_string();
            words.push(word.map_err(|w| UsageError::NotUtf8 { index, shown: w.to_string_lossy().into_owned() })?);
        }
        let mut words = words.into_iter().skip(1);
        let mut parsed = Arguments::new();
        let mut check = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--ros-args" => parsed.ros_section(&mut words)?,
                "--check" => check = true,
                "-h" | "--help" => return Ok(Self::Help),
                "-V" | "--version" => return Ok(Self::Version),
                _ => return Err(UsageError::Unexpected(word)),
            }
        }
        Ok(if check { Self::Check(parsed) } else { Self::Run(parsed) })
    }
}

impl Arguments {
    /// Reads up to `--` or the end.
    fn ros_section(&mut self, words: &mut impl Iterator<Item = String>) -> Result<(), UsageError> {
        while let Some(flag) = words.next() {
            let mut value =
                |form: &'static str| words.next().ok_or_else(|| UsageError::MissingValue { flag: flag.clone(), form });
            match flag.as_str() {
                "--" => return Ok(()),
                "--ros-args" => {}
                "--params-file" => self.overrides.push(ParameterArgument::File(value("FILE")?.into())),
                "-p" | "--param" => self.overrides.push(assignment(&flag, &value("NAME:=VALUE")?)?),
                "-r" | "--remap" => self.remaps.push(remap(&flag, &value("FROM:=TO")?)?),
                "--log-level" => self.log_levels.push(log_level(&value("LEVEL")?)?),
                "-e" | "--enclave" => drop(value("PATH")?),
                "--log-config-file" => drop(value("FILE")?),
                "--log-file-name" => drop(value("PREFIX")?),
                "--enable-rosout-logs" => self.rosout_logs = true,
                "--disable-rosout-logs" => self.rosout_logs = false,
                "--enable-stdout-logs" => self.console_logs = true,
                "--disable-stdout-logs" => self.console_logs = false,
                "--enable-external-lib-logs" | "--disable-external-lib-logs" => {}
                _ => return Err(UsageError::UnknownFlag(flag)),
            }
        }
        Ok(())
    }
}

fn assignment(flag: &str, rule: &str) -> Result<ParameterArgument, UsageError> {
    let malformed = || UsageError::Malformed {
        flag: flag.to_owned(),
        found: rule.to_owned(),
        expected: "NAME:=VALUE, such as rate_hz:=5.0",
    };
    let (target, value) = rule.split_once(":=").ok_or_else(malformed)?;
    let (node, name) = match target.rsplit_once(':') {
        Some((node, name)) => (Some(node), name),
        None => (None, target),
    };
    if name.is_empty() || value.is_empty() || node.is_some_and(str::is_empty) {
        return Err(malformed());
    }
    Ok(ParameterArgument::Assignment { node: node.map(str::to_owned), name: name.to_owned(), value: value.to_owned() })
}

fn remap(flag: &str, rule: &str) -> Result<Remap, UsageError> {
    rule.parse().map_err(|error| {
        let expected = if let parameters::Error::Remap { expected, .. } = error { expected } else { "FROM:=TO" };
        UsageError::Malformed { flag: flag.to_owned(), found: rule.to_owned(), expected }
    })
}

fn log_level(found: &str) -> Result<(Option<String>, Level), UsageError> {
    let (logger, word) = match found.split_once(":=") {
        Some((logger, word)) => (Some(logger.to_owned()), word),
        None => (None, found),
    };
    match word.parse() {
        Ok(level) => Ok((logger, level)),
        Err(source) => Err(UsageError::Level { found: found.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, UsageError> {
        Command::parse(std::iter::once("vla_trt_node").chain(line.split_whitespace()).map(OsString::from))
    }

    fn arguments(line: &str) -> Arguments {
        match parse(line) {
            Ok(Command::Run(arguments)) => arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn overrides_keep_their_order_and_their_node() {
        let parsed = arguments("--ros-args --params-file a.yaml -p rate_hz:=2 --params-file b.yaml -p left:seed:=3 --");
        let assignment = |node: Option<&str>, name: &str, value: &str| ParameterArgument::Assignment {
            node: node.map(str::to_owned),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(
            parsed.overrides,
            [
                ParameterArgument::File("a.yaml".into()),
                assignment(None, "rate_hz", "2"),
                ParameterArgument::File("b.yaml".into()),
                assignment(Some("left"), "seed", "3"),
            ]
        );
    }

    #[test]
    fn a_check_takes_the_same_ros_arguments() {
        for line in ["--check --ros-args -p rate_hz:=2", "--ros-args -p rate_hz:=2 -- --check"] {
            match parse(line) {
                Ok(Command::Check(found)) => assert_eq!(found, arguments("--ros-args -p rate_hz:=2"), "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(parse("--ros-args --check").is_err());
    }

    #[test]
    fn a_value_may_hold_the_separator() {
        let parsed = arguments("--ros-args -p instruction:=a:=b");
        assert!(matches!(&parsed.overrides[..], [ParameterArgument::Assignment { value, .. }] if value == "a:=b"));
    }

    #[test]
    fn a_level_for_another_logger_does_not_apply() {
        let parsed = arguments("--ros-args --log-level debug --log-level rmw_fastrtps_cpp:=error");
        assert_eq!(parsed.log_level("vla_trt_node"), Some(Level::Debug));
        assert_eq!(parsed.log_level("rmw_fastrtps_cpp"), Some(Level::Error));
        assert_eq!(arguments("").log_level("vla_trt_node"), None);
    }

    #[test]
    fn what_rcl_would_swallow_or_choke_on_is_refused_by_name() {
        for (line, part) in [
            ("policy", "'policy'"),
            ("--ros-args --parms-file x", "'--parms-file'"),
            ("--ros-args --params-file", "--params-file FILE"),
            ("--ros-args -p rate_hz=5", "NAME:=VALUE"),
            ("--ros-args -p :=5", "NAME:=VALUE"),
            ("--ros-args -r __node:=7up", "node name"),
            ("--ros-args -r __ns:=left", "absolute namespace"),
            ("--ros-args -r a:=", "FROM:=TO"),
            ("--ros-args --log-level loud", "'loud'"),
            ("--ros-args -- extra", "'extra'"),
        ] {
            match parse(line) {
                Err(error) => assert!(error.to_string().contains(part), "{line}: {error}"),
                Ok(command) => panic!("{line}: {command:?}"),
            }
        }
    }

    #[test]
    fn remaps_of_name_namespace_and_topics_pass() {
        let parsed = arguments(
            "--ros-args -r __node:=left_policy -r __ns:=/left/arm -r ~/action_chunk:=/chunks -r vla:__ns:=/ \
             -r vla:joints:=/j -r rostopic://a:=b",
        );
        let rules: Vec<_> = parsed.remaps.iter().map(|r| (r.node.as_deref(), &*r.from, &*r.to)).collect();
        assert!(rules.contains(&(None, "~/action_chunk", "/chunks")));
        assert!(rules.contains(&(Some("vla"), "joints", "/j")));
        assert!(rules.contains(&(None, "rostopic://a", "b")));
    }
}
