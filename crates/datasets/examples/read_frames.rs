//! Reads the frames of one camera of a data set, episode after episode, and prints their number and the time that it took.
//!
//! ```text
//! cargo run --release -p vla_datasets --features video --example read_frames -- DATASET CAMERA [--color tagged|bt601] [--raw FILE]
//! ```
//!
//! `--raw` writes all frames one after the other as RGB, for a comparison with another decoder (scripts/bench_dataset.py).

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vla_datasets::{ColorSpace, Dataset};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "expected DATASET CAMERA [--color tagged|bt601] [--raw FILE]";
    let (dataset, camera) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let (mut color, mut raw) = (ColorSpace::default(), None);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(usage)?;
        match option.as_str() {
            "--color" => color = value.parse()?,
            "--raw" => raw = Some(BufWriter::new(File::create(value)?)),
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
            if let Some(file) = &mut raw {
                file.write_all(frame.rgb)?;
            }
        }
    }
    if let Some(mut file) = raw {
        file.flush()?;
    }
    println!("{count} frames in {:.3} s, {:.1} frames/s", taken.as_secs_f64(), count as f64 / taken.as_secs_f64());
    Ok(())
}
