//! The files that a policy was loaded from, and whether they are still the same on disk.
//!
//! A loaded policy holds private copies, so a change on disk does not reach it. It is seen, though: size, inode and
//! modification time of every file are compared. No content is read, so that looking once a second costs some twenty
//! system calls. A file that was only touched counts as changed; one that got another hard link or other permissions,
//! which set the change time alone, does not.

use std::path::{Path, PathBuf};

use super::spec::{POLICY_FILE, PolicySpec};
use vla_engines::provenance::{FileMark, Provenance, network_files};
use vla_engines::{EngineKind, Stage};

/// Files with what marks their content; `None`: the file is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadedFiles(Vec<(PathBuf, Option<FileMark>)>);

impl LoadedFiles {
    /// Every file of the bundle that counts for its fingerprint, its description, weights beside its networks, and the
    /// engines in `stages` with their records, as they are now.
    pub(super) fn of(spec: &PolicySpec, kind: EngineKind, stages: &[Stage]) -> Self {
        let bundled = spec.files().into_iter().chain(spec.supplied_files()).map(|name| spec.dir.join(name));
        let mut paths: Vec<PathBuf> = std::iter::once(spec.dir.join(POLICY_FILE)).chain(bundled).collect();
        for stage in stages {
            match kind {
                EngineKind::Onnx => paths.push(stage.file.clone()),
                EngineKind::Tensorrt | EngineKind::Cuda => {
                    paths.extend([stage.file.clone(), Provenance::path(&stage.file)])
                }
            }
        }
        let networks: Vec<PathBuf> = paths.iter().filter(|path| is_network(path)).cloned().collect();
        for network in networks {
            // One that cannot be read is refused where it is loaded.
            paths.extend(network_files(&network).unwrap_or_default());
        }
        paths.sort();
        paths.dedup();
        Self::marked(paths)
    }

    fn marked(paths: Vec<PathBuf>) -> Self {
        let mark = |path: PathBuf| {
            let mark = FileMark::of(&path).ok();
            (path, mark)
        };
        Self(paths.into_iter().map(mark).collect())
    }

    /// Those that are not what they were: written, replaced, removed or added since.
    pub fn changed(&self) -> Vec<&Path> {
        let content = |mark: &FileMark| (mark.bytes, mark.inode, mark.modified_ns);
        let differs = |(path, mark): &&(PathBuf, Option<FileMark>)| {
            FileMark::of(path).ok().as_ref().map(content) != mark.as_ref().map(content)
        };
        self.0.iter().filter(differs).map(|(path, _)| path.as_path()).collect()
    }
}

fn is_network(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_were_written_replaced_removed_or_added_are_named_and_others_are_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let names = ["same", "written", "replaced", "removed", "added", "absent"];
        let paths = names.map(|name| dir.path().join(name));
        for path in &paths[..4] {
            fs::write(path, "before").expect("written");
            // As if written a while ago: the clock of a file system may be coarse.
            let file = fs::File::options().write(true).open(path).expect("opened");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
        }
        let files = LoadedFiles::marked(paths.to_vec());
        assert!(files.changed().is_empty());
        // Of the same length, in place.
        fs::write(&paths[1], "after!").expect("written");
        fs::hard_link(&paths[0], dir.path().join("link")).expect("linked");
        let other = dir.path().join("other");
        fs::write(&other, "before").expect("written");
        fs::rename(&other, &paths[2]).expect("replaced");
        fs::remove_file(&paths[3]).expect("removed");
        fs::write(&paths[4], "new").expect("written");
        let changed: Vec<_> = files.changed().into_iter().filter_map(Path::file_name).collect();
        assert_eq!(changed, ["written", "replaced", "removed", "added"]);
    }
}
