//! Prepares a machine for a build (drops page caches, sets the highest power mode, fixes clocks) and restores it.
//!
//! All files and programs are below a root folder, so that tests can represent a Jetson by a folder with shell scripts for
//! `nvpmodel` and `jetson_clocks`. The former settings are stored in [`STATE`] before they are changed, so that the next run
//! restores them if a run was killed (SIGKILL, loss of power).

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

/// Why a machine was not prepared, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has prepared the machine.
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
    /// The file with the former settings cannot be read or written.
    #[error("{}: {reason}; nothing was changed, because it could not be restored", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A setting was not restored.
    #[error(
        "this machine is not as it was:\n  {}\nthe next `sudo vla-trt prepare-system -- true` tries again, from {}",
        problems.join("\n  "), path.display()
    )]
    NotRestored {
        /// One line per setting, with the command that restores it manually.
        problems: Vec<String>,
        /// The file with the former settings, which the next run uses.
        path: PathBuf,
    },
}

/// What a step changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// Restores the settings that a killed run changed.
    Leftover,
    /// Sets this power mode.
    PowerMode(u32),
    /// Fixes the clocks at their maximum.
    Clocks,
    /// Drops page caches.
    Caches,
}

/// One line of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Step {
    what: &'static str,
    /// `None` for a step that changes nothing.
    change: Option<Change>,
    /// What is changed or was found, the reason and the cost.
    text: String,
    /// The equivalent shell command for root.
    command: Option<String>,
}

/// Steps to prepare a machine, and advice about steps that a person should do.
///
/// Displays as one line per step, with reason and cost; without root privileges, with the command to run.
#[derive(Clone, Debug)]
pub struct Preparation {
    root: Root,
    is_root: bool,
    modes: PowerModes,
    steps: Vec<Step>,
}

impl Preparation {
    /// Examines the machine below `root`, for the user of this process. Changes nothing and runs no programs.
    pub fn of(root: &Path) -> Self {
        Self::for_user(root, rustix::process::geteuid().as_raw())
    }

    /// Like [`Self::of`] for another user; 0 is root.
    pub fn for_user(root: &Path, uid: u32) -> Self {
        let root = Root::new(root);
        let modes = PowerModes::of(&root);
        let steps = survey::steps(&root, &modes);
        Self { root, is_root: uid == 0, modes, steps }
    }

    /// Whether [`Self::apply`] changes anything.
    pub fn changes_something(&self) -> bool {
        self.is_root && self.steps.iter().any(|step| step.change.is_some())
    }

    /// Runs every step, also after a failed one; [`Guard::done`] has the result of each. Without root privileges it changes
    /// nothing, and the guard has nothing to restore.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process has prepared the machine; [`Error::State`] if the former settings cannot be
    /// stored; [`Error::NotRestored`] if the settings that a killed run changed cannot be restored.
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
