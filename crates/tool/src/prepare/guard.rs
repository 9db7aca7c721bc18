//! Runs the steps of a plan, and restores what they changed.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::runner::Runner;
use super::state::{State, Store};
use super::{Change, Error, Preparation, survey};
use crate::doctor::PowerModes;
use crate::root::Root;

/// Restores the changed settings when dropped. [`Self::restore`] does the same and returns the result.
#[derive(Debug)]
pub struct Guard {
    root: Root,
    modes: PowerModes,
    state: State,
    /// `None` if nothing was changed that can be restored.
    store: Option<Store>,
    done: Vec<String>,
}

pub(super) fn apply(plan: Preparation) -> Result<Guard, Error> {
    let changes = plan.changes_something();
    let Preparation { root, modes, steps, .. } = plan;
    let mut guard = Guard { root, modes, state: State::default(), store: None, done: Vec::new() };
    if !changes {
        return Ok(guard);
    }
    let mut changes: Vec<Change> = steps.iter().filter_map(|step| step.change).collect();
    if changes.iter().any(|change| *change != Change::Caches) {
        // Before the first change: if the former settings cannot be stored, nothing is changed.
        if let Some(line) = guard.leftover()? {
            guard.done.push(line);
            guard.modes = PowerModes::of(&guard.root);
            changes = survey::steps(&guard.root, &guard.modes).iter().filter_map(|step| step.change).collect();
        }
    }
    for change in changes {
        let result = match change {
            Change::Leftover => continue,
            Change::PowerMode(id) => guard.set_power_mode(id),
            Change::Clocks => guard.hold_clocks(),
            Change::Caches => guard.drop_caches(),
        };
        guard.done.push(result.unwrap_or_else(|reason| format!("not done: {reason}")));
    }
    Ok(guard)
}

impl Guard {
    /// Result of each step, one line each.
    pub fn done(&self) -> &[String] {
        &self.done
    }

    /// Restores all settings, the clocks before the power mode, because they belong to it. Returns one text per setting.
    ///
    /// # Errors
    /// [`Error::NotRestored`] with every setting that was not restored; the stored settings remain for the next run.
    pub fn restore(mut self) -> Result<Vec<String>, Error> {
        self.put_back()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        Runner::new(&self.root).run(program, arguments)
    }

    fn store(&mut self) -> Result<&Store, Error> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.root)?,
        };
        Ok(self.store.insert(store))
    }

    fn note(&mut self) -> Result<(), Error> {
        let state = self.state.clone();
        self.store()?.write(&state)
    }

    /// Restores the settings that a killed run changed; `None` if there are none.
    fn leftover(&mut self) -> Result<Option<String>, Error> {
        let Some(state) = self.store()?.read()? else { return Ok(None) };
        self.state = state;
        let back = self.put_back()?;
        Ok(Some(format!("an earlier run was killed; put back: {}", back.join(", "))))
    }

    /// The power mode by nvpmodel's output, or by its status file.
    fn power_mode(&self) -> Option<u32> {
        let asked = self.run("nvpmodel", &["-q"]).ok();
        let number = asked.and_then(|text| text.split_whitespace().next_back()?.parse().ok());
        number.or_else(|| PowerModes::of(&self.root).now)
    }

    fn set_power_mode(&mut self, id: u32) -> Result<String, String> {
        let former = self.power_mode().ok_or("the power mode is not known, so it could not be put back")?;
        let title = |id: u32| format!("{} ({id})", self.modes.name(id));
        let (from, to) = (title(former), title(id));
        if former == id {
            return Ok(format!("power mode {to} already"));
        }
        self.state.power_mode = Some(former);
        self.note().map_err(|error| {
            self.state.power_mode = None;
            format!("power mode {to}: {error}")
        })?;
        let result = self.change_power_mode(id);
        if self.power_mode() == Some(former) {
            self.state.power_mode = None;
            self.note().map_err(|error| error.to_string())?;
        }
        result.map(|()| format!("power mode {from} -> {to}"))
    }

    fn change_power_mode(&self, id: u32) -> Result<(), String> {
        let result = self.run("nvpmodel", &["-m", &id.to_string()]);
        if self.power_mode() == Some(id) {
            return Ok(());
        }
        let words = match result {
            Ok(words) | Err(words) => words,
        };
        let name = self.modes.name(id);
        if words.to_ascii_lowercase().contains("reboot") {
            Err(format!(
                "power mode {name} needs a reboot, which was declined; to have it: sudo nvpmodel -m {id}, then reboot"
            ))
        } else {
            Err(format!("power mode {name}: nvpmodel -m {id} left another one: {words}"))
        }
    }

    fn hold_clocks(&mut self) -> Result<String, String> {
        let file = self.store().map_err(|error| error.to_string())?.clocks.clone();
        let text = file.to_string_lossy().into_owned();
        // jetson_clocks asks before it overwrites a file.
        if file.exists() {
            std::fs::remove_file(&file).map_err(|error| format!("clocks: {text}: {error}"))?;
        }
        self.run("jetson_clocks", &["--store", &text])?;
        if !file.is_file() {
            return Err(format!("clocks: jetson_clocks --store wrote no {text}, so they could not be put back"));
        }
        self.state.clocks = true;
        self.note().map_err(|error| {
            self.state.clocks = false;
            format!("clocks: {error}")
        })?;
        // It may fail half-way, so the stored clocks are restored in any case.
        self.run("jetson_clocks", &[])?;
        Ok("clocks held at their highest".to_owned())
    }

    fn drop_caches(&self) -> Result<String, String> {
        // Without `sync` only clean pages are dropped; a root without the program has few dirty ones.
        let synced = self.run("sync", &[]);
        let path = self.root.join("/proc/sys/vm/drop_caches");
        let written = OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(b"3\n"));
        written.map_err(|error| format!("page caches: {}: {error} (a container has it read-only)", path.display()))?;
        Ok(synced.map_or_else(|error| format!("page caches dropped ({error})"), |_| "page caches dropped".to_owned()))
    }

    fn put_back(&mut self) -> Result<Vec<String>, Error> {
        let (mut back, mut problems) = (Vec::new(), Vec::new());
        let Some(store) = self.store.as_ref() else { return Ok(back) };
        let (path, file) = (store.path().to_owned(), store.clocks.to_string_lossy().into_owned());
        if self.state.clocks {
            match self.run("jetson_clocks", &["--restore", &file]) {
                Ok(_) => {
                    self.state.clocks = false;
                    back.push("clocks as they were".to_owned());
                }
                Err(words) => problems.push(format!("clocks: {words}; by hand: sudo jetson_clocks --restore {file}")),
            }
        }
        if let Some(former) = self.state.power_mode {
            match self.change_power_mode(former) {
                Ok(()) => {
                    self.state.power_mode = None;
                    back.push(format!("power mode {} ({former})", self.modes.name(former)));
                }
                Err(words) => problems.push(format!("{words}; by hand: sudo nvpmodel -m {former}")),
            }
        }
        if let Err(error) = self.note() {
            problems.push(error.to_string());
        }
        // The next run restores the rest; the destructor does not try again.
        self.state = State::default();
        if problems.is_empty() { Ok(back) } else { Err(Error::NotRestored { problems, path }) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.state != State::default()
            && let Err(error) = self.put_back()
        {
            tracing::error!("{error}");
        }
    }
}
