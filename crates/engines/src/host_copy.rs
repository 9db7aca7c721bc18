//! Finds the copy of an engine file that a runtime keeps in host memory after deserializing it, and releases its pages.
//!
//! TensorRT 8.6 keeps every engine file whole in anonymous memory and never reads it again (docs/memory.md). On a machine whose
//! CPU and GPU share their memory that doubles the memory of an engine, and only swap could reclaim it. So the copy is written
//! to an unnamed file beside the engine, and that file is mapped over the same addresses: the runtime still owns, reads and
//! frees the memory, but its pages are clean pages of a file, which the kernel can evict.
//!
//! Nothing is guessed. The copy must have appeared while the plan was deserialized, in private memory of no file, and what is
//! given back is whole pages that hold the plan's own bytes, in order, at one distance: all of them are compared. That nobody writes to it is proven when the engine is built: a process
//! of its own maps it read-only and runs the engine ([`crate::provenance::Release`]).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vla_base::sys::allocator;
use vla_base::sys::mappings::PrivateMappings;
use vla_base::sys::remap;
use vla_base::sys::remap::{Access, PAGE, RemappedMemory, remap_to_file};
use vla_base::sys::streamed::StreamedFile;

/// Smaller copies stay. From 32 MiB on (`DEFAULT_MMAP_THRESHOLD_MAX`) glibc gives every block a mapping of its own and takes
/// it away when it is freed; smaller ones lie among others, and what was freed may still hold the same bytes.
pub const LEAST: u64 = 34 << 20;
/// Places at which the plan is compared with its copy.
const SAMPLES: u64 = 64;
/// Bytes compared at each.
const SAMPLE: usize = 64;
/// Least different bytes of a sample: one of padding is found everywhere.
const DISTINCT: usize = 12;
/// Fewest samples that say anything.
const LEAST_SAMPLES: usize = 16;
/// Bytes that are searched and compared at a time.
const PIECE: usize = 4 << 20;
/// Most of a plan that its copy may lack: this part of it.
const LEFT_OUT: u64 = 10;
/// Bytes that a runtime may put before its copy, beyond the difference of their sizes.
const SLACK: u64 = 2 << 20;
/// Memory in front of and behind what appeared is looked at too: a block may take addresses that were another's before.
const REACH: usize = 32 << 20;

/// Why a host copy was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan is small.
    #[error("the engine file has {bytes} bytes; copies below {LEAST} bytes are not released")]
    Small {
        /// Size of the plan.
        bytes: u64,
    },
    /// Nothing as large as the plan appeared.
    #[error(
        "no private mapping as large as the engine file ({plan} bytes) appeared while it was deserialized; the largest has {largest} \
         bytes"
    )]
    NoRegion {
        /// Size of the plan.
        plan: u64,
        /// Largest range that appeared.
        largest: u64,
    },
    /// What appeared is not the plan.
    #[error(
        "the memory that appeared while the engine was deserialized does not contain the engine file ({matching} of {samples} samples)"
    )]
    OtherBytes {
        /// Samples of the plan found in it, at one distance.
        matching: usize,
        /// Samples compared.
        samples: usize,
    },
    /// Another allocator may hand the addresses out again without unmapping them, and take them for its own kind of memory.
    #[error(
        "the allocator of this process is not glibc's: {0}; start the program without LD_PRELOAD of another allocator"
    )]
    Allocator(String),
    /// The driver knows the memory: the GPU may read it, by addresses that would not follow.
    #[error("the copy is registered with the CUDA driver")]
    Registered,
    /// The plan or this process's mappings cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It could not be put into a file.
    #[error(transparent)]
    Remap(#[from] remap::Error),
}

impl Error {
    /// Whether it says something of this moment, such as a full disk, and not of the engine.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Remap(_) | Self::Allocator(_))
    }
}

/// What became of the host copy of a loaded engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HostCopy {
    /// Not looked for: the runtime keeps none, or releasing is off.
    #[default]
    AsLoaded,
    /// Its pages belong to a file.
    Released {
        /// Bytes.
        bytes: u64,
    },
    /// It was to be released, and could not be.
    Kept {
        /// Why.
        reason: String,
    },
}

/// The private mappings of this process before an engine is deserialized.
pub struct MappingSnapshot(PrivateMappings);

impl MappingSnapshot {
    /// Takes the snapshot. Call it right before deserializing, with no other load running.
    ///
    /// # Errors
    /// [`Error::Allocator`]; whatever reading `/proc/self/maps` gives.
    pub fn take() -> Result<Self, Error> {
        allocator::is_glibc().map_err(Error::Allocator)?;
        Ok(Self(PrivateMappings::now()?))
    }

    /// The copy of the engine file `plan` among the mappings that appeared since: whole pages of it.
    ///
    /// # Errors
    /// [`Error`] saying what was found instead.
    pub fn find(&self, plan: &Path) -> Result<Found, Error> {
        let bytes = std::fs::metadata(plan)?.len();
        if bytes < LEAST {
            return Err(Error::Small { bytes });
        }
        let now = PrivateMappings::now()?;
        let mut new = now.since(&self.0);
        new.sort_by_key(|range| std::cmp::Reverse(range.len()));
        let largest = new.first().map_or(0, |range| range.len() as u64);
        // Most of the copy must be new.
        new.retain(|range| range.len() as u64 >= bytes / 2);
        let regions = new.into_iter().map(|range| (now.around(&range, REACH), range));
        // What a runtime has no use for after parsing, such as the plan's descriptions, may be missing.
        let regions: Vec<_> = regions.filter(|(region, _)| region.len() as u64 >= bytes - bytes / LEFT_OUT).collect();
        if regions.is_empty() {
            return Err(Error::NoRegion { plan: bytes, largest });
        }
        let samples = Sample::of(&mut StreamedFile::open(plan)?)?;
        if samples.len() < LEAST_SAMPLES {
            return Err(Error::OtherBytes { matching: 0, samples: samples.len() });
        }
        let memory = File::open("/proc/self/mem")?;
        // Opened anew: it lets go of what lies behind it, from its own beginning on.
        let mut file = StreamedFile::open(plan)?;
        let mut best = 0;
        for (region, new) in regions {
            match copy_in(&region, &memory, &mut file, &samples)? {
                Ok(copy) if overlap(&copy, &new) >= copy.len() / 2 => return Ok(Found(copy)),
                // Memory that existed before is not the copy.
                Ok(_) => {}
                Err(matching) => best = best.max(matching),
            }
        }
        Err(Error::OtherBytes { matching: best, samples: samples.len() })
    }
}

/// The copy of an engine file: whole pages of the runtime's memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found(Range<usize>);

impl Found {
    /// Its addresses.
    pub fn addresses(&self) -> Range<usize> {
        self.0.clone()
    }

    /// Moves its pages to an unnamed file in `folder`. The engine must not run meanwhile.
    ///
    /// # Errors
    /// [`Error::Remap`]; the copy is then as it was.
    pub fn release(self, folder: &Path, access: Access) -> Result<RemappedMemory, Error> {
        Ok(remap_to_file(self.0, folder, access)?)
    }
}

/// A few bytes of the plan.
struct Sample {
    offset: u64,
    bytes: [u8; SAMPLE],
}

impl Sample {
    /// Samples at even distances through the plan; those of padding are left out.
    fn of(file: &mut StreamedFile) -> io::Result<Vec<Self>> {
        let mut samples = Vec::with_capacity(SAMPLES as usize);
        for index in 0..SAMPLES {
            let mut sample = Self { offset: file.size() / SAMPLES * index, bytes: [0; SAMPLE] };
            file.read_at(&mut sample.bytes, sample.offset)?;
            let mut seen = [false; 256];
            sample.bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
            if seen.iter().filter(|seen| **seen).count() >= DISTINCT {
                samples.push(sample);
            }
        }
        Ok(samples)
    }
}

/// The copy of a plan in `region`, or how many samples were found at the distance at which most were.
fn copy_in(
    region: &Range<usize>,
    memory: &File,
    plan: &mut StreamedFile,
    samples: &[Sample],
) -> io::Result<Result<Range<usize>, usize>> {
    let difference = (region.len() as u64).abs_diff(plan.size());
    let slack = usize::try_from(difference.min(2 * REACH as u64) + SLACK).unwrap_or(usize::MAX);
    let mut most = 0;
    // Any one sample tells the distance; a few from the middle are tried, in case one is found by chance elsewhere.
    for sample in samples.iter().skip(samples.len() / 2).take(4) {
        let expected = region.start.saturating_add(usize::try_from(sample.offset).unwrap_or(usize::MAX));
        let around = expected.saturating_sub(slack).max(region.start)..expected.saturating_add(slack).min(region.end);
        for at in found(memory, around, &sample.bytes)? {
            let shift = at as i64 - sample.offset as i64;
            let matching = matching(memory, region, shift, samples)?;
            most = most.max(matching);
            if matching as u64 * LEFT_OUT >= samples.len() as u64 * (LEFT_OUT - 1) {
                let copy = equal_pages(memory, plan, region, shift)?;
                if copy.len() as u64 >= plan.size() - plan.size() / LEFT_OUT {
                    return Ok(Ok(copy));
                }
            }
        }
    }
    Ok(Err(most))
}

/// Addresses in `range` at which `bytes` are.
fn found(memory: &File, range: Range<usize>, bytes: &[u8; SAMPLE]) -> io::Result<Vec<usize>> {
    let mut addresses = Vec::new();
    let mut piece = vec![0; PIECE + SAMPLE - 1];
    for start in range.clone().step_by(PIECE) {
        let length = piece.len().min(range.end - start);
        memory.read_exact_at(&mut piece[..length], start as u64)?;
        let here = piece[..length].windows(SAMPLE).enumerate().filter(|(_, window)| window == bytes);
        addresses.extend(here.map(|(at, _)| start + at));
    }
    Ok(addresses)
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

/// The longest run of pages in `region` that are the plan's own bytes, `shift` further: every byte is compared, so that
/// nothing of another owner beside the copy is taken for it.
fn equal_pages(memory: &File, plan: &mut StreamedFile, region: &Range<usize>, shift: i64) -> io::Result<Range<usize>> {
    let start = usize::try_from(shift).unwrap_or(0).max(region.start).next_multiple_of(PAGE);
    let end = usize::try_from(shift + plan.size() as i64).unwrap_or(0).min(region.end) / PAGE * PAGE;
    let (mut best, mut run) = (start..start, start..start);
    let (mut there, mut own) = (vec![0; PIECE], vec![0; PIECE]);
    for piece in (start..end).step_by(PIECE) {
        let length = PIECE.min(end - piece);
        memory.read_exact_at(&mut there[..length], piece as u64)?;
        plan.read_at(&mut own[..length], (piece as i64 - shift) as u64)?;
        for (index, (a, b)) in there[..length].chunks(PAGE).zip(own[..length].chunks(PAGE)).enumerate() {
            let page = piece + index * PAGE;
            run = if a == b { run.start..page + PAGE } else { page + PAGE..page + PAGE };
            if run.len() > best.len() {
                best = run.clone();
            }
        }
    }
    Ok(best)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

#[cfg(test)]
mod tests;
