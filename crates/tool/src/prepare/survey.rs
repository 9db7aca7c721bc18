//! Examines a machine and returns the steps of a plan.

use super::runner::Runner;
use super::{Change, STATE, Step};
use crate::doctor::{PowerModes, desktop_programs, swaps};
use crate::root::Root;
use vla_engines::memory::{field, mib};

/// The steps in the order of their execution: caches last, so that pages read by the programs are dropped, too.
pub(super) fn steps(root: &Root, modes: &PowerModes) -> Vec<Step> {
    let leftover = leftover(root);
    let machine = [desktop(root), swap(root), power_mode(root, modes), clocks(root), caches(root)];
    leftover.into_iter().chain(machine).collect()
}

fn told(what: &'static str, text: impl Into<String>) -> Step {
    Step { what, change: None, text: text.into(), command: None }
}

fn done(what: &'static str, change: Change, text: impl Into<String>, command: impl Into<String>) -> Step {
    Step { what, change: Some(change), text: text.into(), command: Some(command.into()) }
}

fn leftover(root: &Root) -> Option<Step> {
    let path = root.join(STATE);
    path.exists().then(|| {
        let text = format!(
            "{} is there: another run is under way, or one was killed before it put power mode and clocks back; then this \
             is done first",
            path.display()
        );
        done("left over", Change::Leftover, text, "sudo vla-trt prepare-system -- true")
    })
}

fn desktop(root: &Root) -> Step {
    const WHAT: &str = "desktop";
    let running = desktop_programs(root);
    if running.is_empty() {
        return told(WHAT, "none is running");
    }
    let text = format!(
        "{} running, some 0.5 to 1 GiB; left to you, because ending it closes what is open on the screen",
        running.join(", ")
    );
    let command = "sudo systemctl isolate multi-user.target (back: sudo systemctl isolate graphical.target)";
    Step { command: Some(command.into()), ..told(WHAT, text) }
}

fn swap(root: &Root) -> Step {
    let (files, zram) = swaps(root);
    let held: u64 = root
        .names("/sys/block")
        .iter()
        .filter(|name| name.starts_with("zram"))
        // Third field of mm_stat: memory used by the device in bytes.
        .filter_map(|name| {
            root.text(format!("/sys/block/{name}/mm_stat"))?.split_whitespace().nth(2)?.parse::<u64>().ok()
        })
        .sum();
    let mut text =
        format!("{:.0} MiB on disk, {:.0} MiB zram that holds {:.0} MiB of memory", mib(files), mib(zram), mib(held));
    if files == 0 {
        text += "; a build that needs more for a moment is killed without swap on disk";
        let command = "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile";
        return Step { command: Some(command.into()), ..told("swap", text) };
    }
    told("swap", text + "; left as it is, vm.swappiness too")
}

fn power_mode(root: &Root, modes: &PowerModes) -> Step {
    const WHAT: &str = "power mode";
    if Runner::new(root).find("nvpmodel").is_none() {
        let text =
            "no nvpmodel here; on a Jetson this sets the highest mode (nvpmodel -m) and the former one at the end";
        return told(WHAT, text);
    }
    let now = modes.now.map_or_else(|| "not noted".to_owned(), |id| format!("{} ({id})", modes.name(id)));
    match modes.highest() {
        None => told(WHAT, format!("{now}, left: /etc/nvpmodel.conf names no MAXN mode")),
        Some((id, name)) if modes.now == Some(*id) => told(WHAT, format!("{name} ({id}) already, left as it is")),
        Some((id, name)) => done(
            WHAT,
            Change::PowerMode(*id),
            format!(
                "{now} to {name} ({id}) until the end: a faster build, tactics timed as the robot runs; costs power and \
                 heat; a mode that needs a reboot is not set"
            ),
            format!("sudo nvpmodel -m {id}"),
        ),
    }
}

fn clocks(root: &Root) -> Step {
    const WHAT: &str = "clocks";
    if Runner::new(root).find("jetson_clocks").is_none() {
        return told(WHAT, "no jetson_clocks here; on a Jetson this holds the clocks at their highest until the end");
    }
    let text = "held at their highest until the end: tactics are timed against each other, which clocks that move falsify; \
                costs power and noise of the fan";
    let command = "sudo jetson_clocks --store FILE && sudo jetson_clocks (back: sudo jetson_clocks --restore FILE)";
    done(WHAT, Change::Clocks, text, command)
}

fn caches(root: &Root) -> Step {
    let meminfo = root.text("/proc/meminfo").unwrap_or_default();
    let text = format!(
        "dropped, {:.0} MiB of them: on a Jetson CUDA counts only free memory, not what the page cache would give back; \
         costs slower reads of files until they are cached again",
        mib(field(&meminfo, "Cached:"))
    );
    done("page caches", Change::Caches, text, "sync && echo 3 | sudo tee /proc/sys/vm/drop_caches")
}
