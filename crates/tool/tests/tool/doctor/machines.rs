//! Machines laid out in folders, and a policy with engines for them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vla_builder::Request;
use vla_engines::provenance::{
    BuildSettings, DeviceIdentity, EngineIdentity, FORMAT, Memory, OnnxIdentity, Provenance, hash, rfc3339,
};
use vla_engines::{Precision, Stage};
use vla_policy::PolicySpec;
use vla_trt::doctor::{Gpu, Machine, Unknown};
use vla_trt::root::Root;

use vla_trt_tests::demo;

pub(crate) const ORIN_NX: &str = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit";

/// Writes a file and the folders above it.
pub(crate) fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

/// What CUDA and TensorRT say on it.
pub(crate) fn orin_nx_identity() -> DeviceIdentity {
    DeviceIdentity {
        tensorrt: "10.3.0".into(),
        gpu: "Orin".into(),
        sm_version: "8.7".into(),
        sm_count: 8,
        driver: "540.4.0".into(),
        cuda: "12.6".into(),
        l4t: Some("36.4.3".into()),
        board: Some(ORIN_NX.into()),
    }
}

/// The files of an Orin NX as it should be, and a machine over them.
pub(crate) fn orin_nx() -> (TempDir, Machine) {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n");
    write(root, "proc/device-tree/model", &format!("{ORIN_NX}\0"));
    let packages = "Package: vim\nStatus: install ok installed\nVersion: 9\n\nPackage: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2+b77\n";
    write(root, "var/lib/dpkg/status", packages);
    let version = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\nGCC version: 11\n";
    write(root, "proc/driver/nvidia/version", version);
    write(root, "usr/lib/aarch64-linux-gnu/libnvinfer.so.10", "");
    write(root, "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0", "");
    let modes =
        "# < POWER_MODEL ID=9 NAME=COMMENT >\n< POWER_MODEL ID=0 NAME=MAXN_SUPER >\n< POWER_MODEL ID=2 NAME=15W >\n";
    write(root, "etc/nvpmodel.conf", modes);
    write(root, "var/lib/nvpmodel/status", "pmode:0000\n");
    for (file, hz) in [("cur_freq", "1173000000"), ("min_freq", "1173000000"), ("max_freq", "1173000000")] {
        write(root, &format!("sys/class/devfreq/17000000.gpu/{file}"), hz);
    }
    for file in ["scaling_cur_freq", "scaling_min_freq", "scaling_max_freq"] {
        write(root, &format!("sys/devices/system/cpu/cpu0/cpufreq/{file}"), "1984000\n");
    }
    write(root, "proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   14000000 kB\n");
    write(
        root,
        "proc/swaps",
        "Filename Type Size Used Priority\n/swapfile file 8388604 0 -2\n/dev/zram0 partition 1024 0 5\n",
    );
    write(root, "proc/1/comm", "systemd\n");
    write(root, "opt/ros/humble/setup.bash", "");
    write(root, "ws/install/vla_trt/share/ament_index/resource_index/packages/vla_trt", "");
    write(root, "ws/fastdds.xml", "");
    let environment = [
        ("ROS_DISTRO", "humble"),
        ("AMENT_PREFIX_PATH", "/ws/install/vla_trt:/opt/ros/humble"),
        ("ROS_DOMAIN_ID", "7"),
        ("FASTRTPS_DEFAULT_PROFILES_FILE", "/ws/fastdds.xml"),
    ];
    let gpu = Gpu { name: "Orin".into(), sm_version: "8.7".into(), sm_count: 8, integrated: true, cuda: "12.6".into() };
    let machine = Machine {
        root: Root::new(root),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        gpu: Ok(gpu),
        tensorrt: Ok("10.3.0".into()),
        cuda_engines: Ok("cuBLASLt 12.6.4, kernels for compute capability 8.7".into()),
        identity: Some(orin_nx_identity()),
        onnx_runtime: Ok("libonnxruntime.so".into()),
        topics: Ok(vec!["/joint_states [sensor_msgs/msg/JointState]".into()]),
    };
    (dir, machine)
}

/// A PC without anything of NVIDIA's and without ROS.
pub(crate) fn pc() -> (TempDir, Machine) {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "proc/meminfo", "MemTotal:       32000000 kB\nMemAvailable:    2000000 kB\n");
    write(dir.path(), "proc/swaps", "Filename Type Size Used Priority\n");
    write(dir.path(), "proc/4711/comm", "gnome-shell\n");
    let missing =
        |what: &str| Unknown::missing(format!("{what} is not on the loader's path"), format!("install {what}"));
    let machine = Machine {
        root: Root::new(dir.path()),
        environment: [].into(),
        gpu: Err(missing("libcuda.so.1")),
        tensorrt: Err(missing("libnvinfer.so.10")),
        cuda_engines: Err(missing("libcublasLt.so")),
        identity: None,
        onnx_runtime: Ok("libonnxruntime.so".into()),
        topics: Err(Unknown::skipped("not looked at, ROS is not sourced here", "source it")),
    };
    (dir, machine)
}

/// Gives a stage an engine of some bytes with a record of this device.
pub(crate) fn build(stage: &Stage, device: &DeviceIdentity) {
    fs::create_dir_all(stage.file.parent().expect("a folder")).expect("made");
    fs::write(&stage.file, format!("engine of {}", stage.name)).expect("written");
    let profiles = Request {
        onnx: stage.onnx.clone(),
        engine: stage.file.clone(),
        precision: Precision::FP16,
        profile: stage.profile.iter().cloned().collect(),
        ..Request::default()
    }
    .profiles()
    .expect("profiles");
    let record = Provenance {
        format: FORMAT,
        device: device.clone(),
        portable: None,
        emulated: false,
        adopted: false,
        onnx: OnnxIdentity::of(&stage.onnx).expect("hashes"),
        precision: stage.precision.clone(),
        profiles,
        flags: BuildSettings::default(),
        calibration: None,
        engine: EngineIdentity {
            sha256: hash::file_sha256(&stage.file).expect("hashes"),
            bytes: fs::metadata(&stage.file).expect("there").len(),
        },
        built_at: rfc3339(std::time::UNIX_EPOCH),
        build_s: 1.0,
        memory: Memory::default(),
        verification: None,
    };
    record.write(&stage.file).expect("written");
}

/// The demo policy with an engine for every stage.
pub(crate) fn built(device: &DeviceIdentity) -> (TempDir, Vec<Stage>) {
    let policy = demo::policy();
    let stages = PolicySpec::load(policy.path()).expect("loads").engine_stages();
    stages.iter().for_each(|stage| build(stage, device));
    (policy, stages)
}
