//! Finds the copy of an engine file that a runtime keeps in host memory after deserializing it, and releases its pages.
//!
//! TensorRT 8.6 keeps every engine file whole in anonymous memory and never reads it again (docs/memory.md). On a machine whose
//! CPU and GPU share their memory that doubles the memory of an engine, and only swap could reclaim it. So the copy is written
//! to an unnamed file beside the engine, and that file is mapped over the same addresses: the runtime still owns, reads and
//! frees the memory, but its pages are clean pages of a file, which the kernel can evict.
//!
//! Safety: the copy must be in private anonymous memory that appeared during deserialization. Only whole pages are released,
//! and each is compared with the plan: same bytes, same order, one constant offset. That nothing writes to the copy is tested
//! when the engine is built: a separate process maps it read-only and runs the engine ([`crate::provenance::Release`]).

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

/// Smaller copies are not released. From 32 MiB on (`DEFAULT_MMAP_THRESHOLD_MAX`) glibc allocates every block as a separate
/// mapping and unmaps it when it is freed; smaller blocks share a heap, where freed memory may still contain the same bytes.
pub const LEAST: u64 = 34 << 20;
/// Number of samples of the plan that are searched in its copy.
const SAMPLES: u64 = 64;
/// Bytes of a sample.
const SAMPLE: usize = 64;
/// Minimum number of distinct bytes in a sample: padding would be found everywhere.
const DISTINCT: usize = 12;
/// Minimum number of samples.
const LEAST_SAMPLES: usize = 16;
/// Bytes read per search or comparison.
const PIECE: usize = 4 << 20;
/// The copy may lack at most one part in this many of the plan.
const LEFT_OUT: u64 = 10;
/// Bytes that a runtime may place before its copy, in addition to the difference of their sizes.
const SLACK: u64 = 2 << 20;
/// Distance before and behind new mappings that is searched, too: a block may reuse addresses of an earlier one.
const REACH: usize = 32 << 20;

/// Why a host copy was not released.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan is small.
    #[error("the engine file has {bytes} bytes; copies below {LEAST} bytes are not released")]
    Small {
        /// Size of the plan.
        bytes: u64,
    },
    /// No new mapping is as large as the plan.
    #[error(
        "no private mapping as large as the engine file ({plan} bytes) appeared while it was deserialized; the largest has {largest} \
         bytes"
    )]
    NoRegion {
        /// Size of the plan.
        plan: u64,
        /// Size of the largest new range.
        largest: u64,
    },
    /// The new memory does not contain the plan.
    #[error(
        "the memory that appeared while the engine was deserialized does not contain the engine file ({matching} of {samples} samples)"
    )]
    OtherBytes {
        /// Samples of the plan found in it at one offset.
        matching: usize,
        /// Samples compared.
        samples: usize,
    },
    /// The allocator is not glibc's: it may reuse the addresses without unmapping them.
    #[error(
        "the allocator of this process is not glibc's: {0}; start the program without LD_PRELOAD of another allocator"
    )]
    Allocator(String),
    /// The memory is registered with the driver: the GPU may access it by addresses that a remapping does not update.
    #[error("the copy is registered with the CUDA driver")]
    Registered,
    /// The plan or this process's mappings cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The pages could not be moved to a file.
    #[error(transparent)]
    Remap(#[from] remap::Error),
}

impl Error {
    /// Whether the cause is temporary, such as a full disk, and not a property of the engine.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Remap(_) | Self::Allocator(_))
    }
}

/// State of the host copy of a loaded engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HostCopy {
    /// Not searched: the runtime keeps none, or releasing is off.
    #[default]
    AsLoaded,
    /// Released: its pages belong to a file.
    Released {
        /// Bytes.
        bytes: u64,
    },
    /// It could not be released.
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
    /// [`Error::Allocator`]; errors of reading `/proc/self/maps`.
    pub fn take() -> Result<Self, Error> {
        allocator::is_glibc().map_err(Error::Allocator)?;
        Ok(Self(PrivateMappings::now()?))
    }

    /// Finds the copy of the engine file `plan` in mappings created since the snapshot: its whole pages.
    ///
    /// # Errors
    /// [`Error`] with what was found instead.
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
        // A runtime may drop parts that it needs for parsing only, such as the plan's descriptions.
        let regions: Vec<_> = regions.filter(|(region, _)| region.len() as u64 >= bytes - bytes / LEFT_OUT).collect();
        if regions.is_empty() {
            return Err(Error::NoRegion { plan: bytes, largest });
        }
        let samples = Sample::of(&mut StreamedFile::open(plan)?)?;
        if samples.len() < LEAST_SAMPLES {
            return Err(Error::OtherBytes { matching: 0, samples: samples.len() });
        }
        let memory = File::open("/proc/self/mem")?;
        // Opened again, because a streamed file drops pages only once, behind its position.
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
    /// [`Error::Remap`]; the copy is then unchanged.
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
    /// Samples at even distances in the plan, without those of padding.
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

/// The copy of a plan in `region`, or the number of samples found at the most frequent offset.
fn copy_in(
    region: &Range<usize>,
    memory: &File,
    plan: &mut StreamedFile,
    samples: &[Sample],
) -> io::Result<Result<Range<usize>, usize>> {
    let difference = (region.len() as u64).abs_diff(plan.size());
    let slack = usize::try_from(difference.min(2 * REACH as u64) + SLACK).unwrap_or(usize::MAX);
    let mut most = 0;
    // One sample determines the offset. A few from the middle are tried, in case one is found elsewhere by chance.
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

/// Addresses in `range` with the content `bytes`.
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

/// Number of samples found at an offset of `shift` between the plan and this process's memory.
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

/// The longest run of pages in `region` that equal the plan at offset `shift`. Compares every byte, so that adjacent memory of
/// another owner is excluded.
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
