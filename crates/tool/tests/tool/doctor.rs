//! `vla-trt doctor` on machines laid out in folders, and at the process boundary.

use std::fs;
use std::process::Command;

use vla_engines::provenance::{DeviceIdentity, Provenance, Verification};
use vla_offline::verify;
use vla_trt::cli::Outcome;
use vla_trt::cli::doctor::{lines, outcome};
use vla_trt::doctor::{Finding, Report, Severity, Unknown, examine};

use vla_trt::doctor;
use vla_trt_tests::demo;
use vla_trt_tests::quantized::{Form, quantize};
pub(crate) mod machines;

use machines::{ORIN_NX, build, built, orin_nx, orin_nx_identity, pc, write};

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

#[test]
fn an_orin_nx_as_it_should_be_has_nothing_worse_than_ok() {
    let (_root, machine) = orin_nx();
    let (policy, _) = built(&orin_nx_identity());
    let report = examine(&machine, Some(policy.path()), None);
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
fn the_verdict_of_the_accuracy_gate_is_told_and_a_failed_one_is_an_error_with_ways_out() {
    let (_root, machine) = orin_nx();
    let (policy, stages) = built(&orin_nx_identity());
    let engine = |name: &str| &stages.iter().find(|stage| stage.name == name).expect("a stage").file;
    let verdict = |passed, summary: &str| Verification {
        passed,
        at: "2026-01-02T03:04:05Z".to_owned(),
        bag_sha256: "ab".repeat(32),
        observations: 8,
        tensors: Vec::new(),
        summary: summary.to_owned(),
    };
    verify::record(engine("vision"), &verdict(true, "image_rows cosine 0.999900 >= 0.999")).expect("written");
    verify::record(engine("step"), &verdict(false, "next_actions cosine 0.710000 < 0.99")).expect("written");
    let report = examine(&machine, Some(policy.path()), None);
    let passed = ["accuracy: image_rows cosine 0.999900 >= 0.999, 8 observations, 2026-01-02T03:04:05Z"];
    is(of(&report, "engine", "vision"), Severity::Ok, &passed);
    is(of(&report, "engine", "context"), Severity::Ok, &["accuracy not verified"]);
    let failed = ["step.engine failed its accuracy gate: next_actions cosine 0.710000 < 0.99 (8 observations"];
    is(of(&report, "engine", "step"), Severity::Error, &failed);
    let todo = remedy(of(&report, "engine", "step"));
    for part in ["another precision", "vla-trt build --onnx", "engines.step.allow_inaccurate: true"] {
        assert!(todo.contains(part), "`{part}` in {todo}");
    }
    // A later verdict replaces the first; an engine that another tool built has no record to hold one.
    verify::record(engine("step"), &verdict(true, "fine")).expect("written");
    is(of(&examine(&machine, Some(policy.path()), None), "engine", "step"), Severity::Ok, &["accuracy: fine"]);
    fs::remove_file(Provenance::path(engine("step"))).expect("removed");
    let error = verify::record(engine("step"), &verdict(true, "fine")).expect_err("no record").to_string();
    assert!(error.contains("step.engine.provenance.json"), "{error}");
}

#[test]
fn a_pc_without_cuda_says_so_and_that_it_runs_all_the_same() {
    let (_root, machine) = pc();
    let policy = demo::policy();
    let report = examine(&machine, Some(policy.path()), None);
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
    let report = examine(&machine, None, None);
    is(find(&report, "gpu"), Severity::Error, &["CUDA is absent"]);
    is(find(&report, "tensorrt"), Severity::Error, &["TensorRT 10.3.0 lies at", "but: not on the loader's path"]);
    fs::remove_dir_all(root.path().join("usr")).expect("removed");
    let report = examine(&machine, None, None);
    is(find(&report, "tensorrt"), Severity::Error, &["no TensorRT library opens"]);
    machine.tensorrt = Err(Unknown { skipped: true, ..missing });
    is(find(&examine(&machine, None, None), "tensorrt"), Severity::Warning, &["not looked at"]);
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
    let report = examine(&machine, None, None);
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
    is(find(&examine(&machine, None, None), "swap"), Severity::Info, &["0 MiB on disk, 4 MiB zram"]);
}

#[test]
fn files_that_hold_anything_else_are_told_and_do_not_end_it() {
    let (root, machine) = orin_nx();
    for file in ["var/lib/nvpmodel/status", "proc/meminfo", "proc/swaps", "etc/nvpmodel.conf", "var/lib/dpkg/status"] {
        fs::write(root.path().join(file), [0xff, b':', 0, b'\n', b'<', 0xfe]).expect("written");
    }
    write(root.path(), "etc/nv_tegra_release", "nonsense");
    let report = examine(&machine, None, None);
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
        ("# R38 (release), REVISION: 2.0, GCID: 1\n", "L4T 38.2.0, JetPack 7.0"),
        ("# R38 (release), REVISION: 4.0, GCID: 1\n", "L4T 38.4.0, JetPack 7.1"),
        ("# R39 (release), REVISION: 2, GCID: 1\n", "L4T 39.2, JetPack 7.2"),
        ("# R39 (release), REVISION: 2.1, GCID: 1\n", "L4T 39.2.1, JetPack 7.2"),
    ] {
        write(root.path(), "etc/nv_tegra_release", release);
        is(find(&examine(&machine, None, None), "l4t"), Severity::Ok, &[words]);
    }
}

#[test]
fn a_release_of_l4t_that_refuses_large_allocations_is_a_warning_with_what_to_do() {
    let (root, machine) = orin_nx();
    write(root.path(), "etc/nv_tegra_release", "# R36 (release), REVISION: 4.7, GCID: 42132812\n");
    let report = examine(&machine, None, None);
    is(find(&report, "l4t"), Severity::Warning, &["L4T 36.4.7", "large GPU allocations are refused"]);
    assert!(remedy(find(&report, "l4t")).contains("drop_caches"), "{report:#?}");
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
    let report = examine(&machine, Some(policy.path()), None);
    assert_eq!(report.severity, Severity::Error);
    is(of(&report, "engine", "step"), Severity::Error, &["engine sha256 (changed or damaged)"]);
    is(of(&report, "engine", "language"), Severity::Error, &["SM count (engine: 16, here: 8)"]);
    is(of(&report, "engine", "vision"), Severity::Warning, &["there is no engine"]);
    is(of(&report, "engine", "context"), Severity::Error, &["no record says where"]);
    let all = format!("vla-trt build {}", policy.path().display());
    assert!(remedy(of(&report, "engine", "vision")).starts_with(&all), "one command for all that are missing");
    for stage in ["step", "language", "context"] {
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
    let report = examine(&machine, Some(policy.path()), None);
    is(of(&report, "engine", "step"), Severity::Info, &["its files match", "were not compared"]);
    write(root.path(), "etc/nv_tegra_release", "# R36 (release), REVISION: 3.0, GCID: 1\n");
    let report = examine(&machine, Some(policy.path()), None);
    is(of(&report, "engine", "step"), Severity::Error, &["L4T (engine: 36.4.3, here: 36.3.0)"]);
}

#[test]
fn a_missing_network_missing_or_cut_weights_and_a_policy_that_is_none_are_errors() {
    let (root, machine) = orin_nx();
    let policy = demo::policy();
    fs::remove_file(policy.path().join("language.onnx.data")).expect("removed");
    let report = examine(&machine, Some(policy.path()), None);
    is(of(&report, "network", "language"), Severity::Error, &["found no file", "language.onnx.data"]);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.check != "network" || finding.subject.as_deref() == Some("language"))
    );
    let cut = policy.path().join("vision.onnx.data");
    let bytes = fs::read(&cut).expect("read");
    fs::write(&cut, &bytes[..bytes.len() - 1]).expect("written");
    let (expected, found) = (bytes.len().to_string(), (bytes.len() - 1).to_string());
    is(
        of(&examine(&machine, Some(policy.path()), None), "network", "vision"),
        Severity::Error,
        &["vision.onnx.data", &expected, &found, "cut"],
    );
    fs::write(policy.path().join("step.onnx"), [0xff; 9]).expect("written");
    is(of(&examine(&machine, Some(policy.path()), None), "network", "step"), Severity::Error, &["not an ONNX model"]);
    fs::remove_file(policy.path().join("vision.onnx")).expect("removed");
    is(find(&examine(&machine, Some(policy.path()), None), "policy"), Severity::Error, &["no file 'vision.onnx'"]);
    let empty = root.path().join("empty");
    fs::create_dir_all(&empty).expect("made");
    is(find(&examine(&machine, Some(&empty), None), "policy"), Severity::Error, &["policy.yaml"]);
}

#[test]
fn a_policy_larger_than_what_is_free_does_not_fit() {
    let (root, machine) = orin_nx();
    let (policy, _) = built(&orin_nx_identity());
    write(root.path(), "proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 1024 kB\n");
    let report = examine(&machine, Some(policy.path()), None);
    is(find(&report, "fits"), Severity::Error, &["1 MiB are free"]);
    assert!(remedy(find(&report, "fits")).contains("vla-trt plan"));
}

#[test]
fn a_ros_environment_that_will_not_work_is_told() {
    let (_root, mut machine) = orin_nx();
    let mut with = |name: &str, value: &str| {
        let before = machine.environment.insert(name.into(), value.into());
        let report = examine(&machine, None, None);
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
    is(find(&examine(&machine, None, None), "topics"), Severity::Warning, &["none is seen"]);
}

#[test]
fn every_finding_is_one_line_with_what_to_do_beside_it() {
    let (_root, mut machine) = pc();
    machine.gpu = Err(Unknown::missing("two\nlines", "do\n  this"));
    let report = examine(&machine, None, None);
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

#[test]
fn a_quantised_network_is_compared_with_the_tensorrt_of_the_machine() {
    let (_root, machine) = orin_nx();
    let on = |version: &str, policy: &std::path::Path| {
        let machine = doctor::Machine { tensorrt: Ok(version.into()), ..machine.clone() };
        of(&examine(&machine, Some(policy), None), "quantized", "step").clone()
    };
    let policy = demo::policy();
    let step = policy.path().join("step.onnx");
    assert!(examine(&machine, Some(policy.path()), None).findings.iter().all(|finding| finding.check != "quantized"));
    quantize(&step, Form::Integers, |_| true);
    is(&on("10.3.0", policy.path()), Severity::Ok, &["100 % of the weights", "TensorRT 10.3.0 builds"]);
    let on_8 = on("8.6.1", policy.path());
    is(&on_8, Severity::Error, &["8-bit integers in the file"]);
    assert!(remedy(&on_8).contains("vla-trt quantize") && remedy(&on_8).contains("--target trt8"), "{on_8:?}");
    let unknown = doctor::Machine { tensorrt: Err(Unknown::skipped("a test", "none")), ..machine.clone() };
    is(of(&examine(&unknown, Some(policy.path()), None), "quantized", "step"), Severity::Info, &["not known here"]);
    // The demo's state encoder and action decoder have a Relu; half of the products stay in single precision.
    let policy = demo::policy();
    quantize(&policy.path().join("step.onnx"), Form::Floating, |node| !node.contains("/block.0/"));
    is(&on("8.6.1", policy.path()), Severity::Error, &["keeps the others", "without the Relu"]);
    is(&on("RTX 1.7.1", policy.path()), Severity::Ok, &["RTX 1.7.1 builds"]);
}
