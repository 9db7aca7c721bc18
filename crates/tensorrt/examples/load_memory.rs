//! Measures the host memory of loading engines in three ways: streamed, as vla_trt does; streamed and with TensorRT's host copy
//! released, as with `memory.release_host_copy`; or with the whole file read into a buffer first, as scripts do. Run one
//! process per way, because a process reuses freed memory.
//!
//! ```sh
//! cargo run --release --features tensorrt --example load_memory -- ENGINE...
//! cargo run --release --features tensorrt --example load_memory -- --release ENGINE...
//! cargo run --release --features tensorrt --example load_memory -- --read-all ENGINE...
//! ```
//!
//! Output in MiB: size of the file; increase of anonymous memory at the peak of the load and after it; decrease of free device
//! memory.

use std::path::{Path, PathBuf};
use std::time::Instant;

use vla_base::sys::remap::Access;
use vla_engines::host_copy::MappingSnapshot;
use vla_engines::memory::{AnonymousPeak, MemoryUse, mib};
use vla_tensorrt::device::{Options, Tensorrt};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, engines): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let (read_all, release) = (has("--read-all"), has("--release"));
    let mut device = Tensorrt::open(Options::default())?;
    let way = if read_all { "read whole" } else { "streamed" };
    let way = if release { "copy given back" } else { way };
    println!("{:32} {:>9} {:>9} {:>9} {:>9} {:>7}", way, "file", "peak", "kept", "device", "s");
    let start = MemoryUse::now().anonymous;
    let mut plans = Vec::new();
    let (mut files, mut highest) = (0, 0);
    for engine in engines.iter().map(PathBuf::from) {
        let bytes = std::fs::metadata(&engine)?.len();
        let (free, _) = device.cuda().memory()?;
        let (before, begun) = (MemoryUse::now().anonymous, Instant::now());
        let appeared = MappingSnapshot::take()?;
        let watch = AnonymousPeak::watch();
        // Held over the load, as `f.read()` in the argument of a deserialize call is.
        let whole = read_all.then(|| std::fs::read(&engine)).transpose()?;
        plans.push(device.load_file("measured", &engine)?);
        drop(whole);
        if release {
            let found = device.find_copy(&appeared, &engine)?;
            found.release(engine.parent().unwrap_or(Path::new(".")), Access::ReadWrite)?;
        }
        let peak = watch.stop();
        let (left, _) = device.cuda().memory()?;
        let grown = |bytes: u64| mib(bytes.saturating_sub(before));
        println!(
            "{:32} {:9.1} {:9.1} {:9.1} {:9.1} {:7.2}",
            engine.file_name().unwrap_or_default().to_string_lossy(),
            mib(bytes),
            grown(peak),
            grown(MemoryUse::now().anonymous),
            mib(free.saturating_sub(left)),
            begun.elapsed().as_secs_f64()
        );
        (files, highest) = (files + bytes, peak.max(highest));
    }
    let grown = |bytes: u64| mib(bytes.saturating_sub(start));
    println!("{:32} {:9.1} {:9.1} {:9.1}", "all", mib(files), grown(highest), grown(MemoryUse::now().anonymous));
    drop(plans);
    Ok(())
}
