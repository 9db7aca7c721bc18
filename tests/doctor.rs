//! `vla-trt doctor` on machines laid out in folders, and at the process boundary.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use vla_trt::cli::Outcome;
use vla_trt::cli::doctor::{lines, outcome};
use vla_trt::doctor::{Finding, Gpu, Machine, Report, Root, Severity, Unknown, examine};
use vla_trt::engine::Stage;
use vla_trt::engine::provenance::{
    DeviceIdentity, EngineIdentity, FORMAT, Memory, OnnxIdentity, Provenance, hash, rfc3339,
};
use vla_trt::policy::PolicySpec;

#[path = "support/demo.rs"]
mod demo;

const ORIN_NX: &str = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit";

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

fn orin_nx_identity() -> DeviceIdentity {
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
fn orin_nx() -> (TempDir, Machine) {
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
        identity: Some(orin_nx_identity()),
        onnx_runtime: Ok("libonnxruntime.so".into()),
        topics: Ok(vec!["/joint_states [sensor_msgs/msg/JointState]".into()]),
    };
    (dir, machine)
}

/// A PC without anything of NVIDIA's and without ROS.
fn pc() -> (TempDir, Machine) {
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
        identity: None,
        onnx_runtime: Ok("libonnxruntime.so".into()),
        topics: Err(Unknown::skipped("not looked at, ROS is not sourced here", "source it")),
    };
    (dir, machine)
}

fn find<'r>(report: &'r Report, check: &str) -> &'r Finding {
    report.findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} in {report:#?}"))
}

fn of<'r>(report: &'r Report, check: &str, stage: &str) -> &'r Finding {
    let fits = |finding: &&Finding| finding.check == check && finding.subject.as_deref() == Some(stage);
    report.findings.iter().find(fits).unwrap_or_else(|| panic!("{check} {stage} in {report:#?}"))
}

fn is(finding: &Finding, severity: Severity, words: &[&str]) {
    assert_eq!(finding.severity, severity, "{finding:#?}");
    for word in words {
        assert!(finding.finding.contains(word), "'{word}' in {finding:#?}");
    }
    let needs_remedy = severity >= Severity::Warning;
    assert!(!needs_remedy || finding.remedy.is_some(), "what to do is missing: {finding:#?}");
}

fn remedy(finding: &Finding) -> &str {
    finding.remedy.as_deref().unwrap_or_else(|| panic!("{finding:#?}"))
}

/// Gives a stage an engine of some bytes with a record of this device.
fn build(stage: &Stage, device: &DeviceIdentity) {
    fs::create_dir_all(stage.file.parent().expect("a folder")).expect("made");
    fs::write(&stage.file, format!("engine of {}", stage.name)).expect("written");
    let profiles = vla_trt::builder::Request {
        onnx: stage.onnx.clone(),
        engine: stage.file.clone(),
        precision: vla_trt::builder::Precision::Fp16,
        profile: stage.profile.iter().cloned().collect(),
        timing_cache: None,
        workspace: None,
        level: None,
    }
    .profiles()
    .expect("profiles");
    let record = Provenance {
        format: FORMAT,
        device: device.clone(),
        emulated: false,
        adopted: false,
        onnx: OnnxIdentity::of(&stage.onnx).expect("hashes"),
        precision: stage.precision.clone(),
        profiles,
        flags: Vec::new(),
        calibration: None,
        engine: EngineIdentity {
            sha256: hash::file_sha256(&stage.file).expect("hashes"),
            bytes: fs::metadata(&stage.file).expect("there").len(),
        },
        built_at: rfc3339(std::time::UNIX_EPOCH),
        build_s: 1.0,
        memory: Memory::default(),
        gate: None,
    };
    record.write(&stage.file).expect("written");
}

/// The demo policy with an engine for every stage.
fn built(device: &DeviceIdentity) -> (TempDir, Vec<Stage>) {
    let policy = demo::policy();
    let stages = PolicySpec::load(policy.path()).expect("loads").engine_stages();
    stages.iter().for_each(|stage| build(stage, device));
    (policy, stages)
}

#[test]
fn an_orin_nx_as_it_should_be_has_nothing_worse_than_ok() {
    let (_root, machine) = orin_nx();
    let (policy, _) = built(&orin_nx_identity());
    let report = examine(&machine, Some(policy.path()));
    assert_eq!(report.severity, Severity::Ok, "{}", lines(&report));
    is(find(&report, "gpu"), Severity::Ok, &["Orin, SM 8.7, 8 SMs, CUDA 12.6", "shares"]);
    is(find(&report, "board"), Severity::Ok, &[ORIN_NX]);
    is(find(&report, "l4t"), Severity::Ok, &["L4T 36.4.3, JetPack 6.2+b77"]);
    is(find(&report, "driver"), Severity::Ok, &["540.4.0"]);
    is(find(&report, "tensorrt"), Severity::Ok, &["10.3.0", "/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0"]);
    is(find(&report, "power mode"), Severity::Ok, &["MAXN_SUPER (nvpmodel mode 0)"]);
    is(find(&report, "clocks"), Severity::Ok, &["GPU held at 1173 MHz", "CPU held at 1984 MHz"]);
    is(find(&report, "memory"), Severity::Ok, &["13672 of 15625 MiB"]);
    is(find(&report, "swap"), Severity::Ok, &["8192 MiB on disk, 1 MiB zram"]);
    is(find(&report, "ament prefix"), Severity::Ok, &["vla_trt is in /ws/install/vla_trt"]);
    is(find(&report, "topics"), Severity::Ok, &["1 seen: /joint_states"]);
    is(of(&report, "engine", "step"), Severity::Ok, &["step.engine matches"]);
    is(find(&report, "fits"), Severity::Ok, &["13672 MiB are free"]);
}

#[test]
fn a_pc_without_cuda_says_so_and_that_it_runs_all_the_same() {
    let (_root, machine) = pc();
    let policy = demo::policy();
    let report = examine(&machine, Some(policy.path()));
    assert_eq!(report.severity, Severity::Info, "{}", lines(&report));
    is(find(&report, "gpu"), Severity::Info, &["CUDA is absent", "libcuda.so.1", "ONNX Runtime"]);
    assert_eq!(remedy(find(&report, "gpu")), "install libcuda.so.1");
    is(find(&report, "tensorrt"), Severity::Info, &["no TensorRT library opens"]);
    is(find(&report, "board"), Severity::Info, &["no Jetson"]);
    is(find(&report, "power mode"), Severity::Info, &["no nvpmodel"]);
    is(find(&report, "clocks"), Severity::Info, &["no frequencies"]);
    is(find(&report, "desktop"), Severity::Info, &["gnome-shell"]);
    is(find(&report, "ros"), Severity::Info, &["ROS_DISTRO is not set"]);
    is(find(&report, "topics"), Severity::Info, &["not looked at"]);
    is(of(&report, "engine", "step"), Severity::Info, &["there is no engine"]);
    assert!(report.findings.iter().all(|finding| finding.check != "fits"), "a card's memory is not the host's");
}

#[test]
fn what_is_missing_on_a_jetson_is_an_error_that_is_none_on_a_pc() {
    let (root, mut machine) = orin_nx();
    let missing = Unknown::missing("not on the loader's path", "sudo apt install nvidia-jetpack");
    (machine.gpu, machine.identity) = (Err(missing.clone()), None);
    machine.tensorrt = Err(missing.clone());
    let report = examine(&machine, None);
    is(find(&report, "gpu"), Severity::Error, &["CUDA is absent"]);
    is(find(&report, "tensorrt"), Severity::Error, &["TensorRT 10.3.0 lies at", "but: not on the loader's path"]);
    fs::remove_dir_all(root.path().join("usr")).expect("removed");
    let report = examine(&machine, None);
    is(find(&report, "tensorrt"), Severity::Error, &["no TensorRT library opens"]);
    machine.tensorrt = Err(Unknown { skipped: true, ..missing });
    is(find(&examine(&machine, None), "tensorrt"), Severity::Warning, &["not looked at"]);
}

#[test]
fn a_slow_mode_free_clocks_a_desktop_little_memory_and_no_swap_are_told_with_the_command() {
    let (root, mut machine) = orin_nx();
    let root = root.path();
    write(root, "var/lib/nvpmodel/status", "pmode:0002\n");
    write(root, "sys/class/devfreq/17000000.gpu/min_freq", "306000000");
    write(root, "proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 7000000 kB\n");
    write(root, "proc/swaps", "Filename Type Size Used Priority\n");
    write(root, "proc/812/comm", "gnome-shell\n");
    write(root, "proc/self/comm", "Xorg\n");
    machine.onnx_runtime = Err(Unknown::missing("libonnxruntime.so: cannot open", "run scripts/setup.sh"));
    let report = examine(&machine, None);
    assert_eq!(report.severity, Severity::Warning);
    is(find(&report, "power mode"), Severity::Warning, &["15W (nvpmodel mode 2)", "slower than MAXN_SUPER"]);
    assert!(remedy(find(&report, "power mode")).starts_with("sudo nvpmodel -m 0"));
    is(find(&report, "clocks"), Severity::Info, &["GPU now 1173, from 306 to 1173 MHz"]);
    assert!(remedy(find(&report, "clocks")).contains("jetson_clocks"));
    is(find(&report, "memory"), Severity::Warning, &["6836 of 15625 MiB"]);
    is(find(&report, "swap"), Severity::Warning, &["0 MiB on disk, 0 MiB zram"]);
    is(find(&report, "desktop"), Severity::Warning, &["gnome-shell running"]);
    assert!(!find(&report, "desktop").finding.contains("Xorg"), "only processes by number");
    is(find(&report, "onnx runtime"), Severity::Warning, &["cannot open"]);
    write(root, "proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 4096 0 5\n");
    is(find(&examine(&machine, None), "swap"), Severity::Info, &["0 MiB on disk, 4 MiB zram"]);
}

#[test]
fn files_that_hold_anything_else_are_told_and_do_not_end_it() {
    let (root, machine) = orin_nx();
    for file in ["var/lib/nvpmodel/status", "proc/meminfo", "proc/swaps", "etc/nvpmodel.conf", "var/lib/dpkg/status"] {
        fs::write(root.path().join(file), [0xff, b':', 0, b'\n', b'<', 0xfe]).expect("written");
    }
    write(root.path(), "etc/nv_tegra_release", "nonsense");
    let report = examine(&machine, None);
    is(find(&report, "power mode"), Severity::Warning, &["not known"]);
    is(find(&report, "memory"), Severity::Warning, &["does not say"]);
    is(find(&report, "l4t"), Severity::Warning, &["a Jetson without"]);
}

#[test]
fn jetpack_is_told_by_the_release_where_the_package_is_not_installed() {
    let (root, machine) = orin_nx();
    write(
        root.path(),
        "var/lib/dpkg/status",
        "Package: nvidia-jetpack\nStatus: deinstall ok config-files\nVersion: 5.0\n",
    );
    for (release, words) in [
        ("# R36 (release), REVISION: 4.3, GCID: 1\n", "L4T 36.4.3, JetPack 6.2"),
        ("# R36 (release), REVISION: 3.0, GCID: 1\n", "L4T 36.3.0, JetPack 6.0"),
        ("# R36 (release), REVISION: 4.31, GCID: 1\n", "L4T 36.4.31; its JetPack is not known"),
    ] {
        write(root.path(), "etc/nv_tegra_release", release);
        is(find(&examine(&machine, None), "l4t"), Severity::Ok, &[words]);
    }
}

#[test]
fn a_damaged_engine_another_modules_engine_and_a_missing_one_each_get_their_verdict_and_command() {
    let (_root, machine) = orin_nx();
    let (policy, stages) = built(&orin_nx_identity());
    let stage = |name: &str| stages.iter().find(|stage| stage.name == name).expect("a stage");
    let mut bytes = fs::read(&stage("step").file).expect("reads");
    bytes[0] ^= 1;
    fs::write(&stage("step").file, bytes).expect("written");
    build(stage("language"), &DeviceIdentity { sm_count: 16, ..orin_nx_identity() });
    fs::remove_file(&stage("vision").file).expect("removed");
    fs::remove_file(Provenance::path(&stage("context").file)).expect("removed");
    let report = examine(&machine, Some(policy.path()));
    assert_eq!(report.severity, Severity::Error);
    is(of(&report, "engine", "step"), Severity::Error, &["engine sha256 (changed or damaged)"]);
    is(of(&report, "engine", "language"), Severity::Error, &["SM count (engine: 16, here: 8)"]);
    is(of(&report, "engine", "vision"), Severity::Warning, &["there is no engine"]);
    is(of(&report, "engine", "context"), Severity::Error, &["nothing says where"]);
    for stage in ["step", "language", "vision", "context"] {
        let todo = remedy(of(&report, "engine", stage));
        assert!(todo.contains("vla-trt build --onnx ") && todo.contains(stage), "{todo}");
    }
    assert!(remedy(of(&report, "engine", "context")).contains("vla-trt adopt "));
}

#[test]
fn without_cuda_an_engines_files_l4t_and_board_are_still_compared() {
    let (root, mut machine) = orin_nx();
    (machine.gpu, machine.identity) = (Err(Unknown::skipped("built without it", "build with it")), None);
    let (policy, _) = built(&orin_nx_identity());
    let report = examine(&machine, Some(policy.path()));
    is(of(&report, "engine", "step"), Severity::Info, &["its files match", "were not compared"]);
    write(root.path(), "etc/nv_tegra_release", "# R36 (release), REVISION: 3.0, GCID: 1\n");
    let report = examine(&machine, Some(policy.path()));
    is(of(&report, "engine", "step"), Severity::Error, &["L4T (engine: 36.4.3, here: 36.3.0)"]);
}

#[test]
fn a_missing_network_missing_weights_and_a_policy_that_is_none_are_errors() {
    let (root, machine) = orin_nx();
    let policy = demo::policy();
    fs::remove_file(policy.path().join("vision.onnx")).expect("removed");
    let report = examine(&machine, Some(policy.path()));
    assert_eq!(report.severity, Severity::Error, "{}", lines(&report));
    let text = lines(&report);
    assert!(text.contains("vision.onnx"), "{text}");
    let empty = root.path().join("empty");
    fs::create_dir_all(&empty).expect("made");
    is(find(&examine(&machine, Some(&empty)), "policy"), Severity::Error, &["policy.yaml"]);
}

#[test]
fn a_policy_larger_than_what_is_free_does_not_fit() {
    let (root, machine) = orin_nx();
    let (policy, _) = built(&orin_nx_identity());
    write(root.path(), "proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 1024 kB\n");
    let report = examine(&machine, Some(policy.path()));
    is(find(&report, "fits"), Severity::Error, &["1 MiB are free"]);
    assert!(remedy(find(&report, "fits")).contains("vla-trt plan"));
}

#[test]
fn a_ros_environment_that_will_not_work_is_told() {
    let (_root, mut machine) = orin_nx();
    let mut with = |name: &str, value: &str| {
        let before = machine.environment.insert(name.into(), value.into());
        let report = examine(&machine, None);
        before.map(|value| machine.environment.insert(name.into(), value));
        report
    };
    is(find(&with("ROS_DOMAIN_ID", "233"), "ros domain"), Severity::Error, &["0 to 232", "'233'"]);
    is(find(&with("ROS_DOMAIN_ID", "232"), "ros domain"), Severity::Warning, &["232"]);
    is(find(&with("ROS_DOMAIN_ID", "101"), "ros domain"), Severity::Ok, &["101"]);
    is(find(&with("ROS_DOMAIN_ID", "seven"), "ros domain"), Severity::Error, &["'seven'"]);
    is(find(&with("AMENT_PREFIX_PATH", "/opt/ros/humble:/gone"), "ament prefix"), Severity::Warning, &["/gone"]);
    is(find(&with("AMENT_PREFIX_PATH", "/opt/ros/humble"), "ament prefix"), Severity::Warning, &["in none of the 1"]);
    is(find(&with("AMENT_PREFIX_PATH", ""), "ament prefix"), Severity::Error, &["is not"]);
    is(find(&with("FASTRTPS_DEFAULT_PROFILES_FILE", "/no.xml"), "rmw"), Severity::Error, &["/no.xml"]);
    is(find(&with("FASTRTPS_DEFAULT_PROFILES_FILE", ""), "rmw"), Severity::Info, &["512 KB"]);
    machine.topics = Ok(Vec::new());
    is(find(&examine(&machine, None), "topics"), Severity::Warning, &["none is seen"]);
}

#[test]
fn every_finding_is_one_line_with_what_to_do_beside_it() {
    let (_root, mut machine) = pc();
    machine.gpu = Err(Unknown::missing("two\nlines", "do\n  this"));
    let report = examine(&machine, None);
    let text = lines(&report);
    assert_eq!(text.lines().count(), report.findings.len() + 1, "{text}");
    assert!(text.contains("CUDA is absent: two lines;") && text.contains("  -> do this\n"), "{text}");
    assert!(text.ends_with("errors: 0, warnings: 0\n"), "{text}");
}

#[test]
fn the_worst_finding_decides_the_exit_code() {
    assert_eq!(outcome(Severity::Ok), Outcome::Success);
    assert_eq!(outcome(Severity::Info), Outcome::Success);
    assert_eq!(outcome(Severity::Warning), Outcome::Warned);
    assert_eq!(outcome(Severity::Error), Outcome::Differs);
}

#[test]
fn the_tool_prints_json_that_says_what_the_lines_say_and_exits_by_severity() {
    let policy = demo::policy();
    fs::create_dir_all(policy.path().join("engines")).expect("made");
    fs::write(policy.path().join("engines/step.engine"), "not built by anybody").expect("written");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        // No topics: ROS may or may not be there.
        command.arg("doctor").args(args).env_remove("ROS_DISTRO").output().expect("the tool starts")
    };
    let path = policy.path().to_str().expect("a path in UTF-8");
    let output = run(&[path, "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((json["format"].as_u64(), json["severity"].as_str()), (Some(1), Some("error")));
    let findings = json["findings"].as_array().expect("findings");
    let step = findings.iter().find(|finding| finding["check"] == "engine" && finding["subject"] == "step");
    let step = step.unwrap_or_else(|| panic!("{json:#}"));
    assert_eq!(step["severity"], "error");
    assert!(step["remedy"].as_str().is_some_and(|remedy| remedy.contains("vla-trt build")), "{step}");
    let output = run(&[path]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().any(|line| line.starts_with("error    engine step ") && line.contains("  -> ")), "{text}");
    // With a library that is none, a warning is the worst that is left.
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    let output =
        command.arg("doctor").env("ORT_DYLIB_PATH", "/nowhere.so").env_remove("ROS_DISTRO").env("ROS_DOMAIN_ID", "0");
    let output = output.output().expect("the tool starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("/nowhere.so"), "{text}");
    assert!(matches!(output.status.code(), Some(3 | 5)), "{text}");
    assert_eq!(output.status.code() == Some(5), text.contains("errors: 0, "), "{text}");
}
