use super::*;
use vla_engines::onnx::Network as Read;

/// The network as a planner sees it.
fn read(network: &Network) -> (tempfile::TempDir, Read) {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = network.write(folder.path(), "roof").expect("written");
    let network = Read::open(&stage.onnx).expect("a network");
    (folder, network)
}

#[test]
fn the_work_of_a_network_is_what_its_file_says() {
    for multiplied in [Multiplied::F32, Multiplied::F16, Multiplied::I8, Multiplied::I8Floating] {
        let made = multiplying(multiplied, 64);
        let (_folder, network) = read(&made);
        let cost = network.cost(&Default::default(), 4);
        assert_eq!((cost.flops, made.work), (made.work, 2 * 8 * 64 * 64 * 64), "{multiplied:?}");
        let integers = matches!(multiplied, Multiplied::I8 | Multiplied::I8Floating);
        assert_eq!(cost.int8_flops, if integers { made.work } else { 0 }, "{multiplied:?}");
        for version in ["8.6.1", "10.3.0"] {
            let fits = vla_engines::quantized::check(&network, version).is_empty();
            assert_eq!(fits, multiplied != Multiplied::I8 || version != "8.6.1", "{multiplied:?} {version}");
        }
    }
    let made = reading(DType::F16, 40 << 20);
    let (_folder, network) = read(&made);
    assert_eq!((made.work, network.weight_bytes()), (32 << 20, 32 << 20), "whole weights");
    assert_eq!(network.products().len(), 1);
}

#[test]
fn rates_of_this_cpu_are_measured_and_read_back() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let effort = Effort { side: 64, read_bytes: 1, warm_up: Duration::ZERO, counted: Duration::ZERO };
    let roofs = on_cpu(1, effort, folder.path()).expect("measured");
    let text = serde_json::to_string(&roofs).expect("writes");
    assert_eq!(Roofs::parse(&text), Ok(roofs.clone()));
    let version = roofs.engine.strip_prefix("ONNX Runtime ").and_then(|version| version.split('.').next());
    assert!(version.is_some_and(|major| major.parse::<u32>().is_ok()), "{roofs:?}");
    // A core reads less than a TB/s and multiplies less than 10 TFLOP/s.
    assert!((1e6..1e12).contains(&roofs.read_bytes_per_s), "{roofs:?}");
    for rate in [roofs.fp32_flops_per_s, roofs.fp16_flops_per_s, roofs.int8_ops_per_s] {
        assert!((1e6..1e13).contains(&rate), "{roofs:?}");
    }
}
