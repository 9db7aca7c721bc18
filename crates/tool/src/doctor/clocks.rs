//! Power mode and clocks.

use super::{Finding, Machine};
use crate::root::Root;

const CPU: &str = "/sys/devices/system/cpu/cpu0/cpufreq";
const DEVFREQ: &str = "/sys/class/devfreq";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    vec![power_mode(machine), clocks(machine)]
}

/// The power modes of a Jetson.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PowerModes {
    /// The current mode; `None` if nvpmodel has not stored one.
    pub now: Option<u32>,
    /// Number and name of each, in the order of `/etc/nvpmodel.conf`.
    pub all: Vec<(u32, String)>,
}

impl PowerModes {
    /// Reads nvpmodel's files: the modes, and the current one (`pmode:0002`).
    pub fn of(root: &Root) -> Self {
        let status = root.text("/var/lib/nvpmodel/status");
        let now = status.as_deref().and_then(|text| text.strip_prefix("pmode:")?.trim().parse::<u32>().ok());
        Self { now, all: modes(&root.text("/etc/nvpmodel.conf").unwrap_or_default()) }
    }

    /// The mode without limits, if the board has one.
    pub fn highest(&self) -> Option<&(u32, String)> {
        let named = |start: &str| self.all.iter().find(|(_, name)| name.starts_with(start));
        named("MAXN_SUPER").or_else(|| named("MAXN"))
    }

    /// Name of a mode.
    pub fn name(&self, id: u32) -> &str {
        self.all.iter().find(|(mode, _)| *mode == id).map_or("a mode without a name", |(_, name)| name)
    }
}

fn power_mode(machine: &Machine) -> Finding {
    const CHECK: &str = "power mode";
    let modes = PowerModes::of(&machine.root);
    let Some(id) = modes.now else {
        return if machine.is_jetson() {
            Finding::warning(CHECK, "not known: /var/lib/nvpmodel/status has no mode").todo("sudo nvpmodel -q")
        } else {
            Finding::info(CHECK, "no nvpmodel here: power modes are a Jetson's")
        };
    };
    let text = format!("{} (nvpmodel mode {id})", modes.name(id));
    match modes.highest() {
        Some((best, _)) if *best == id => Finding::ok(CHECK, text),
        Some((best, name)) => {
            Finding::warning(CHECK, format!("{text}: slower than {name}; engines built in it are timed in it"))
                .todo(format!("sudo nvpmodel -m {best}, where power supply and cooling allow it"))
        }
        None => Finding::info(CHECK, format!("{text}; /etc/nvpmodel.conf names no MAXN mode")),
    }
}

/// `< POWER_MODEL ID=0 NAME=MAXN >` lines.
fn modes(text: &str) -> Vec<(u32, String)> {
    let lines = text.lines().filter(|line| line.trim_start().starts_with('<') && line.contains("POWER_MODEL"));
    let word =
        |line: &str, key: &str| line.split([' ', '<', '>']).find_map(|word| word.strip_prefix(key)).map(str::to_owned);
    lines.filter_map(|line| Some((word(line, "ID=")?.parse().ok()?, word(line, "NAME=")?))).collect()
}

/// Lowest, current and highest frequency in Hz.
struct Range {
    name: &'static str,
    now_hz: Option<u64>,
    min_hz: u64,
    max_hz: u64,
}

impl Range {
    fn is_held(&self) -> bool {
        self.min_hz >= self.max_hz
    }

    fn words(&self) -> String {
        let mhz = |hz: u64| hz / 1_000_000;
        let now = self.now_hz.map_or_else(String::new, |hz| format!("now {}, ", mhz(hz)));
        if self.is_held() {
            format!("{} held at {} MHz", self.name, mhz(self.max_hz))
        } else {
            format!("{} {now}from {} to {} MHz", self.name, mhz(self.min_hz), mhz(self.max_hz))
        }
    }
}

fn clocks(machine: &Machine) -> Finding {
    const CHECK: &str = "clocks";
    let ranges: Vec<Range> = [gpu(&machine.root), cpu(&machine.root)].into_iter().flatten().collect();
    if ranges.is_empty() {
        return Finding::info(CHECK, "this system shows no frequencies (no cpufreq, no devfreq)");
    }
    let text = ranges.iter().map(Range::words).collect::<Vec<_>>().join("; ");
    if ranges.iter().all(Range::is_held) {
        Finding::ok(CHECK, text)
    } else if machine.is_jetson() {
        Finding::info(CHECK, format!("{text}: latencies vary with them"))
            .todo("for steady latencies: sudo jetson_clocks")
    } else {
        Finding::info(CHECK, text)
    }
}

fn gpu(root: &Root) -> Option<Range> {
    let is_gpu = |name: &String| ["gpu", "ga10b", "gv11b"].iter().any(|word| name.contains(word));
    let folder = format!("{DEVFREQ}/{}", root.names(DEVFREQ).into_iter().find(is_gpu)?);
    let hz = |file: &str| root.number(format!("{folder}/{file}"));
    Some(Range { name: "GPU", now_hz: hz("cur_freq"), min_hz: hz("min_freq")?, max_hz: hz("max_freq")? })
}

fn cpu(root: &Root) -> Option<Range> {
    // cpufreq counts in kHz.
    let hz = |file: &str| root.number(format!("{CPU}/{file}")).map(|khz| khz.saturating_mul(1000));
    Some(Range {
        name: "CPU",
        now_hz: hz("scaling_cur_freq"),
        min_hz: hz("scaling_min_freq")?,
        max_hz: hz("scaling_max_freq")?,
    })
}
