//! Output folders that appear only when complete: files are written beside the target and moved in at the end.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;
use vla_base::sys::fs::{Outputs, ScratchFolder, Target, is_temporary, move_to, require_space};

/// A folder under construction, beside its target, or inside the target where that exists. It is removed when it is
/// dropped; the folder of a killed process is removed when the next one is made.
pub struct Staging {
    out: PathBuf,
    partial: ScratchFolder,
    /// The file that identifies the folder, moved in last.
    mark: &'static str,
}

impl Staging {
    /// For `out`: a new or empty folder, or one that holds a `mark` and so is a `kind` made here before. A symlink to a
    /// folder is followed.
    ///
    /// # Errors
    /// [`Error::OccupiedFolder`] when `out` holds something else, [`Error::Output`] when it has an entry that no file may
    /// replace or cannot be written, [`Error::Io`].
    pub fn beside(out: &Path, kind: &'static str, mark: &'static str) -> Result<Self, Error> {
        check(out, kind, mark)?;
        Ok(Self { out: out.to_path_buf(), partial: ScratchFolder::make_for(out)?, mark })
    }

    /// For files that are needed only while `out` is made; never finished.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn scratch(out: &Path) -> Result<Self, Error> {
        Ok(Self { out: out.to_path_buf(), partial: ScratchFolder::make_for(out)?, mark: "" })
    }

    /// Where to write.
    pub fn dir(&self) -> &Path {
        self.partial.path()
    }

    /// Moves everything in. Files of an earlier make that this one does not have stay.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Output`]; an incomplete folder has no mark.
    pub fn finish(self) -> Result<(), Error> {
        let dir = self.dir();
        fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        let mut names: Vec<_> = fs::read_dir(dir)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<_, _>>())
            .map_err(Error::io(dir))?;
        names.sort_by_key(|name| (name == self.mark, name.clone()));
        let mark = Target::of(&self.out.join(self.mark))?;
        if mark.existing().is_some() {
            fs::remove_file(mark.path()).map_err(Error::io(mark.path()))?;
        }
        for name in names {
            let (from, to) = (dir.join(&name), self.out.join(&name));
            if !from.is_dir() {
                move_to(&from, &to)?;
                continue;
            }
            // A symlink to a folder stays.
            let to = if to.is_dir() { fs::canonicalize(&to).map_err(Error::io(&to))? } else { to };
            if to.is_dir() {
                fs::remove_dir_all(&to).map_err(Error::io(&to))?;
            }
            fs::rename(&from, &to).map_err(Error::io(&to))?;
        }
        Ok(())
    }
}

/// Copies a file into a folder under construction; folders on the way are made.
///
/// # Errors
/// [`Error::Io`].
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    // Not fs::copy: a read-only original would give a read-only copy.
    let mut source = fs::File::open(from).map_err(Error::io(from))?;
    let mut target = fs::File::create(to).map_err(Error::io(to))?;
    std::io::copy(&mut source, &mut target).map(drop).map_err(Error::io(to))
}

/// Refuses when the disk has less than `bytes` free for the files of the folder `dir`.
///
/// # Errors
/// [`Error::Output`].
pub(crate) fn require_room(dir: &Path, bytes: u64) -> Result<(), Error> {
    // The name is a temporary one.
    let folder = dir.parent().unwrap_or(dir);
    Ok(require_space(folder, folder, bytes)?)
}

/// Refuses a folder that is not this kind's, or that cannot be written.
///
/// # Errors
/// As [`Staging::beside`].
pub fn check(out: &Path, kind: &'static str, mark: &'static str) -> Result<(), Error> {
    if !out.is_dir() {
        // A name that is free, or something that no folder may replace.
        return match fs::symlink_metadata(out) {
            Ok(_) => Err(Error::OccupiedFolder { path: out.to_path_buf(), kind, mark }),
            Err(_) => Ok(()),
        };
    }
    let mut entries = fs::read_dir(out).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(Error::io(out))?;
    entries.retain(|entry| !is_temporary(&entry.file_name()));
    if !entries.is_empty() && !out.join(mark).is_file() {
        return Err(Error::OccupiedFolder { path: out.to_path_buf(), kind, mark });
    }
    for entry in entries {
        let path = entry.path();
        if !path.is_dir() {
            Target::of(&path)?;
        }
    }
    Ok(Outputs::default().file("the folder's", out.join(mark).as_path()).check()?)
}
