//! Engines of TensorRT-RTX: built ahead of time for compute capabilities, not for one GPU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DeviceIdentity;
use super::rejection::Difference;

/// Beginning of [`DeviceIdentity::tensorrt`] for TensorRT-RTX: `RTX 1.7.1`.
pub const RTX: &str = "RTX ";

/// Property of a device that a portable engine does not depend on.
const ANY: &str = "any";

/// Compute capability of a GPU, such as 8.6. Text: `8.6`; also read from `sm86`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComputeCapability(u16);

impl ComputeCapability {
    /// Major and minor version.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self(major * 10 + minor)
    }

    /// Both versions in one number: 86 for 8.6, 120 for 12.0.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

impl FromStr for ComputeCapability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        let number = match text.split_once('.') {
            Some((major, minor)) if minor.len() == 1 => digits(&format!("{major}{minor}")),
            Some(_) => None,
            None => text.strip_prefix("sm").and_then(digits),
        };
        let known = number.filter(|number| (30..1000).contains(number));
        known.map(Self).ok_or_else(|| format!("expected a compute capability such as sm86 or 8.6, found '{text}'"))
    }
}

impl TryFrom<String> for ComputeCapability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ComputeCapability> for String {
    fn from(capability: ComputeCapability) -> Self {
        capability.to_string()
    }
}

/// Where an engine runs that was built ahead of time: every GPU of these compute capabilities, on this system, with the version
/// of the library that built it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Portable {
    /// The GPUs.
    pub compute_capabilities: Vec<ComputeCapability>,
    /// Operating system and processor, e.g. `linux x86_64`.
    pub system: String,
}

impl Portable {
    /// For these GPUs, on this program's system.
    pub fn new(mut compute_capabilities: Vec<ComputeCapability>) -> Self {
        compute_capabilities.sort_unstable();
        compute_capabilities.dedup();
        Self { compute_capabilities, system: system() }
    }

    /// The compute capabilities as one text: `8.6, 8.9, 12.0`.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.compute_capabilities.iter().map(ToString::to_string).collect();
        names.join(", ")
    }

    /// The record's device: the library and the compute capabilities; the rest does not matter.
    pub fn device(&self, tensorrt: String) -> DeviceIdentity {
        let any = || ANY.to_owned();
        DeviceIdentity {
            tensorrt,
            gpu: any(),
            sm_version: self.names(),
            sm_count: 0,
            driver: any(),
            cuda: any(),
            l4t: None,
            board: None,
        }
    }

    /// What keeps an engine, which `built` made, from running on `here`, whose compute capability may be several as
    /// [`Self::names`] writes them.
    pub(super) fn differences(&self, built: &DeviceIdentity, here: &DeviceIdentity) -> Vec<Difference> {
        let mut differences = Vec::new();
        if built.tensorrt != here.tensorrt {
            differences.push(Difference::new("TensorRT", &built.tensorrt, &here.tensorrt));
        }
        let has = |name: &str| self.compute_capabilities.iter().any(|sm| sm.to_string() == name);
        if !here.sm_version.split(", ").all(has) {
            differences.push(Difference::new("compute capability", self.names(), &here.sm_version));
        }
        if self.system != system() {
            differences.push(Difference::new("system", &self.system, system()));
        }
        differences
    }
}

/// This program's system.
fn system() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compute_capabilities_are_read_in_both_notations_and_written_in_one() {
        for (text, name) in [("sm75", "7.5"), ("8.6", "8.6"), ("sm120", "12.0"), ("12.1", "12.1")] {
            let read: ComputeCapability = text.parse().expect(text);
            assert_eq!((read.to_string().as_str(), name.parse()), (name, Ok(read)));
        }
        assert_eq!(ComputeCapability::new(12, 0).number(), 120);
        for text in ["", "86", "sm", "sm8.6", "8.60", "sm-86", "+8.6", "8.", "sm9999", "ampere"] {
            assert!(text.parse::<ComputeCapability>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_engine_built_ahead_of_time_runs_on_every_gpu_of_its_compute_capabilities() {
        let portable = Portable::new(vec![ComputeCapability::new(12, 0), ComputeCapability::new(8, 6)]);
        let built = portable.device("RTX 1.7.1".into());
        assert_eq!(built.sm_version, "8.6, 12.0");
        let gpu = |tensorrt: &str, sm: &str| DeviceIdentity {
            tensorrt: tensorrt.into(),
            gpu: "GeForce".into(),
            sm_version: sm.into(),
            sm_count: 84,
            driver: "580.1".into(),
            cuda: "13.0".into(),
            l4t: None,
            board: None,
        };
        let what = |here: &DeviceIdentity| -> Vec<String> {
            portable.differences(&built, here).into_iter().map(|difference| difference.what).collect()
        };
        assert!(what(&gpu("RTX 1.7.1", "8.6")).is_empty() && what(&gpu("RTX 1.7.1", "12.0")).is_empty());
        assert!(what(&built).is_empty());
        assert_eq!(what(&gpu("RTX 1.7.1", "8.6, 8.9")), ["compute capability"]);
        assert_eq!(what(&gpu("RTX 1.7.1", "8.9")), ["compute capability"]);
        assert_eq!(what(&gpu("11.4.0", "8.7")), ["TensorRT", "compute capability"]);
        let elsewhere = Portable { system: "windows x86_64".into(), ..portable.clone() };
        let differences = elsewhere.differences(&built, &gpu("RTX 1.7.1", "8.6"));
        assert_eq!(differences[0].what, "system");
    }
}
