//! Uses an allocated block as the runtime's copy.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

const BYTES: usize = (LEAST as usize) + 3 * PAGE + 77;

/// The tests examine the memory of the whole process, so they run one at a time, also in a shared process.
static ALONE: Mutex<()> = Mutex::new(());

struct Bench {
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let target = env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target";
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { dir: tempfile::tempdir_in(target).expect("a folder on a disk"), _alone: alone }
    }

    /// A plan with padding between its weights.
    fn plan(&self, bytes: usize) -> std::path::PathBuf {
        let content: Vec<u8> = (0..bytes as u32)
            .map(|i| if (i >> 15) % 3 == 0 { 0 } else { ((i ^ (i >> 13)).wrapping_mul(2_654_435_761) >> 24) as u8 })
            .collect();
        let path = self.dir.path().join("plan.engine");
        fs::write(&path, content).expect("written");
        path
    }
}

/// A runtime's memory: other bytes, then the plan without its first bytes.
fn copy_of(plan: &Path, front: usize, left_out: usize) -> Vec<u8> {
    let content = fs::read(plan).expect("read");
    let mut block = Vec::with_capacity(front + content.len() - left_out + 4096);
    block.resize(front, 0xaa);
    block.extend_from_slice(&content[left_out..]);
    block
}

#[test]
fn the_copy_is_found_at_its_distance_and_released_with_its_bytes() {
    for (front, left_out) in [(277, 0), (16, 900_000), (1_000_001, 0), (277, 2_900_000)] {
        let bench = Bench::new();
        let plan = bench.plan(BYTES);
        let watch = MappingSnapshot::take().expect("maps");
        let block = copy_of(&plan, front, left_out);
        let found = watch.find(&plan).unwrap_or_else(|error| panic!("{front}, {left_out}: {error}"));
        let addresses = found.addresses();
        let own = block.as_ptr() as usize + front..block.as_ptr() as usize + block.len();
        assert!(own.start <= addresses.start && addresses.end <= own.end, "{addresses:x?} in {own:x?}");
        assert!(addresses.len() + 2 * PAGE > own.len(), "only the pages at its ends are left out");
        let remapped = found.release(bench.dir.path(), Access::ReadOnly).expect("released");
        assert_eq!(remapped.resident().expect("smaps").anonymous, 0);
        assert!(block[front..] == fs::read(&plan).expect("read")[left_out..], "the bytes are the plan's");
    }
}

#[test]
fn a_copy_that_took_addresses_of_another_block_is_found_whole() {
    let bench = Bench::new();
    let plan = bench.plan(BYTES);
    // The first part was mapped before, in memory that was freed and allocated again.
    let block = copy_of(&plan, 277, 0);
    let end = block.as_ptr() as usize + block.len();
    let before = PrivateMappings::now().expect("maps");
    let watch = MappingSnapshot(before.without(block.as_ptr() as usize + (5 << 20)..end.next_multiple_of(4096)));
    let found = watch.find(&plan).expect("found");
    assert!(found.addresses().len() + 2 * PAGE > BYTES, "{:x?} of {BYTES} bytes", found.addresses());
}

#[test]
fn memory_that_holds_other_bytes_is_no_copy() {
    let bench = Bench::new();
    let plan = bench.plan(BYTES);
    let watch = MappingSnapshot::take().expect("maps");
    let mut block = copy_of(&plan, 277, 0);
    let at = block.len() / 2;
    block[at..at + BYTES / 8].fill(7);
    let error = watch.find(&plan).expect_err("part of it differs");
    let Error::OtherBytes { matching, samples } = error else { panic!("{error}") };
    assert!(matching > samples / 2 && matching < samples, "{matching} of {samples}");
}

#[test]
fn what_lies_beside_the_copy_is_left_alone() {
    let bench = Bench::new();
    let plan = bench.plan(BYTES);
    let watch = MappingSnapshot::take().expect("maps");
    // The last 2 MB of the plan are not in the copy; another owner's bytes follow it in the same mapping.
    let mut block = copy_of(&plan, 277, 0);
    let end = block.len() - 2_000_000;
    block[end..].fill(0x55);
    let addresses = watch.find(&plan).expect("found").addresses();
    assert!(addresses.end <= block.as_ptr() as usize + end, "{addresses:x?}");
    assert!(addresses.len() + 2 * PAGE > end - 277, "{addresses:x?}");
}

#[test]
fn without_new_memory_of_that_size_nothing_is_found() {
    let bench = Bench::new();
    let plan = bench.plan(BYTES);
    let block = copy_of(&plan, 0, 0);
    let watch = MappingSnapshot::take().expect("maps");
    // It was mapped before, as the copy of another engine would be.
    assert!(matches!(watch.find(&plan), Err(Error::NoRegion { .. })));
    drop(block);
}

#[test]
fn a_small_plan_is_left_alone() {
    let bench = Bench::new();
    let plan = bench.plan(4096);
    let error = MappingSnapshot::take().expect("maps").find(&plan).expect_err("small");
    assert!(matches!(error, Error::Small { bytes: 4096 }), "{error}");
}
