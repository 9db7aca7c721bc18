//! Description of a planned build: output of `--dry-run`, and the limits of `--low-memory-mode`.

use std::path::Path;

use vla_base::tensor::display_dims;
use vla_builder::{Effort, Error, Request, Scales, Target, low_memory};
use vla_engines::memory::mib;
use vla_engines::onnx::Network;
use vla_engines::provenance::OnnxIdentity;
use vla_engines::quantized::engine_precision;

/// Limits the request to `free` bytes and prints one line per limit. `tensorrt`: the version that builds it, if known.
pub(super) fn bound(request: &mut Request, tensorrt: Option<&str>, free: u64) -> Result<(), Error> {
    let network = Network::open(&request.onnx)?;
    let precision = request.precision.to_string();
    let held = engine_precision(&network, &precision, tensorrt);
    let chosen = low_memory::choose(&mut request.effort, &network, held, free);
    for line in chosen {
        println!("  low memory: {line}");
    }
    Ok(())
}

/// Prints how the request would be built. `tensorrt`: the version that would build it, if known.
///
/// # Errors
/// The errors of a build's checks.
pub(super) fn print(request: &Request, tensorrt: Option<&str>) -> Result<(), Error> {
    let profiles = request.profiles()?;
    let network = Network::open(&request.onnx)?;
    let needed = Target::needed(request, tensorrt)?;
    println!(
        "  would build {} in {}: {:.1} MiB of weights, at most {:.1} MiB on the disk as {}",
        request.onnx.display(),
        request.precision,
        mib(network.weight_bytes()),
        mib(needed),
        request.engine.display()
    );
    for (name, profile) in &profiles {
        let [min, opt, max] = [&profile.min, &profile.opt, &profile.max].map(|dims| display_dims(dims));
        println!("    input {name}: {min} to {max}, usually {opt}");
    }
    if let Some(scales) = &request.scales {
        println!("    int8 scales: {}", scales_in_words(request, scales, &network, tensorrt));
    } else if request.precision.int8 {
        println!("    int8 scales: the network's own");
    }
    if let Some(cache) = &request.timing_cache {
        println!("    timing cache: {}, {}", cache.display(), there(cache));
    }
    println!("    builder: {}", effort(&request.effort));
    Ok(())
}

fn scales_in_words(request: &Request, scales: &Scales, network: &Network, tensorrt: Option<&str>) -> String {
    let cache = scales.cache.display();
    let data = scales.data.as_ref().map(|data| data.display().to_string()).unwrap_or_default();
    let Some(tensorrt) = tensorrt else {
        return format!("cache {cache}, {}; recorded inputs: {data}", there(&scales.cache));
    };
    let decided = OnnxIdentity::of(&request.onnx).and_then(|onnx| scales.decide(network, &onnx.sha256, tensorrt));
    match decided {
        Ok(vla_builder::Decision::Use(_)) => format!("cache {cache}"),
        Ok(vla_builder::Decision::Calibrate { stale: None }) => format!("calibrated on {data}, kept in {cache}"),
        Ok(vla_builder::Decision::Calibrate { stale: Some(why) }) => {
            format!("calibrated on {data}; cache {cache} is made anew: {why}")
        }
        Err(problem) => problem,
    }
}

fn there(file: &Path) -> &'static str {
    if file.is_file() { "which is there" } else { "which is not there yet" }
}

fn effort(effort: &Effort) -> String {
    let own = |words: &str| format!("{words} as TensorRT chooses");
    let bytes = |value: Option<u64>, what: &str| {
        value.map_or_else(|| own(what), |bytes| format!("{what} {:.0} MiB", mib(bytes)))
    };
    let level = effort.level.map_or_else(|| own("optimisation level"), |level| format!("optimisation level {level}"));
    let mut parts = vec![bytes(effort.workspace, "workspace"), level];
    parts.extend(effort.tactic_memory.map(|memory| format!("{:.0} MiB to try kernels in", mib(memory))));
    parts.extend(effort.own_kernels.then(|| "TensorRT's own kernels only".to_owned()));
    parts.join(", ")
}
