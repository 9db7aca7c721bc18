//! Whether the head takes the language model's rows before or behind its final norm.
//!
//! NVIDIA's code takes the last of transformers' hidden states. Whether the final norm has been applied to it depends on the release of
//! transformers: for GR00T N1.7 it has not under 4.57.3, which NVIDIA's code names, and it has under 5. A checkpoint was trained under one
//! of them and acts wrongly with the other.

use crate::Error;
use crate::checkpoint::Config;

/// What the head takes of the language model.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Features {
    /// What the release's own code takes.
    #[default]
    AsReleased,
    /// The last layer's rows.
    BeforeNorm,
    /// Those rows behind the final norm.
    AfterNorm,
}

impl Features {
    /// Whether the final norm is applied, for a checkpoint with this `config.json` and a layout that writes the backbone or does not.
    ///
    /// # Errors
    /// [`Error::Request`] for a checkpoint that transformers 5 saved, without `--features`; for a choice that the release or the layout
    /// does not have.
    pub(super) fn behind_norm(self, config: &Config, backbone: bool) -> Result<bool, Error> {
        let refused = |problem: String| Err(Error::Request { problems: vec![problem] });
        if !backbone {
            return match self {
                Self::AsReleased => Ok(!config.family.config.before_norm),
                Self::BeforeNorm | Self::AfterNorm => refused(
                    "--features: found with a layout that takes the language model from a file of your own, which decides it; leave it out"
                        .to_owned(),
                ),
            };
        }
        let before = match self {
            Self::BeforeNorm if !config.family.config.before_norm => {
                return refused(format!(
                    "--features: found before-norm with {}, whose head takes the rows behind the norm under every version of transformers; \
                     leave it out",
                    config.family.title()
                ));
            }
            Self::BeforeNorm => return Ok(false),
            Self::AfterNorm => return Ok(true),
            Self::AsReleased => config.family.config.before_norm,
        };
        let version = config.transformers.as_deref().unwrap_or_default();
        let major: Option<u32> = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
        if before && major.is_some_and(|major| major >= 5) {
            return refused(format!(
                "config.json: transformers_version is {version}, and NVIDIA's code names 4.57.3, under which the head takes the language \
                 model's rows before the final norm. Under transformers 5 the same code takes them behind it. Give --features after-norm \
                 if the checkpoint was trained with NVIDIA's code under transformers 5, --features before-norm if it was trained under \
                 4.57 or with code that takes the last layer's output itself"
            ));
        }
        Ok(!before)
    }
}
