//! Which board this is.

use std::fs;

/// The board's model from the device tree (Jetson and other ARM boards), else the host's name.
pub(crate) fn id() -> String {
    let read = |path| fs::read_to_string(path).ok().map(|text| tidy(&text)).filter(|text| !text.is_empty());
    read("/proc/device-tree/model")
        .or_else(|| read("/proc/sys/kernel/hostname"))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The device tree ends its strings with NUL.
fn tidy(text: &str) -> String {
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_tree_string_loses_its_nul() {
        assert_eq!(
            tidy("NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0"),
            "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
        );
    }
}
