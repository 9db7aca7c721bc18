//! The file of measured choices.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vla_base::sys::fs;

use super::{Key, Split, Tactic, Tactics};
use crate::launch::Tile;

/// Format of the file; another one is measured anew.
pub const FORMAT: u32 = 4;
/// Most bytes of a library's algorithm.
const ALGORITHM_BYTES: usize = 1024;

/// What choices hold for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name of the device.
    pub device: String,
    /// As `9.0`.
    pub compute_capability: String,
    /// Version of the driver.
    pub driver: String,
    /// Versions of cuBLASLt and of the kernels.
    pub cublaslt: String,
}

/// Why a file of tactics is not used. Products are measured again then.
#[derive(Debug, thiserror::Error)]
pub enum TacticsError {
    /// It cannot be read.
    #[error("{}: {source}; products are measured again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is not what this program writes.
    #[error("{}: damaged: {reason}; products are measured again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was measured elsewhere, or by another version.
    #[error("{}: expected {what} {expected}, found {found}; products are measured again", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Format, device, compute capability, driver or versions of cuBLASLt and kernels.
        what: &'static str,
        /// Of this process.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// It cannot be written.
    #[error("tactics: {0}")]
    Write(#[from] fs::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    machine: Machine,
    tactics: Vec<Entry>,
}

/// The format alone, of a file of any format.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    product: Key,
    split: Split,
    /// Hexadecimal.
    algorithm: String,
    microseconds: f64,
}

impl Tactics {
    /// Reads the choices for `machine`.
    ///
    /// # Errors
    /// [`TacticsError::Io`], [`TacticsError::Damaged`], [`TacticsError::Other`].
    pub fn read(path: &Path, machine: &Machine) -> Result<Self, TacticsError> {
        let text = std::fs::read(path).map_err(|source| TacticsError::Io { path: path.to_owned(), source })?;
        let damaged = |reason: String| TacticsError::Damaged { path: path.to_owned(), reason };
        let header: Header = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let other = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found {
                Ok(())
            } else {
                Err(TacticsError::Other { path: path.to_owned(), what, expected, found })
            }
        };
        other("format", &FORMAT, &header.format)?;
        let file: File = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        other("device", &machine.device, &file.machine.device)?;
        other("compute capability", &machine.compute_capability, &file.machine.compute_capability)?;
        other("driver", &machine.driver, &file.machine.driver)?;
        other("versions", &machine.cublaslt, &file.machine.cublaslt)?;
        let mut tactics = Self::new(file.machine);
        for entry in file.tactics {
            let key = entry.product;
            tactics.insert(key, tactic(entry).ok_or_else(|| damaged(format!("the choice for {key:?}")))?);
        }
        Ok(tactics)
    }

    /// The choices of a file, or none: when there is no file, or with the reason when it is not usable.
    pub fn read_or_new(path: &Path, machine: &Machine) -> (Self, Option<TacticsError>) {
        match Self::read(path, machine) {
            Ok(tactics) => (tactics, None),
            Err(TacticsError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                (Self::new(machine.clone()), None)
            }
            Err(error) => (Self::new(machine.clone()), Some(error)),
        }
    }

    /// Writes the file as a whole; the same choices make the same bytes.
    ///
    /// # Errors
    /// [`TacticsError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), TacticsError> {
        let entry = |(key, tactic): (&Key, &Tactic)| Entry {
            product: *key,
            split: tactic.split,
            algorithm: hexadecimal(&tactic.algorithm),
            microseconds: (tactic.microseconds * 1e3).round() / 1e3,
        };
        let tactics = self.chosen.iter().map(entry).collect();
        let file = File { format: FORMAT, machine: self.machine.clone(), tactics };
        let damaged =
            |error: serde_json::Error| TacticsError::Damaged { path: path.to_owned(), reason: error.to_string() };
        let mut text = serde_json::to_vec_pretty(&file).map_err(damaged)?;
        text.push(b'\n');
        Ok(fs::replace(path, &text)?)
    }
}

/// `None` when it cannot be meant.
fn tactic(entry: Entry) -> Option<Tactic> {
    let algorithm = bytes(&entry.algorithm)?;
    let Entry { product, split, microseconds, .. } = entry;
    let known = split.tile.is_none_or(Tile::is_known) && split.tile.is_some() == algorithm.is_empty();
    let usable = known && split.parts > 0 && algorithm.len() <= ALGORITHM_BYTES && split.fitting(&product) == split;
    let sizes = [product.rows, product.from, product.to].iter().all(|n| *n > 0);
    (usable && sizes && microseconds.is_finite() && microseconds > 0.0).then_some(Tactic {
        split,
        algorithm,
        microseconds,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect())
}
