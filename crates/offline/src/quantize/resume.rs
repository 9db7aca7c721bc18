//! What a run found so far, in files: a run that was ended goes on from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::bundle::fingerprint_of;
use super::calibration::Calibration;
use super::groups::Group;
use super::{Effect, Options};
use crate::Error;
use vla_base::sys::fs::replace;
use vla_engines::Stage;
use vla_engines::provenance::hash;

/// A folder with what was found of one policy on one recording.
pub(super) struct Store {
    dir: PathBuf,
    /// What the findings hold for; those of another key are not used.
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    key: String,
    found: T,
}

impl Store {
    /// Makes the folder.
    pub(super) fn open(options: &Options, calibration: &dyn Calibration) -> Result<Self, Error> {
        fs::create_dir_all(&options.work).map_err(Error::io(&options.work))?;
        let Options { target, weights, .. } = options;
        let observations = calibration.observations();
        let version = env!("CARGO_PKG_VERSION");
        let policy = fingerprint_of(calibration.spec(), &calibration.spec().dir)?;
        let tensors = calibration.tensors_sha256()?;
        let key = format!("{version} {policy} {tensors} {observations} {target:?} {weights:?}");
        Ok(Self { dir: options.work.clone(), key })
    }

    /// The analysis of a stage, from its file or made now.
    pub(super) fn analysis(
        &self,
        stage: &Stage,
        make: impl FnOnce() -> Result<Analysis, Error>,
    ) -> Result<Analysis, Error> {
        let network = hash::file_sha256(&stage.file).map_err(Error::io(&stage.file))?;
        self.kept(&format!("scales.{}.json", stage.name), &format!("{} {network}", self.key), make)
    }

    /// The effect of a group, from its file or found now.
    pub(super) fn effect(&self, group: &Group, find: impl FnOnce() -> Result<Effect, Error>) -> Result<Effect, Error> {
        let name = hash::sha256(format!("{}\n{}", group.label, group.nodes.join("\n")).as_bytes());
        self.kept(&format!("effect.{}.json", &name[..16]), &self.key, find)
    }

    fn kept<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        key: &str,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let file = self.dir.join(name);
        if let Some(found) = read::<T>(&file, key) {
            return Ok(found);
        }
        let kept = Kept { key: key.to_owned(), found: make()? };
        let text =
            serde_json::to_vec(&kept).map_err(|error| Error::Internal(format!("{}: {error}", file.display())))?;
        replace(&file, &text)?;
        Ok(kept.found)
    }
}

/// Removes what runs left in a folder, and the folder when nothing else is in it.
///
/// # Errors
/// [`Error::Io`].
pub fn forget(dir: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(Error::io(dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".json") && (name.starts_with("scales.") || name.starts_with("effect.")) {
            fs::remove_file(entry.path()).map_err(Error::io(&entry.path()))?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(Error::io(dir)(error)),
        _ => Ok(()),
    }
}

/// What a file holds under this key; a file that is missing, damaged or of another key holds nothing.
fn read<T: DeserializeOwned>(file: &Path, key: &str) -> Option<T> {
    let kept: Kept<T> = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (kept.key == key).then_some(kept.found)
}
