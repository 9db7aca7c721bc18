//! Where the files of a checkpoint lie: in its folder, or in folders of it that a trainer also writes.
//!
//! NVIDIA's trainer writes `config.json` and weights into its output folder and into `checkpoint-N` folders of it, and the
//! processor's files beside them or, in the output folder, into `processor/`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Folder of a training run that has the processor's files.
const PROCESSOR_DIR: &str = "processor";
/// Folder with the trainer's settings, for people.
const SETTINGS_DIR: &str = "experiment_cfg";
/// How names of folders begin that hold whole checkpoints of a run: of NVIDIA's trainer and of LeRobot.
const CHECKPOINTS: [&str; 2] = ["checkpoint-", "pretrained_model"];
/// Most folders that a message lists.
const NAMED: usize = 5;

/// The folder with the processor's files, found as the vendor's policy finds it: `processor/` where the checkpoint's folder does
/// not have `file` itself.
///
/// # Errors
/// [`Error::NoProcessor`] with what is there instead.
pub fn of_processor(checkpoint: &Path, file: &str) -> Result<PathBuf, Error> {
    let inside = checkpoint.join(PROCESSOR_DIR);
    if checkpoint.join(file).is_file() {
        return Ok(checkpoint.to_owned());
    }
    if inside.join(file).is_file() {
        return Ok(inside);
    }
    let mut advice = others(checkpoint, file);
    if checkpoint.join(SETTINGS_DIR).join("final_processor_config.json").is_file() {
        advice.push_str(
            "; experiment_cfg/final_processor_config.json is a printout of Python objects and cannot replace it",
        );
    }
    Err(Error::NoProcessor { path: checkpoint.join(file), advice })
}

/// What to name instead of a folder that lacks `file`, as the end of a message.
pub fn others(folder: &Path, file: &str) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let parent = folder.parent().filter(|parent| parent.join(file).is_file());
    if let Some(parent) = parent.filter(|_| [PROCESSOR_DIR, SETTINGS_DIR].contains(&name.as_ref())) {
        return format!("; {name} is a part of the checkpoint {}", parent.display());
    }
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            CHECKPOINTS.iter().any(|start| name.starts_with(start)) && path.join(file).is_file()
        })
        .collect();
    // checkpoint-2000 before checkpoint-10000.
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let Some(last) = found.last() else { return String::new() };
    let last = last.display().to_string();
    let more = found.len().saturating_sub(NAMED);
    let names = found.iter().rev().take(NAMED).rev().filter_map(|path| path.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let more = if more > 0 { format!("{more} more, ") } else { String::new() };
    format!("; these folders in it have one: {more}{}; give --checkpoint {last}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "processor_config.json";

    fn touch(dir: &Path, file: &str) {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(path, "{}").expect("written");
    }

    #[test]
    fn the_folder_itself_comes_before_its_processor_folder() {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path();
        assert!(matches!(of_processor(dir, FILE), Err(Error::NoProcessor { advice, .. }) if advice.is_empty()));
        touch(dir, "processor/processor_config.json");
        assert_eq!(of_processor(dir, FILE).expect("found"), dir.join("processor"));
        touch(dir, FILE);
        assert_eq!(of_processor(dir, FILE).expect("found"), dir);
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let scratch = tempfile::tempdir().expect("scratch");
        let run = scratch.path();
        for step in [500, 1000, 1500, 2000, 9500, 10000, 10500] {
            touch(run, &format!("checkpoint-{step}/{FILE}"));
        }
        touch(run, "experiment_cfg/final_processor_config.json");
        let Err(Error::NoProcessor { advice, .. }) = of_processor(run, FILE) else { panic!("none") };
        assert!(advice.contains(": 2 more, checkpoint-1500, checkpoint-2000, checkpoint-9500, "), "{advice}");
        assert!(advice.contains(&format!("--checkpoint {}", run.join("checkpoint-10500").display())), "{advice}");
        assert!(advice.contains("final_processor_config.json is a printout"), "{advice}");
        touch(run, "config.json");
        let part = others(&run.join("experiment_cfg"), "config.json");
        assert!(part.contains(&format!("a part of the checkpoint {}", run.display())), "{part}");
    }
}
