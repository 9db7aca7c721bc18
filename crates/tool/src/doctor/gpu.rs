//! Checks of GPU, board, L4T and JetPack, driver, TensorRT.

use super::{Finding, Machine, Unknown};
use crate::root::Root;
use vla_engines::provenance;

/// Folders of NVIDIA's libraries on JetPack and on Debian and Ubuntu.
const LIBRARY_FOLDERS: &[&str] = &[
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/nvidia",
    "/usr/lib/aarch64-linux-gnu/tegra",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/tensorrt/lib",
    "/usr/local/cuda/lib64",
    "/usr/lib",
];

/// JetPack versions by L4T release, for machines whose package list does not contain it.
const JETPACKS: &[(&str, &str)] = &[
    ("35.1", "5.0.2"),
    ("35.2.1", "5.1"),
    ("35.3.1", "5.1.1"),
    ("35.4.1", "5.1.2"),
    ("35.5.0", "5.1.3"),
    ("36.3", "6.0"),
    ("36.4.0", "6.1"),
    ("36.4.3", "6.2"),
    ("36.4.4", "6.2.1"),
    ("38.2", "7.0"),
    ("38.4", "7.1"),
    ("39.2", "7.2"),
];

/// A release of L4T with a defect that prevents engines from loading.
struct KnownFault {
    l4t: &'static str,
    fault: &'static str,
    todo: &'static str,
}

/// Publicly reported defects of L4T.
const KNOWN_FAULTS: &[KnownFault] = &[KnownFault {
    l4t: "36.4.7",
    fault: "large GPU allocations are refused although memory is free, since its fix of CVE-2025-33177 (public reports: \
            NvMapMemAllocInternalTagged, error 12)",
    todo: "when an engine is refused: free the page cache (sync; echo 3 | sudo tee /proc/sys/vm/drop_caches) or restart the \
           board, and load again; else move to a later L4T",
}];

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    vec![gpu(machine), board(machine), l4t(machine), driver(machine), tensorrt(machine)]
}

fn gpu(machine: &Machine) -> Finding {
    match &machine.gpu {
        Ok(gpu) => Finding::ok(
            "gpu",
            format!(
                "{}, SM {}, {} SMs, CUDA {}{}",
                gpu.name,
                gpu.sm_version,
                gpu.sm_count,
                gpu.cuda,
                if gpu.integrated { ", shares the host's memory" } else { "" }
            ),
        ),
        Err(unknown) if unknown.skipped => {
            let driver = library(machine, "libcuda.so.");
            let driver = driver.map_or_else(
                || "CUDA is absent (no libcuda.so.*)".to_owned(),
                |(path, _)| format!("CUDA's driver library is there ({path})"),
            );
            absent(machine, "gpu", "", &Unknown { reason: format!("{}; {driver}", unknown.reason), ..unknown.clone() })
        }
        Err(unknown) => absent(machine, "gpu", "CUDA is absent", unknown),
    }
}

/// Severity of a missing component: an error on a Jetson; elsewhere policies run on ONNX Runtime.
fn absent(machine: &Machine, check: &'static str, what: &str, unknown: &Unknown) -> Finding {
    let Unknown { skipped, reason, remedy } = unknown;
    let text = if *skipped { format!("not looked at: {reason}") } else { format!("{what}: {reason}") };
    let finding = match (machine.is_jetson(), skipped) {
        (true, false) => Finding::error(check, text),
        (true, true) => Finding::warning(check, text),
        (false, _) => Finding::info(check, format!("{text}; policies run on ONNX Runtime without it")),
    };
    finding.todo(remedy)
}

fn board(machine: &Machine) -> Finding {
    match provenance::board(machine.root.path()) {
        Some(board) => Finding::ok("board", board),
        None => Finding::info("board", "no device tree, so no Jetson; engines built here run here alone"),
    }
}

fn l4t(machine: &Machine) -> Finding {
    let Some(l4t) = provenance::l4t(machine.root.path()) else {
        let jetson = provenance::board(machine.root.path()).is_some_and(|board| board.contains("Jetson"));
        return if jetson {
            Finding::warning(
                "l4t",
                "a Jetson without /etc/nv_tegra_release: L4T's version is not in any engine's record",
            )
            .todo("in a container: mount the host's file, docker run -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro")
        } else {
            Finding::info("l4t", "no /etc/nv_tegra_release: not a Jetson")
        };
    };
    let package = package_version(&machine.root, "nvidia-jetpack");
    let text = match package.or_else(|| jetpack(&l4t).map(str::to_owned)) {
        Some(jetpack) => format!("L4T {l4t}, JetPack {jetpack}"),
        None => format!("L4T {l4t}; its JetPack is not known (nvidia-jetpack is not installed)"),
    };
    match KNOWN_FAULTS.iter().find(|known| is_release(&l4t, known.l4t)) {
        Some(known) => Finding::warning("l4t", format!("{text}: {}", known.fault)).todo(known.todo),
        None => Finding::ok("l4t", text),
    }
}

/// Whether `l4t` is `release` or a revision of it.
fn is_release(l4t: &str, release: &str) -> bool {
    l4t.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The JetPack of an L4T release, by the longest matching prefix.
fn jetpack(l4t: &str) -> Option<&'static str> {
    let fits = |release: &str| is_release(l4t, release);
    JETPACKS.iter().filter(|(release, _)| fits(release)).max_by_key(|(release, _)| release.len()).map(|(_, name)| *name)
}

/// An installed package's version, from dpkg's list.
fn package_version(root: &Root, package: &str) -> Option<String> {
    let list = root.text("/var/lib/dpkg/status")?;
    let entry = list.split("\n\n").find(|entry| entry.lines().next() == Some(&format!("Package: {package}")))?;
    let value = |key: &str| entry.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    value("Status:")?.ends_with(" installed").then(|| value("Version:").map(str::to_owned))?
}

fn driver(machine: &Machine) -> Finding {
    let Some(text) = machine.root.text("/proc/driver/nvidia/version") else {
        return Finding::info(
            "driver",
            "no /proc/driver/nvidia/version: no NVIDIA driver, or one that does not say (older L4T)",
        );
    };
    let line = text.lines().next().unwrap_or_default();
    Finding::ok("driver", line.strip_prefix("NVRM version:").unwrap_or(line))
}

fn tensorrt(machine: &Machine) -> Finding {
    let found = library(machine, "libnvinfer.so.");
    match (&machine.tensorrt, found) {
        (Ok(version), found) => {
            let place = found.map_or_else(String::new, |(path, _)| format!(", {path}"));
            Finding::ok("tensorrt", format!("TensorRT {version}{place}"))
        }
        (Err(unknown), Some((path, version))) => {
            let text = format!("TensorRT {version} lies at {path}, but: {}", unknown.reason);
            let finding =
                if unknown.skipped { Finding::info("tensorrt", text) } else { Finding::error("tensorrt", text) };
            finding.todo(&unknown.remedy)
        }
        (Err(unknown), None) if unknown.skipped => absent(
            machine,
            "tensorrt",
            "",
            &Unknown {
                reason: format!("{}; no libnvinfer.so.* lies where JetPack and Debian put it", unknown.reason),
                ..unknown.clone()
            },
        ),
        (Err(unknown), None) => absent(machine, "tensorrt", "no TensorRT library opens", unknown),
    }
}

/// A library's file and its version by the longest suffix, as `libnvinfer.so.10.3.0`; folders of the loader's path first.
fn library(machine: &Machine, stem: &str) -> Option<(String, String)> {
    let path = machine.variable("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = path.split(':').filter(|folder| !folder.is_empty()).chain(LIBRARY_FOLDERS.iter().copied());
    folders.into_iter().find_map(|folder| {
        let names = machine.root.names(folder);
        let versions = names.iter().filter_map(|name| name.strip_prefix(stem));
        let numbered = versions.filter(|version| version.split('.').all(|part| part.parse::<u32>().is_ok()));
        let version = numbered.max_by_key(|version| (version.split('.').count(), *version))?;
        Some((format!("{}/{stem}{version}", folder.trim_end_matches('/')), version.to_owned()))
    })
}
