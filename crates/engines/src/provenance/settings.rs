//! Builder settings of an engine, and their form in a record.

use serde::{Deserialize, Serialize};

/// Settings that differ from TensorRT's defaults. Stored in a record as a list of phrases, `flags`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct BuildSettings {
    /// INT8 kernels are allowed.
    pub int8: bool,
    /// BF16 kernels are allowed.
    pub bf16: bool,
    /// FP16 kernels are allowed.
    pub fp16: bool,
    /// Some layers are kept in FP32.
    pub fp32_layers: bool,
    /// TF32 is off.
    pub no_tf32: bool,
    /// All contexts may use one optimisation profile (TensorRT 8.6).
    pub share_profiles: bool,
    /// The preview feature for faster dynamic shapes is on (TensorRT 8.5).
    pub faster_dynamic_shapes: bool,
    /// No kernels of cuBLAS, cuBLASLt and cuDNN.
    pub own_kernels: bool,
    /// Auxiliary streams.
    pub aux_streams: Option<u32>,
    /// Limit of device memory while tactics are timed, MiB.
    pub tactic_memory_mib: Option<u64>,
    /// Limit of the workspace, MiB.
    pub workspace_mib: Option<u64>,
    /// Optimisation level of the builder.
    pub optimization_level: Option<u8>,
    /// Phrases that this version does not know, unchanged.
    pub other: Vec<String>,
}

impl BuildSettings {
    /// The settings as phrases of a record.
    pub fn phrases(&self) -> Vec<String> {
        let switches = self.switches().into_iter().filter(|(on, _)| *on).map(|(_, phrase)| phrase.to_owned());
        let numbers = [
            self.aux_streams.map(|count| format!("aux streams {count}")),
            self.tactic_memory_mib.map(|mib| format!("tactic memory {mib} MiB")),
            self.workspace_mib.map(|mib| format!("workspace {mib} MiB")),
            self.optimization_level.map(|level| format!("optimisation level {level}")),
        ];
        switches.chain(numbers.into_iter().flatten()).chain(self.other.iter().cloned()).collect()
    }

    fn switches(&self) -> [(bool, &'static str); 8] {
        [
            (self.int8, "INT8"),
            (self.bf16, "BF16"),
            (self.fp16, "FP16"),
            (self.fp32_layers, "FP32 layers held"),
            (self.no_tf32, "no TF32"),
            (self.share_profiles, "PROFILE_SHARING_0806"),
            (self.faster_dynamic_shapes, "FASTER_DYNAMIC_SHAPES_0805"),
            (self.own_kernels, "own kernels only"),
        ]
    }

    /// Sets the setting that `phrase` names; false if this version does not know it.
    fn set(&mut self, phrase: &str) -> bool {
        match phrase {
            "INT8" => self.int8 = true,
            "BF16" => self.bf16 = true,
            "FP16" => self.fp16 = true,
            "FP32 layers held" => self.fp32_layers = true,
            "no TF32" => self.no_tf32 = true,
            "PROFILE_SHARING_0806" => self.share_profiles = true,
            "FASTER_DYNAMIC_SHAPES_0805" => self.faster_dynamic_shapes = true,
            "own kernels only" => self.own_kernels = true,
            _ => return self.set_number(phrase).is_some(),
        }
        true
    }

    fn set_number(&mut self, phrase: &str) -> Option<()> {
        if let Some(count) = phrase.strip_prefix("aux streams ") {
            self.aux_streams = Some(count.parse().ok()?);
        } else if let Some(mib) = phrase.strip_prefix("tactic memory ") {
            self.tactic_memory_mib = Some(mib.strip_suffix(" MiB")?.parse().ok()?);
        } else if let Some(mib) = phrase.strip_prefix("workspace ") {
            self.workspace_mib = Some(mib.strip_suffix(" MiB")?.parse().ok()?);
        } else {
            self.optimization_level = Some(phrase.strip_prefix("optimisation level ")?.parse().ok()?);
        }
        Some(())
    }
}

impl From<Vec<String>> for BuildSettings {
    fn from(phrases: Vec<String>) -> Self {
        let mut settings = Self::default();
        for phrase in phrases {
            if !settings.set(&phrase) {
                settings.other.push(phrase);
            }
        }
        settings
    }
}

impl From<BuildSettings> for Vec<String> {
    fn from(settings: BuildSettings) -> Self {
        settings.phrases()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_of_a_record_come_back_as_they_were_written() {
        let text =
            r#"["INT8","FP16","own kernels only","tactic memory 64 MiB","workspace 512 MiB","optimisation level 1"]"#;
        let settings: BuildSettings = serde_json::from_str(text).expect("a list");
        assert!(settings.int8 && settings.own_kernels && !settings.bf16 && settings.other.is_empty());
        assert_eq!((settings.workspace_mib, settings.optimization_level), (Some(512), Some(1)));
        assert_eq!(serde_json::to_string(&settings).expect("a list"), text);
    }

    #[test]
    fn unknown_and_damaged_phrases_are_kept_and_set_nothing() {
        let phrases = ["workspace $(reboot) MiB", "optimisation level ;", "fp16"].map(str::to_owned).to_vec();
        let settings = BuildSettings::from(phrases.clone());
        assert_eq!(settings, BuildSettings { other: phrases.clone(), ..BuildSettings::default() });
        assert_eq!(settings.phrases(), phrases);
    }
}
