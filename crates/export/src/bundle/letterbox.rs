//! Whether frames are padded to squares: what the checkpoint's file says, and what the user knows better.

use super::Camera;

/// What decides whether frames are padded to squares.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Letterbox {
    /// `letter_box_transform` of `processor_config.json`; absent is false.
    #[default]
    AsFile,
    /// They are, whatever the file says.
    Always,
    /// They are not, whatever the file says.
    Never,
}

impl Letterbox {
    /// Whether frames are padded, given what the file says.
    pub(super) fn with(self, file: Option<bool>) -> bool {
        match self {
            Self::AsFile => file.unwrap_or_default(),
            Self::Always => true,
            Self::Never => false,
        }
    }

    /// Warns of a file that says false and may have been written by a trainer that padded all the same. Square frames are not
    /// padded, so with those alone there is nothing to warn of.
    pub(super) fn warn(self, file: Option<bool>, cameras: &[Camera]) {
        let padded = cameras.iter().find(|camera| camera.width != camera.height);
        let Some(camera) = padded.filter(|_| self == Self::AsFile && file == Some(false)) else { return };
        tracing::warn!(
            "processor_config.json: letter_box_transform is false, so frames are not padded to squares ({} {}x{}). NVIDIA's trainers \
             before 2026-06-18 (commits 23ace64 to 65cc4a1) padded all frames and wrote false all the same: export with \
             --letterbox always if this checkpoint was trained with one of those, with --letterbox never if it was not; either \
             ends this warning",
            camera.name,
            camera.width,
            camera.height
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_precedes_the_file_and_a_file_without_the_key_pads_nothing() {
        for (file, as_file) in [(None, false), (Some(false), false), (Some(true), true)] {
            assert_eq!(Letterbox::AsFile.with(file), as_file);
            assert!(Letterbox::Always.with(file) && !Letterbox::Never.with(file));
        }
    }
}
