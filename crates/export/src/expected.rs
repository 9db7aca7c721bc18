//! `--expect-sha256`: the files of a checkpoint have the given hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Error;
use vla_engines::provenance::hash;

/// What `--expect-sha256` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// The hash of the only file of weights.
    Only(String),
    /// A file of the checkpoint or the adapter, by its name inside the folder, and its hash.
    File {
        /// Name.
        name: String,
        /// SHA-256, in lower-case hex.
        sha256: String,
    },
    /// A file that `sha256sum` wrote.
    List(PathBuf),
}

impl FromStr for Expected {
    type Err = String;

    /// A hash, `FILE=HASH`, or the path of a list.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(sha256) = hex(text) {
            return Ok(Self::Only(sha256));
        }
        match text.rsplit_once('=') {
            Some((name, sha256)) if !name.is_empty() => match hex(sha256) {
                Some(sha256) => Ok(Self::File { name: name.to_owned(), sha256 }),
                None => Err(format!("expected 64 hexadecimal digits after {name}=, found '{sha256}'")),
            },
            _ if text.is_empty() => {
                Err("expected a SHA-256, FILE=SHA-256 or a file of sha256sum, found nothing".into())
            }
            _ => Ok(Self::List(PathBuf::from(text))),
        }
    }
}

fn hex(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// Compares files with what is expected: every file of `weights` has to be named, and every name has to be a file of
/// `folders`. Nothing is compared when nothing is expected.
///
/// # Errors
/// [`Error::Content`] with every file that differs, is not named or is not there; [`Error::Io`] for a list that cannot be read.
pub(crate) fn check(expected: &[Expected], weights: &[(&Path, &[u8])], folders: &[&Path]) -> Result<(), Error> {
    if expected.is_empty() {
        return Ok(());
    }
    let mut problems = Vec::new();
    let named = names(expected, weights, &mut problems)?;
    let mut compared = Vec::new();
    for (path, bytes) in weights {
        let Some(wanted) = name_in(folders, path).and_then(|name| named.get(&name).map(|sha256| (name, sha256))) else {
            problems.push(format!("{}: expected its SHA-256, found none; add FILE=SHA-256", path.display()));
            continue;
        };
        let found = hash::sha256(bytes);
        compared.push(wanted.0);
        if found != *wanted.1 {
            problems.push(format!("{}: expected {}, found {found}; download it again", path.display(), wanted.1));
        }
    }
    let others = named.iter().filter(|(name, _)| !compared.contains(name));
    for (name, wanted) in others {
        let paths: Vec<PathBuf> =
            folders.iter().map(|folder| folder.join(name)).filter(|path| path.is_file()).collect();
        let found =
            paths.iter().map(|path| hash::file_sha256(path).map_err(Error::io(path))).collect::<Result<Vec<_>, _>>()?;
        match found.as_slice() {
            [] => problems.push(format!("{name}: expected in {}, found no such file", folders[0].display())),
            found if found.contains(wanted) => {}
            [first, ..] => problems.push(format!("{name}: expected {wanted}, found {first}; download it again")),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Content { problems }) }
}

/// A file's name inside the folder that holds it.
fn name_in(folders: &[&Path], path: &Path) -> Option<String> {
    let inside = folders.iter().find_map(|folder| path.strip_prefix(folder).ok())?;
    Some(inside.to_string_lossy().into_owned())
}

/// Hashes by name.
fn names(
    expected: &[Expected],
    weights: &[(&Path, &[u8])],
    problems: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut named = BTreeMap::new();
    let mut add = |name: String, sha256: String, problems: &mut Vec<String>| {
        if let Some(earlier) = named.insert(name.clone(), sha256.clone())
            && earlier != sha256
        {
            problems.push(format!("{name}: expected one SHA-256, found {earlier} and {sha256}"));
        }
    };
    for each in expected {
        match each {
            Expected::File { name, sha256 } => add(plain(name).to_owned(), sha256.clone(), problems),
            Expected::Only(sha256) => match weights {
                [(path, _)] => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    add(name, sha256.clone(), problems);
                }
                files => problems.push(format!(
                    "{sha256}: expected FILE=SHA-256 or a file of sha256sum, because there are {} files of weights",
                    files.len()
                )),
            },
            Expected::List(path) => {
                let text = fs::read_to_string(path).map_err(Error::io(path))?;
                for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    match listed(line) {
                        Some((name, sha256)) => add(name, sha256, problems),
                        None => problems.push(format!(
                            "{}, line {}: expected a SHA-256 and a file's name, found '{line}'",
                            path.display(),
                            at + 1
                        )),
                    }
                }
            }
        }
    }
    Ok(named)
}

/// A line of `sha256sum`: the hash, a blank, a blank or `*`, the name.
fn listed(line: &str) -> Option<(String, String)> {
    let (sha256, name) = line.split_at_checked(64)?;
    let name = name.strip_prefix("  ").or_else(|| name.strip_prefix(" *"))?;
    Some((plain(name).to_owned(), hex(sha256)?))
}

fn plain(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";

    #[test]
    fn a_hash_a_named_hash_and_a_list_are_told_apart() {
        assert_eq!(ONE.to_uppercase().parse(), Ok(Expected::Only(ONE.into())));
        let named = Expected::File { name: "a=b.safetensors".into(), sha256: ONE.into() };
        assert_eq!(format!("a=b.safetensors={ONE}").parse(), Ok(named));
        assert_eq!("SHA256SUMS".parse(), Ok(Expected::List("SHA256SUMS".into())));
        assert!("model.safetensors=12ab".parse::<Expected>().is_err());
        assert!("".parse::<Expected>().is_err());
    }

    struct Files {
        scratch: tempfile::TempDir,
    }

    impl Files {
        /// Two shards of one and two bytes, and a configuration.
        fn new() -> Self {
            let scratch = tempfile::tempdir().expect("scratch");
            for (name, content) in [("one", "one"), ("two", "two"), ("config.json", "{}")] {
                fs::write(scratch.path().join(name), content).expect("written");
            }
            Self { scratch }
        }

        fn check(&self, weights: &[&str], expected: &[&str]) -> Result<(), Vec<String>> {
            let dir = self.scratch.path();
            let expected: Vec<Expected> = expected.iter().map(|text| text.parse().expect("valid")).collect();
            let paths: Vec<PathBuf> = weights.iter().map(|name| dir.join(name)).collect();
            let weights: Vec<(&Path, &[u8])> =
                paths.iter().zip(weights).map(|(path, name)| (path.as_path(), name.as_bytes())).collect();
            match check(&expected, &weights, &[dir]) {
                Ok(()) => Ok(()),
                Err(Error::Content { problems }) => Err(problems),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn every_file_of_weights_has_to_be_named_and_equal() {
        let files = Files::new();
        // printf '%s' one | sha256sum, and two.
        let (one, two) = (format!("one={ONE}"), format!("./two={TWO}"));
        assert_eq!(files.check(&["one", "two"], &[&one, &two]), Ok(()));
        assert_eq!(files.check(&["one"], &[ONE]), Ok(()));
        assert_eq!(files.check(&["one", "two"], &[]), Ok(()), "nothing is expected");
        for (weights, expected, file) in [
            (&["one", "two"][..], &[one.as_str()][..], "two: expected its SHA-256"),
            (&["one", "two"], &[&one, &format!("two={ONE}")], TWO),
            (&["one", "two"], &[ONE], "2 files of weights"),
            (&["one"], &[&one, &format!("absent={TWO}")], "absent"),
            (&["one"], &[&one, &format!("one={TWO}")], "one SHA-256"),
            (&["one"], &[&one, &format!("config.json={TWO}")], "config.json"),
        ] {
            let problems = files.check(weights, expected).expect_err(file);
            assert!(problems.iter().any(|problem| problem.contains(file)), "{file}: {problems:?}");
        }
    }

    #[test]
    fn a_list_of_sha256sum_is_read_and_its_bad_lines_are_named() {
        let files = Files::new();
        let list = files.scratch.path().join("SHA256SUMS");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        fs::write(&list, format!("{ONE}  one\n{TWO} *./two\n\n")).expect("written");
        assert_eq!(files.check(&["one", "two"], &[&text(&list)]), Ok(()));
        fs::write(&list, format!("{ONE}  one\n{TWO}two\nnonsense\n")).expect("written");
        let problems = files.check(&["one"], &[&text(&list)]).expect_err("two bad lines");
        assert!(problems[0].contains("line 2") && problems[1].contains("line 3"), "{problems:?}");
    }
}
