//! Checks of free memory, swap and zram, and the desktop.

use super::{Finding, Machine};
use crate::root::Root;
use vla_engines::memory::{field, mib};

/// With less than this share of the memory free, machines with unified memory get a finding.
const LITTLE: f64 = 0.5;

/// Programs of desktops, by their name in `/proc/<pid>/comm`.
const DESKTOP: &[&str] = &[
    "gnome-shell",
    "Xorg",
    "Xwayland",
    "plasmashell",
    "kwin_x11",
    "kwin_wayland",
    "xfce4-session",
    "lxsession",
    "gdm-x-session",
    "gdm3",
    "lightdm",
];

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    vec![free(machine), swap(machine), desktop(machine)]
}

/// `MemAvailable`, in bytes.
pub(super) fn available(root: &Root) -> u64 {
    field(&root.text("/proc/meminfo").unwrap_or_default(), "MemAvailable:")
}

fn free(machine: &Machine) -> Finding {
    const CHECK: &str = "memory";
    let total = field(&machine.root.text("/proc/meminfo").unwrap_or_default(), "MemTotal:");
    let available = available(&machine.root);
    if total == 0 {
        return Finding::warning(CHECK, "/proc/meminfo does not say how much there is")
            .todo("free -m; the node plans with what that file says");
    }
    let text = format!("{:.0} of {:.0} MiB can still be given", mib(available), mib(total));
    if machine.is_unified() && (available as f64) < LITTLE * total as f64 {
        Finding::warning(CHECK, format!("{text}: less than half, and engines come out of the same memory"))
            .todo("close what is not needed (ps aux --sort -rss | head); vla-trt plan POLICY says what a policy takes")
    } else {
        Finding::ok(CHECK, text)
    }
}

/// Bytes of swap on disk and of zram, from `/proc/swaps`: file name, type, size in KiB, used, priority.
pub fn swaps(root: &Root) -> (u64, u64) {
    let (mut files, mut zram) = (0u64, 0u64);
    for line in root.text("/proc/swaps").unwrap_or_default().lines().skip(1) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let bytes = words.nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024);
        let sum = if name.contains("zram") { &mut zram } else { &mut files };
        *sum = sum.saturating_add(bytes);
    }
    (files, zram)
}

fn swap(machine: &Machine) -> Finding {
    const CHECK: &str = "swap";
    let (files, zram) = swaps(&machine.root);
    let text = format!("{:.0} MiB on disk, {:.0} MiB zram", mib(files), mib(zram));
    if !machine.is_unified() {
        Finding::info(CHECK, text)
    } else if files + zram == 0 {
        Finding::warning(CHECK, format!("{text}: a build that needs more for a moment is killed"))
            .todo("before building: sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile")
    } else if files == 0 {
        Finding::info(CHECK, format!("{text}: zram takes what it holds from the same memory"))
            .todo("before building large engines: add a swap file on NVMe")
    } else {
        Finding::ok(CHECK, text)
    }
}

/// Programs of a desktop that run, each once.
pub fn desktop_programs(root: &Root) -> Vec<String> {
    let processes = root.names("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let mut running: Vec<String> = processes
        .filter_map(|pid| root.text(format!("/proc/{pid}/comm")))
        .filter(|name| DESKTOP.contains(&name.as_str()))
        .collect();
    running.sort();
    running.dedup();
    running
}

fn desktop(machine: &Machine) -> Finding {
    const CHECK: &str = "desktop";
    let running = desktop_programs(&machine.root);
    if running.is_empty() {
        Finding::ok(CHECK, "none is running")
    } else if machine.is_unified() {
        Finding::warning(CHECK, format!("{} running, in the memory that engines need", running.join(", ")))
            .todo("sudo systemctl isolate multi-user.target (for good: sudo systemctl set-default multi-user.target)")
    } else {
        Finding::info(CHECK, format!("{} running", running.join(", ")))
    }
}
