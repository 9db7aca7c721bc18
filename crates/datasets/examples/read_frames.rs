//! Reads the frames of one camera of a data set, episode after episode, and prints their number and the time that it took.
//!
//! ```text
//! cargo run --release -p vla_datasets --features video --example read_frames -- DATASET CAMERA [--color tagged|bt601] [--raw]
//! ```
//!
//! `--raw` writes all frames one after the other as RGB to standard output, for a comparison with another decoder
//! (scripts/bench_dataset.py); the figures then go to standard error.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vla_datasets::{ColorSpace, Dataset};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "expected DATASET CAMERA [--color tagged|bt601] [--raw]";
    let (dataset, camera) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let (mut color, mut raw) = (ColorSpace::default(), None);
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--color" => color = arguments.next().ok_or(usage)?.parse()?,
            "--raw" => raw = Some(std::io::stdout().lock()),
            _ => return Err(usage.into()),
        }
    }
    let dataset = Dataset::open(&PathBuf::from(dataset))?;
    let (mut count, mut taken) = (0u64, Duration::ZERO);
    for episode in 0..dataset.episodes().len() {
        let mut frames = dataset.frames(episode, &camera, color)?;
        for row in dataset.rows(episode, &[])? {
            let row = row?;
            let started = Instant::now();
            let frame = frames.at(&row)?;
            taken += started.elapsed();
            count += 1;
            if let Some(out) = &mut raw {
                out.write_all(frame.rgb)?;
            }
        }
    }
    let text =
        format!("{count} frames in {:.3} s, {:.1} frames/s", taken.as_secs_f64(), count as f64 / taken.as_secs_f64());
    if raw.is_some() {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
    Ok(())
}
