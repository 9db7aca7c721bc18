//! A machine made ready for a build: page caches dropped, the highest power mode, clocks held; all of it put back.
//!
//! Every file is read and written below a root folder, every program is one of that root's, so that a Jetson can be
//! laid out in a folder with shell scripts for `nvpmodel` and `jetson_clocks`. What is to be put back is noted in
//! [`STATE`] before it is changed: a run that was killed (SIGKILL, loss of power) is put right by the next one.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::doctor::PowerModes;
use crate::root::Root;

mod guard;
mod runner;
mod state;
mod survey;

pub use guard::Guard;
pub use state::STATE;

/// Why a machine was not made ready, or not put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it ready.
    #[error(
        "process {holder} has this machine prepared already, and puts it back when it ends; go on without preparing, or \
         wait for it (its lock is {})", lock.display()
    )]
    Busy {
        /// The lock's file.
        lock: PathBuf,
        /// The number of the process.
        holder: String,
    },
    /// The note of what is to be put back cannot be read or written.
    #[error("{}: {reason}; nothing was changed, because it could not be restored", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something that was changed is not as it was.
    #[error(
        "this machine is not as it was:\n  {}\nthe next `sudo vla-trt prepare-system -- true` tries again, from {}",
        problems.join("\n  "), path.display()
    )]
    NotRestored {
        /// One line each, with the command that does it by hand.
        problems: Vec<String>,
        /// The note that it tries again from.
        path: PathBuf,
    },
}

/// What a step changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// Puts back what a killed run changed.
    Leftover,
    /// Sets this power mode.
    PowerMode(u32),
    /// Holds the clocks at their highest.
    Clocks,
    /// Drops page caches.
    Caches,
}

/// One line of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Step {
    what: &'static str,
    /// `None`: only told, or left as it is.
    change: Option<Change>,
    /// What is done or was found, why, and what it costs.
    text: String,
    /// As a user would type it, as root.
    command: Option<String>,
}

/// What would be done to a machine, and what only a person should do.
///
/// Displays as one line a step, with its reason and its cost; without the rights of root, with the command to run.
#[derive(Clone, Debug)]
pub struct Preparation {
    root: Root,
    is_root: bool,
    modes: PowerModes,
    steps: Vec<Step>,
}

impl Preparation {
    /// Looks at the machine below `root`, for the user of this process. Changes nothing, runs nothing.
    pub fn of(root: &Path) -> Self {
        Self::for_user(root, rustix::process::geteuid().as_raw())
    }

    /// As [`Self::of`] for another user: 0 is root.
    pub fn for_user(root: &Path, uid: u32) -> Self {
        let root = Root::new(root);
        let modes = PowerModes::of(&root);
        let steps = survey::steps(&root, &modes);
        Self { root, is_root: uid == 0, modes, steps }
    }

    /// Whether [`Self::apply`] changes anything: as root, where there is something to change.
    pub fn changes_something(&self) -> bool {
        self.is_root && self.steps.iter().any(|step| step.change.is_some())
    }

    /// Does it, each step whether or not another one failed; [`Guard::done`] tells what came of each. Without the rights
    /// of root nothing is done, and the guard has nothing to put back.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process has the machine prepared; [`Error::State`] when it cannot be noted what is
    /// to be put back; [`Error::NotRestored`] when what a killed run left cannot be put back.
    pub fn apply(self) -> Result<Guard, Error> {
        guard::apply(self)
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{:11}  {}", step.what, step.text)?;
            if let Some(command) = &step.command {
                let lead = if step.change.is_some() && self.is_root { "runs" } else { "to do it" };
                write!(f, "  -> {lead}: {command}")?;
            }
        }
        if !self.is_root {
            write!(f, "\nnot root: nothing of this is done here; run the commands, or all of it with sudo")?;
        }
        Ok(())
    }
}
