//! The two library families, and the shim's functions for each.

use std::fmt;
use std::str::FromStr;

use super::Version;
use super::sys;

/// NVIDIA's two libraries that build and run engines through the same classes. An engine of one does not load in the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// TensorRT (`libnvinfer`): Jetson and data centre GPUs. Builds on the GPU that runs the engine.
    Tensorrt,
    /// TensorRT-RTX (`libtensorrt_rtx`): GeForce and RTX GPUs. Builds ahead of time without a GPU, and compiles kernels when an
    /// engine is loaded.
    Rtx,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tensorrt, Self::Rtx];

    /// The product's name.
    pub fn product(self) -> &'static str {
        match self {
            Self::Tensorrt => "TensorRT",
            Self::Rtx => "TensorRT-RTX",
        }
    }

    /// Version of the headers that the shim was compiled against; `None` when it was compiled without this family.
    pub fn headers(self) -> Option<Version> {
        let mut raw = sys::RawVersion::default();
        // SAFETY: a place to write the version to.
        unsafe { (self.api()?.headers_version)(&raw mut raw) };
        Some(raw.into())
    }

    /// The family whose engine file begins with `head` ([`Self::HEAD`] bytes), when it is a known beginning: a tag, and in
    /// files with the tag of TensorRT-RTX the major version of the library, which is 8 or more for TensorRT.
    pub fn of_engine(head: &[u8]) -> Option<Self> {
        let major = head.get(Self::HEAD - 1).copied();
        match (head.get(..4)?, major) {
            (b"ftrt", _) | (b"vtrt", Some(8..)) => Some(Self::Tensorrt),
            (b"vtrt", Some(_)) => Some(Self::Rtx),
            _ => None,
        }
    }

    /// Bytes of an engine file that [`Self::of_engine`] reads.
    pub const HEAD: usize = 25;

    /// The shim's functions; `None` when it was compiled without this family.
    pub(super) fn api(self) -> Option<&'static sys::Api> {
        let number = match self {
            Self::Tensorrt => sys::FAMILY_TENSORRT,
            Self::Rtx => sys::FAMILY_RTX,
        };
        // SAFETY: takes any number; the table is null or lives as long as the program and is never written.
        unsafe { sys::vla_trt_api_of(number).as_ref() }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tensorrt => "tensorrt",
            Self::Rtx => "tensorrt_rtx",
        })
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|family| family.to_string() == text);
        known.ok_or_else(|| format!("expected tensorrt or tensorrt_rtx, found '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_read_back_as_they_are_written() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(family));
        }
        assert!("rtx".parse::<Family>().is_err());
    }

    #[test]
    fn an_engine_file_tells_the_library_that_built_it() {
        // As TensorRT-RTX 1.7.1.116 writes it.
        let mut head = *b"vtrt\0\0\0\0\x02\0\0\0\0\0\0\0\xb4\x40\x22\0\0\0\0\0\x01";
        assert_eq!(Family::of_engine(&head), Some(Family::Rtx));
        head[24] = 11;
        assert_eq!(Family::of_engine(&head), Some(Family::Tensorrt));
        assert_eq!(Family::of_engine(b"ftrt and more"), Some(Family::Tensorrt));
        for unknown in [&b"vt"[..], b"vtrt cut short", b"standin", b""] {
            assert_eq!(Family::of_engine(unknown), None);
        }
    }
}
