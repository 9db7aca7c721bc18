//! The device and software that an engine is tied to.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A GPU with its software. Engines can be exchanged between equal devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceIdentity {
    /// TensorRT's version, e.g. `8.6.0`; of engine kind `cuda` [`CUBLASLT`] with its version, and the kernels'.
    pub tensorrt: String,
    /// The GPU's name, e.g. `Orin`.
    pub gpu: String,
    /// Compute capability, e.g. `8.7`.
    pub sm_version: String,
    /// Number of streaming multiprocessors, which differs between an AGX Orin and an Orin NX.
    pub sm_count: u32,
    /// The driver's version.
    pub driver: String,
    /// The CUDA runtime's version.
    pub cuda: String,
    /// L4T's version, e.g. `36.4.3`; `None` off Jetson.
    #[serde(default)]
    pub l4t: Option<String>,
    /// The board's name in the device tree; `None` without a device tree.
    #[serde(default)]
    pub board: Option<String>,
}

impl DeviceIdentity {
    /// Every property: its name in the record and its value as text.
    pub(super) fn properties(&self) -> [(&'static str, String); 8] {
        let none = || "none".to_owned();
        let runtime = if self.tensorrt.starts_with(CUBLASLT) { "cuBLASLt and kernels" } else { "TensorRT" };
        [
            (runtime, self.tensorrt.clone()),
            ("GPU", self.gpu.clone()),
            ("SM version", self.sm_version.clone()),
            ("SM count", self.sm_count.to_string()),
            ("driver", self.driver.clone()),
            ("CUDA", self.cuda.clone()),
            ("L4T", self.l4t.clone().unwrap_or_else(none)),
            (BOARD, self.board.clone().unwrap_or_else(none)),
        ]
    }
}

/// What the versions that engine kind `cuda` depends on begin with.
pub const CUBLASLT: &str = "cuBLASLt";

/// Name of the property that emulation may change.
pub(super) const BOARD: &str = "board";

/// L4T's version from `<root>/etc/nv_tegra_release`; `None` off Jetson.
pub fn l4t(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("etc/nv_tegra_release")).ok()?;
    // `# R36 (release), REVISION: 4.3, GCID: ...`
    let line = text.lines().next()?;
    let major = line.split_whitespace().find_map(|word| word.strip_prefix('R')?.parse::<u32>().ok())?;
    let revision = line.split("REVISION:").nth(1)?.split(',').next()?.trim();
    (!revision.is_empty()).then(|| format!("{major}.{revision}"))
}

/// The board's model from `<root>/proc/device-tree/model`; `None` where there is no device tree.
pub fn board(root: &Path) -> Option<String> {
    let text = fs::read(root.join("proc/device-tree/model")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let text = text.trim_end_matches('\0').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The kernel driver's version; `None` if the driver does not report it (some Jetsons; L4T's version is compared instead).
pub fn driver(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("proc/driver/nvidia/version")).ok()?;
    let numbered = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(numbered).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_is_read_from_either_form_of_its_line() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("proc/driver/nvidia");
        fs::create_dir_all(&folder).expect("a folder");
        let read = |line: &str| {
            fs::write(folder.join("version"), line).expect("a file");
            driver(root.path())
        };
        let closed =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Mon Oct  6 2025\nGCC version: 12.2.0\n";
        assert_eq!(read(closed).as_deref(), Some("580.159.04"));
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n";
        assert_eq!(read(open).as_deref(), Some("540.4.0"));
        assert_eq!(read("nothing here\n"), None);
        assert_eq!(driver(Path::new("/nowhere")), None);
    }
}
