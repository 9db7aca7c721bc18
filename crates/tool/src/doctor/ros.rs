//! Checks of this shell's ROS environment, which a node started here would inherit.

use super::{Finding, Machine};

/// Highest domain whose ports exist (DDS: 7400 + 250 * domain, below 65536).
const LAST_DOMAIN: u32 = 232;
/// Above it, ports overlap with Linux's ephemeral ports.
const LAST_SAFE_DOMAIN: u32 = 101;
/// Fast DDS: ROS 2's default.
const FAST_DDS: &str = "rmw_fastrtps_cpp";
pub(super) const PROFILES: &str = "FASTRTPS_DEFAULT_PROFILES_FILE";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![distro(machine)];
    if machine.variable("ROS_DISTRO").is_some() {
        findings.extend([middleware(machine), prefixes(machine)]);
    }
    findings.push(domain(machine));
    findings.push(topics(machine));
    findings
}

fn distro(machine: &Machine) -> Finding {
    const CHECK: &str = "ros";
    if let Some(distro) = machine.variable("ROS_DISTRO") {
        return Finding::ok(CHECK, format!("ROS_DISTRO {distro}"));
    }
    let installed = machine.root.names("/opt/ros");
    let finding = Finding::info(
        CHECK,
        "ROS_DISTRO is not set: the node does not start from this shell; vla-trt itself needs no ROS",
    );
    match installed.last() {
        Some(distro) => {
            finding.todo(format!("source /opt/ros/{distro}/setup.bash, then the workspace's install/setup.bash"))
        }
        None => finding.todo("install ROS 2 Humble or Jazzy and source its setup.bash"),
    }
}

/// Whether Fast DDS is the middleware.
pub(super) fn uses_fast_dds(machine: &Machine) -> bool {
    machine.variable("RMW_IMPLEMENTATION").unwrap_or(FAST_DDS) == FAST_DDS
}

fn middleware(machine: &Machine) -> Finding {
    const CHECK: &str = "rmw";
    let set = machine.variable("RMW_IMPLEMENTATION");
    let words = set.map_or_else(
        || format!("RMW_IMPLEMENTATION is not set: the default, {FAST_DDS}"),
        |set| format!("RMW_IMPLEMENTATION {set}"),
    );
    if !uses_fast_dds(machine) {
        return Finding::ok(CHECK, words);
    }
    match machine.variable(PROFILES) {
        Some(file) if machine.root.join(file).is_file() => Finding::ok(CHECK, format!("{words}, profile {file}")),
        Some(file) => Finding::error(CHECK, format!("{words}; {PROFILES} names {file}, which is not there"))
            .todo(format!("export {PROFILES}=<vla_trt>/config/fastdds_shm.xml, or unset it")),
        None => Finding::info(
            CHECK,
            format!("{words}; {PROFILES} is not set: raw images above 512 KB get lost between processes"),
        )
        .todo(format!("export {PROFILES}=<vla_trt>/config/fastdds_shm.xml for the camera's driver too")),
    }
}

fn prefixes(machine: &Machine) -> Finding {
    const CHECK: &str = "ament prefix";
    let Some(path) = machine.variable("AMENT_PREFIX_PATH") else {
        return Finding::error(CHECK, "ROS_DISTRO is set and AMENT_PREFIX_PATH is not: no package will be found")
            .todo("source setup.bash of ROS 2 and of the workspace, in place of setting variables by hand");
    };
    let folders: Vec<&str> = path.split(':').filter(|folder| !folder.is_empty()).collect();
    let missing: Vec<&str> = folders.iter().copied().filter(|folder| !machine.root.join(folder).is_dir()).collect();
    if !missing.is_empty() {
        return Finding::warning(
            CHECK,
            format!("AMENT_PREFIX_PATH names folders that are not there: {}", missing.join(", ")),
        )
        .todo("open a new shell and source the workspace again");
    }
    let index = "share/ament_index/resource_index/packages/vla_trt";
    match folders.iter().find(|folder| machine.root.join(folder).join(index).is_file()) {
        Some(folder) => Finding::ok(CHECK, format!("vla_trt is in {folder} ({} prefixes)", folders.len())),
        None => Finding::warning(
            CHECK,
            format!("vla_trt is in none of the {} prefixes: ros2 launch will not find it", folders.len()),
        )
        .todo("colcon build --packages-select vla_trt && source install/setup.bash"),
    }
}

fn domain(machine: &Machine) -> Finding {
    const CHECK: &str = "ros domain";
    let Some(text) = machine.variable("ROS_DOMAIN_ID") else {
        return Finding::ok(CHECK, "ROS_DOMAIN_ID is not set: 0");
    };
    match text.parse::<u32>() {
        Ok(id) if id <= LAST_SAFE_DOMAIN => Finding::ok(CHECK, format!("ROS_DOMAIN_ID {id}")),
        Ok(id) if id <= LAST_DOMAIN => {
            Finding::warning(CHECK, format!("ROS_DOMAIN_ID {id}: its ports may be taken by other connections"))
                .todo(format!("use 0 to {LAST_SAFE_DOMAIN}"))
        }
        _ => Finding::error(CHECK, format!("ROS_DOMAIN_ID: expected a number from 0 to {LAST_DOMAIN}, found '{text}'"))
            .todo(format!("use 0 to {LAST_SAFE_DOMAIN}, the same on every machine")),
    }
}

fn topics(machine: &Machine) -> Finding {
    const CHECK: &str = "topics";
    match &machine.topics {
        Ok(topics) if topics.is_empty() => Finding::warning(CHECK, "none is seen")
            .todo("start the drivers; compare ROS_DOMAIN_ID and RMW_IMPLEMENTATION with theirs"),
        Ok(topics) => Finding::ok(CHECK, format!("{} seen: {}", topics.len(), topics.join(", "))),
        Err(unknown) => Finding::info(CHECK, &unknown.reason).todo(&unknown.remedy),
    }
}
