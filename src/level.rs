//! Log levels of ROS 2 and what they are called on the command line, in the parameter and in `rcl_interfaces/Log`.

use std::fmt;
use std::str::FromStr;

/// A ROS 2 log level; messages below it are not written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Level {
    /// Everything, every cycle.
    Debug = 10,
    /// Start, stop, loading, changes of phase and parameters.
    #[default]
    Info = 20,
    /// Something was left out or held back; the node goes on.
    Warn = 30,
    /// Something asked for was not done.
    Error = 40,
    /// Nothing but the reason of an exit.
    Fatal = 50,
}

impl Level {
    /// Every level, most talkative first.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// The number in `rcl_interfaces/Log.level`.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The level of that number in `rcl_interfaces/Log.level`.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.number() == number)
    }

    /// The name as parameter and command line take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no log level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("log level '{0}' is not known; expected debug, info, warn, error or fatal")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, UnknownLevel> {
        // rcutils takes either case, and "unset" for the default.
        if word.eq_ignore_ascii_case("unset") {
            return Ok(Self::default());
        }
        let known = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(word));
        known.ok_or_else(|| UnknownLevel(word.to_owned()))
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG | tracing::Level::TRACE => Self::Debug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip_and_case_does_not_matter() {
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
            assert_eq!(Level::from_number(level.number()), Some(level));
        }
        assert_eq!("WARN".parse(), Ok(Level::Warn));
        assert!("loud".parse::<Level>().is_err_and(|e| e.to_string().contains("'loud'")));
    }
}
