//! The copy of a plan that a runtime keeps in host memory after it deserialized it: found, and given back.
//!
//! TensorRT 8.6 keeps every plan whole in anonymous memory and never reads it again (docs/memory.md). On a machine whose CPU and
//! GPU share their memory that doubles what an engine costs, and nothing but swap could take it back. So the copy is put
//! into a file without a name, beside the engine, and that file is mapped over the copy's own addresses: the runtime still
//! owns it, reads it and frees it, but its pages are clean pages of a file, which the system drops when it needs them.
//!
//! Nothing is guessed. The copy must have appeared while the plan was deserialized, in private memory of no file, and hold
//! the plan's own bytes, in order, at one distance. That nobody writes to it is proven when the engine is built: a process
//! of its own maps it read-only and runs the engine ([`crate::engine::provenance::Release`]).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sys::regions::Anonymous;
use crate::sys::spill::{self, PAGE, Spilled, spill};

/// Smaller copies stay. From 32 MiB on (`DEFAULT_MMAP_THRESHOLD_MAX`) glibc gives every block a mapping of its own and takes
/// it away when it is freed; smaller ones lie among others, and what was freed may still hold the same bytes.
pub const LEAST: u64 = 34 << 20;
/// Places at which the plan is compared with its copy.
const SAMPLES: u64 = 64;
/// Bytes compared at each.
const SAMPLE: usize = 64;
/// Least different bytes of a sample: one of padding is found everywhere.
const DISTINCT: usize = 12;
/// Bytes that a runtime may put before or leave out of its copy, beyond the difference of their sizes.
const SLACK: u64 = 2 << 20;
/// Memory in front of and behind what appeared is looked at too: a block may take addresses that were another's before.
const REACH: usize = 32 << 20;

/// Why a host copy was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan is small.
    #[error("the plan has {bytes} bytes; a copy below {LEAST} is left as it is")]
    Small {
        /// Size of the plan.
        bytes: u64,
    },
    /// Nothing as large as the plan appeared.
    #[error(
        "no private memory as large as the plan ({plan} bytes) appeared while it was deserialized; the largest has {largest}"
    )]
    NoRegion {
        /// Size of the plan.
        plan: u64,
        /// Largest range that appeared.
        largest: u64,
    },
    /// What appeared is not the plan.
    #[error(
        "the memory that appeared while the plan was deserialized does not hold the plan's bytes ({matching} of {samples} samples)"
    )]
    OtherBytes {
        /// Samples of the plan found in it, at one distance.
        matching: usize,
        /// Samples compared.
        samples: usize,
    },
    /// The driver knows the memory: the GPU may read it, by addresses that would not follow.
    #[error("the CUDA driver has the copy registered for the GPU")]
    Registered,
    /// The plan or this process's mappings cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It could not be put into a file.
    #[error(transparent)]
    Spill(#[from] spill::Error),
}

/// What became of the host copy of a loaded engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HostCopy {
    /// Not looked for: the runtime keeps none, or nobody asked.
    #[default]
    AsLoaded,
    /// Its pages are a file's now.
    Released {
        /// Bytes.
        bytes: u64,
    },
    /// It was to be given back and stays.
    Kept {
        /// Why.
        reason: String,
    },
}

/// Looks at this process's memory before a plan is deserialized.
pub struct Watch(Anonymous);

impl Watch {
    /// Call it right before deserializing, with no other load under way.
    ///
    /// # Errors
    /// Whatever reading `/proc/self/maps` gives.
    pub fn begin() -> Result<Self, Error> {
        Ok(Self(Anonymous::now()?))
    }

    /// The copy of `plan` in what appeared since: whole pages of it.
    ///
    /// # Errors
    /// [`Error`] saying what was found instead.
    pub fn find(&self, plan: &Path) -> Result<Found, Error> {
        let file = File::open(plan)?;
        let bytes = file.metadata()?.len();
        if bytes < LEAST {
            return Err(Error::Small { bytes });
        }
        let now = Anonymous::now()?;
        let mut new = now.since(&self.0);
        new.sort_by_key(|range| std::cmp::Reverse(range.len()));
        let largest = new.first().map_or(0, |range| range.len() as u64);
        // Most of the copy must be new.
        new.retain(|range| range.len() as u64 >= bytes / 2);
        let regions = new.into_iter().map(|range| (now.around(&range, REACH), range));
        let regions: Vec<_> = regions.filter(|(region, _)| region.len() as u64 + SLACK >= bytes).collect();
        if regions.is_empty() {
            return Err(Error::NoRegion { plan: bytes, largest });
        }
        let samples = Sample::of(&file, bytes)?;
        let memory = File::open("/proc/self/mem")?;
        let mut best = 0;
        for (region, new) in regions {
            match copy_in(&region, &memory, bytes, &samples)? {
                Ok(Found(copy)) if overlap(&copy, &new) >= copy.len() / 2 => return Ok(Found(copy)),
                // What was there before is somebody else's.
                Ok(_) => {}
                Err(matching) => best = best.max(matching),
            }
        }
        Err(Error::OtherBytes { matching: best, samples: samples.len() })
    }
}

/// The copy of a plan: whole pages of the runtime's own memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found(Range<usize>);

impl Found {
    /// Its addresses.
    pub fn addresses(&self) -> Range<usize> {
        self.0.clone()
    }

    /// Gives it to a file without a name in `folder`, read-only until [`Spilled::allow_writing`]. Nobody may run the engine
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::Spill`]; the copy is then as it was.
    pub fn release(self, folder: &Path) -> Result<Spilled, Error> {
        Ok(spill(self.0, folder)?)
    }
}

/// A few bytes of the plan.
struct Sample {
    offset: u64,
    bytes: [u8; SAMPLE],
}

impl Sample {
    /// Samples at even distances through the plan; those of padding are left out.
    fn of(file: &File, bytes: u64) -> io::Result<Vec<Self>> {
        let mut samples = Vec::with_capacity(SAMPLES as usize);
        for index in 0..SAMPLES {
            // Between the first and the last mebibyte: headers are not always copied.
            let offset = SLACK / 2 + (bytes - SLACK) / SAMPLES * index;
            let mut sample = Self { offset, bytes: [0; SAMPLE] };
            file.read_exact_at(&mut sample.bytes, offset)?;
            let mut seen = [false; 256];
            sample.bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
            if seen.iter().filter(|seen| **seen).count() >= DISTINCT {
                samples.push(sample);
            }
        }
        Ok(samples)
    }
}

/// The copy in `region`, or how many samples were found at the distance at which most were.
fn copy_in(region: &Range<usize>, memory: &File, plan: u64, samples: &[Sample]) -> io::Result<Result<Found, usize>> {
    let difference = (region.len() as u64).abs_diff(plan);
    let slack = (difference.min(2 * REACH as u64) + SLACK) as i64;
    let mut most = 0;
    // Any one sample tells the distance; the first few are tried, in case one of them is found by chance elsewhere.
    for sample in samples.iter().take(4) {
        let expected = region.start as i64 + sample.offset as i64;
        let from = (expected - slack).max(region.start as i64);
        let to = (expected + slack + SAMPLE as i64).min(region.end as i64);
        let mut around = vec![0; usize::try_from(to - from).unwrap_or_default()];
        memory.read_exact_at(&mut around, from as u64)?;
        for at in around.windows(SAMPLE).enumerate().filter(|(_, window)| *window == sample.bytes).map(|(at, _)| at) {
            let shift = from + at as i64 - sample.offset as i64;
            let matching = matching(memory, region, shift, samples)?;
            most = most.max(matching);
            if matching == samples.len() {
                return Ok(whole_pages(region, shift, plan).map(Found).ok_or(most));
            }
        }
    }
    Ok(Err(most))
}

/// Samples that lie `shift` further in this process's memory than in the plan.
fn matching(memory: &File, region: &Range<usize>, shift: i64, samples: &[Sample]) -> io::Result<usize> {
    let mut count = 0;
    for sample in samples {
        let at = sample.offset as i64 + shift;
        if at < region.start as i64 || at + SAMPLE as i64 > region.end as i64 {
            continue;
        }
        let mut there = [0; SAMPLE];
        memory.read_exact_at(&mut there, at as u64)?;
        count += usize::from(there == sample.bytes);
    }
    Ok(count)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

fn whole_pages(region: &Range<usize>, shift: i64, plan: u64) -> Option<Range<usize>> {
    let start = usize::try_from(shift.max(region.start as i64)).ok()?;
    let end = usize::try_from((shift + plan as i64).min(region.end as i64)).ok()?;
    let range = start.next_multiple_of(PAGE)..end / PAGE * PAGE;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests;
