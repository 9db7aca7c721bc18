//! Whether memory is shared by what is never needed together, byte by byte, in the demo policies' networks.

use std::collections::BTreeSet;
use std::path::Path;

use vla_engines::Precision;
use vla_export::demo::weights::DemoWeights;
use vla_export::family::FAMILIES;
use vla_export::{Options, RopeFrequencies, VisionAttention, demo, split};

use super::*;

/// All networks of a family in half precision.
fn programs(family: &'static vla_export::Family) -> Vec<(String, Program)> {
    let model = demo::model_of(family, 500);
    let options = Options {
        dtype: DType::F16,
        dtype_of: BTreeMap::new(),
        rope: RopeFrequencies::Bf16,
        attention: VisionAttention::PerImage,
        steps: vec![1],
        embodiment: demo::EMBODIMENT.1,
        text: [1, 32, 64],
        blocks_per_engine: None,
        stacked_projections: false,
        debug_outputs: false,
    };
    let side = 2 * model.vision.patch;
    let views = [vla_export::View { camera: "top".to_owned(), width: 3 * side, height: 2 * side, images: 1 }];
    let dir = tempfile::tempdir().expect("scratch");
    let stages =
        split::write(&DemoWeights::new(7, model.clone()), &model, &options, &views, dir.path()).expect("exports");
    let read = |name: String| {
        let path = Path::new(dir.path()).join(format!("{name}.onnx"));
        (format!("{} {name}", family.name), Program::read_beside(&path).expect("a list"))
    };
    stages.into_iter().map(|stage| read(stage.name)).collect()
}

/// Which launch wrote each byte last: where every storage has its own memory, and where they share the arena.
struct Writers {
    own: Vec<Vec<Option<usize>>>,
    shared: Vec<Option<usize>>,
}

impl Writers {
    fn new(plan: &Plan) -> Self {
        let own = plan.storages.iter().map(|storage| vec![None; storage.bytes as usize]).collect();
        Self { own, shared: vec![None; plan.arena as usize] }
    }

    /// Runs one launch: what it reads in the arena must be what was written there for it, and it writes over nothing that it reads.
    fn launch(&mut self, plan: &Plan, at: usize, what: &str) {
        let mut read = vec![false; self.shared.len()];
        for region in regions(&plan.launches[at]) {
            let Some(View { storage, offset }) = View::of(region.address) else { continue };
            let Home::Arena(base) = plan.storages[storage].home else { continue };
            let (first, span) = (offset as usize, region.span as usize);
            let place = base as usize + first..base as usize + first + span;
            let own = &mut self.own[storage][first..first + span];
            let shared = &mut self.shared[place.clone()];
            if region.written {
                assert!(!read[place].contains(&true), "{what}: launch {at} writes over what it reads");
                own.fill(Some(at));
                shared.fill(Some(at));
            } else {
                assert!(own == shared, "{what}: launch {at} reads what another value has overwritten");
                assert!(own.iter().all(Option::is_some), "{what}: launch {at} reads what nothing wrote");
                read[place].fill(true);
            }
        }
    }
}

/// Addresses in a launch.
fn addresses(plan: &Plan, at: usize) -> BTreeSet<Address> {
    let mut addresses = BTreeSet::new();
    for_each_address(&mut plan.launches[at].clone(), &mut |address| {
        addresses.extend((*address != 0).then_some(*address))
    });
    addresses
}

/// Where the memory begins that a launch touches.
fn touched(plan: &Plan, at: usize) -> BTreeSet<Address> {
    regions(&plan.launches[at]).into_iter().map(|region| region.address).collect()
}

/// Most bytes that are live at a launch: no arena is smaller.
fn most_live(plan: &Plan) -> u64 {
    let mut lives: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (at, launch) in plan.launches.iter().enumerate() {
        for View { storage, .. } in regions(launch).iter().filter_map(|region| View::of(region.address)) {
            if matches!(plan.storages[storage].home, Home::Arena(_)) {
                lives.entry(storage).or_insert((at, at)).1 = at;
            }
        }
    }
    let bytes = |storage: usize| plan.storages[storage].bytes.next_multiple_of(256);
    let live =
        |at| lives.iter().filter(|(_, life)| life.0 <= at && at <= life.1).map(|(storage, _)| bytes(*storage)).sum();
    (0..plan.count()).map(live).max().unwrap_or(0)
}

#[test]
fn no_launch_reads_memory_that_another_value_has_taken() {
    for (name, program) in FAMILIES.into_iter().flat_map(programs) {
        for (text, split) in [(5, Split::WHOLE), (23, FOUR)] {
            let symbols = Symbols::from([("T".to_owned(), text), ("S".to_owned(), text + 6)]);
            let eight_bits = program.eight_bit_weights(Precision::INT8_FP16);
            for chosen in [BTreeSet::new(), eight_bits] {
                let layout = WeightLayout::with_eight_bits(&program, &chosen);
                let plan = Plan::new(&program, &layout, &symbols, &split).expect("a plan");
                let mut writers = Writers::new(&plan);
                for at in 0..plan.count() {
                    writers.launch(&plan, at, &name);
                    assert_eq!(addresses(&plan, at), touched(&plan, at), "{name}: launch {at}");
                }
                let (arena, least) = (plan.arena_bytes(), most_live(&plan));
                assert!(arena <= least + least / 4, "{name}: {arena} bytes where {least} are live at most");
            }
        }
    }
}
