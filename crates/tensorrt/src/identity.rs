//! Identity of this device, as stored in engine records.

use std::fs;
use std::path::Path;

use super::Library;
use vla_cuda::driver::Cuda;
use vla_engines::Error;
use vla_engines::provenance::{DeviceIdentity, board, l4t};

/// The device, its driver and the opened TensorRT.
///
/// # Errors
/// [`Error::Device`] with the driver's error.
pub fn identity(cuda: &Cuda, library: &Library) -> Result<DeviceIdentity, Error> {
    let properties = cuda.properties()?;
    let (major, minor) = properties.compute_capability;
    let cuda = format!("{}.{}", properties.driver / 1000, properties.driver % 1000 / 10);
    let root = Path::new("/");
    Ok(DeviceIdentity {
        tensorrt: library.record_name(),
        gpu: properties.name,
        sm_version: format!("{major}.{minor}"),
        sm_count: properties.multiprocessors,
        driver: driver(root).unwrap_or_else(|| cuda.clone()),
        cuda,
        l4t: l4t(root),
        board: board(root),
    })
}

/// The kernel driver's version; `None` if the driver does not report it (some Jetsons; L4T's version is compared instead).
fn driver(root: &Path) -> Option<String> {
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
