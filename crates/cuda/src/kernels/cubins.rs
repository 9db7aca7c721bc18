//! The compiled kernels, embedded: an ELF image for each compute capability that `build.rs` compiled.

use vla_engines::provenance::hash;

/// Major and minor number of a compute capability.
pub type Capability = (u32, u32);

/// Images by capability, ascending.
const IMAGES: &[(Capability, &[u8])] = include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

/// Orin: neither its images nor those of other GPUs of its generation are specified to run on the other.
const ORIN: Capability = (8, 7);

/// There is no image for a GPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoKernels {
    /// The GPU's.
    pub found: Capability,
    /// What there are images for; empty in a program that was built without nvcc.
    pub compiled: Vec<Capability>,
}

impl std::fmt::Display for NoKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.found;
        if self.compiled.is_empty() {
            return write!(
                f,
                "this program has no CUDA kernels because nvcc was not found when it was built; found a GPU of compute capability \
                 {major}.{minor}; build it where nvcc is on PATH or named by NVCC"
            );
        }
        let compiled: Vec<String> = self.compiled.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
        let compiled = compiled.join(", ");
        write!(
            f,
            "this program has CUDA kernels for compute capability {compiled}, found {major}.{minor}; use another engine kind"
        )
    }
}

impl std::error::Error for NoKernels {}

/// Compute capabilities that there are kernels for.
pub fn compiled() -> impl Iterator<Item = Capability> {
    IMAGES.iter().map(|(capability, _)| *capability)
}

/// The image for a GPU: of its capability, or else of the newest before it in its generation.
///
/// # Errors
/// [`NoKernels`] naming what was compiled.
pub fn for_capability(major: u32, minor: u32) -> Result<&'static [u8], NoKernels> {
    let found = (major, minor);
    let missing = || NoKernels { found, compiled: compiled().collect() };
    let chosen = choose(&compiled().collect::<Vec<_>>(), found).ok_or_else(missing)?;
    IMAGES.get(chosen).map(|(_, image)| *image).ok_or_else(missing)
}

/// What tells the kernels for a GPU from those of other versions of this program: a part of the image's SHA-256.
pub fn version_for(major: u32, minor: u32) -> String {
    let version = |image| format!("kernels {:.12}", hash::sha256(image));
    for_capability(major, minor).map_or_else(|_| "no kernels".to_owned(), version)
}

fn choose(compiled: &[Capability], found: Capability) -> Option<usize> {
    let runs = |&image: &Capability| {
        image == found || (image.0 == found.0 && image.1 < found.1 && image != ORIN && found != ORIN)
    };
    compiled.iter().rposition(runs)
}

#[cfg(test)]
mod tests {
    use super::{Capability, NoKernels, choose, compiled, for_capability, version_for};

    const ALL: [Capability; 6] = [(8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (12, 0)];

    #[test]
    fn a_gpu_runs_the_image_of_its_capability_or_of_one_before_it() {
        let image = |found| choose(&ALL, found).map(|chosen| ALL[chosen]);
        for capability in ALL {
            assert_eq!(image(capability), Some(capability));
        }
        assert_eq!(image((12, 1)), Some((12, 0)));
        assert_eq!(image((8, 8)), Some((8, 6)), "not Orin's");
        assert_eq!(choose(&[(8, 0), (8, 6)], (8, 7)), None, "Orin runs its own only");
        for none in [(7, 5), (10, 0), (11, 0), (13, 0)] {
            assert_eq!(image(none), None);
        }
    }

    #[test]
    fn a_gpu_without_an_image_is_an_error_that_names_those_that_there_are() {
        let error = for_capability(7, 5).expect_err("none for Turing");
        assert_eq!(error, NoKernels { found: (7, 5), compiled: super::compiled().collect() });
        let compiled = NoKernels { found: (10, 0), compiled: vec![(8, 7), (9, 0)] }.to_string();
        assert!(compiled.contains("8.7, 9.0") && compiled.contains("10.0"), "{compiled}");
        let none = NoKernels { found: (10, 0), compiled: Vec::new() }.to_string();
        assert!(none.contains("nvcc"), "{none}");
    }

    #[test]
    fn kernels_of_two_images_have_two_versions() {
        let versions: std::collections::BTreeSet<String> =
            compiled().map(|(major, minor)| version_for(major, minor)).collect();
        assert_eq!(versions.len(), compiled().count());
        assert!(versions.iter().all(|version| version.len() == "kernels ".len() + 12), "{versions:?}");
        assert_eq!(version_for(7, 5), "no kernels");
    }
}
