//! The progress bar of commands that write weights.

use indicatif::{ProgressBar, ProgressStyle};

use vla_export::progress::Progress;

/// Shows bytes, rate and remaining time on standard error, if that is a terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// An empty bar.
    pub(crate) fn new() -> Self {
        let style = "{msg:12} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(0).with_style(style))
    }

    /// Updates the bar.
    pub(crate) fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Weights { done, total } => {
                self.0.set_message("weights");
                self.0.set_length(total);
                self.0.set_position(done);
            }
            Progress::Fingerprint => {
                self.0.set_position(self.0.length().unwrap_or_default());
                self.0.set_message("fingerprint");
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
