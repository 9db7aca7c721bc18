//! Folders that are whole or not there: files are made beside the target and moved in at the end.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// A folder under construction beside its target. It goes away when it is dropped, whatever happened.
pub struct Staging {
    out: PathBuf,
    partial: PathBuf,
    /// The file that says what the folder is, moved in last.
    mark: &'static str,
}

impl Staging {
    /// For `out`: a new or empty folder, or one that holds a `mark` and so is a `kind` made here before.
    ///
    /// # Errors
    /// [`Error::OccupiedFolder`] when `out` holds something else, [`Error::Io`].
    pub fn beside(out: &Path, kind: &'static str, mark: &'static str) -> Result<Self, Error> {
        let occupied = out.is_dir() && fs::read_dir(out).map_err(Error::io(out))?.next().is_some();
        if occupied && !out.join(mark).is_file() {
            return Err(Error::OccupiedFolder { path: out.to_path_buf(), kind, mark });
        }
        Ok(Self { out: out.to_path_buf(), partial: scratch(out, "partial")?, mark })
    }

    /// For files that are needed only while `out` is made; never finished.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scratch(out: &Path) -> Result<Self, Error> {
        Ok(Self { out: out.to_path_buf(), partial: scratch(out, "scratch")?, mark: "" })
    }

    /// Where to write.
    pub fn dir(&self) -> &Path {
        &self.partial
    }

    /// Moves everything in. Files of an earlier make that this one does not have stay.
    ///
    /// # Errors
    /// [`Error::Io`]; without its mark the folder says that it is not whole.
    pub fn finish(self) -> Result<(), Error> {
        fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        let mut names: Vec<_> = fs::read_dir(&self.partial)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<_, _>>())
            .map_err(Error::io(&self.partial))?;
        names.sort_by_key(|name| (name == self.mark, name.clone()));
        let mark = self.out.join(self.mark);
        if mark.exists() {
            fs::remove_file(&mark).map_err(Error::io(&mark))?;
        }
        for name in names {
            let to = self.out.join(&name);
            if to.is_dir() {
                fs::remove_dir_all(&to).map_err(Error::io(&to))?;
            }
            fs::rename(self.partial.join(&name), &to).map_err(Error::io(&to))?;
        }
        Ok(())
    }
}

/// A new folder beside `out`; inside it where `out` has no name of its own, as `.` and `..` have none.
fn scratch(out: &Path, suffix: &str) -> Result<PathBuf, Error> {
    let process = std::process::id();
    let partial = match out.file_name() {
        Some(name) => out.with_file_name(format!(".{}.{process}.{suffix}", name.to_string_lossy())),
        None => out.join(format!(".{process}.{suffix}")),
    };
    fs::create_dir_all(&partial).map_err(Error::io(&partial))?;
    Ok(partial)
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.partial) {
            tracing::warn!("{} could not be removed: {error}", self.partial.display());
        }
    }
}
