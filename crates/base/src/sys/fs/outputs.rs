//! Output files of a command, checked before it starts.

use std::path::{Path, PathBuf};

use super::{Error, Identity, Replacement, Target};

/// The files that a command writes and reads, each with its role.
#[derive(Debug, Default)]
pub struct Outputs {
    outputs: Vec<(&'static str, PathBuf)>,
    inputs: Vec<(&'static str, PathBuf)>,
}

impl Outputs {
    /// Adds an output, if given. `role`: such as `--report`.
    #[must_use]
    pub fn file<'p>(mut self, role: &'static str, path: impl Into<Option<&'p Path>>) -> Self {
        self.outputs.extend(path.into().map(|path| (role, path.to_owned())));
        self
    }

    /// Adds inputs. A missing input is reported by its reader.
    #[must_use]
    pub fn reading<P: AsRef<Path>>(mut self, role: &'static str, paths: impl IntoIterator<Item = P>) -> Self {
        self.inputs.extend(paths.into_iter().map(|path| (role, path.as_ref().to_owned())));
        self
    }

    /// Checks that each output can be written, and that none is another output or an input, through any links.
    ///
    /// # Errors
    /// Those of [`Replacement::create`] and [`Error::SameFile`].
    pub fn check(&self) -> Result<(), Error> {
        let inputs: Vec<(&str, &Path, Identity)> = self
            .inputs
            .iter()
            .filter_map(|(role, path)| Some((*role, path.as_path(), Identity::of_input(path)?)))
            .collect();
        let mut known = inputs;
        for (role, path) in &self.outputs {
            let identity = Target::of(path)?.identity()?;
            if let Some((other, same, _)) = known.iter().find(|(_, _, known)| *known == identity) {
                return Err(Error::SameFile {
                    output: (*role).to_owned(),
                    path: path.clone(),
                    other: (*other).to_owned(),
                    same: (*same).to_owned(),
                });
            }
            known.push((role, path, identity));
        }
        // Created and dropped, which finds permissions, read-only mounts, quotas and full disks.
        self.outputs.iter().try_for_each(|(_, path)| Replacement::create(path).map(drop))
    }
}
