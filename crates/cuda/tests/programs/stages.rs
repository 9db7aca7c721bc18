//! Every stage of both families by itself.

use vla_cuda::tactics::Split;

use super::demo::{policies, sizes};
use super::run::Random;

const SPLITS: [Split; 3] = [Split::WHOLE, Split { parts: 4, single: false }, Split { parts: 3, single: true }];

/// Lengths of text and sequence: few and many, none a multiple of a tile.
const LENGTHS: [(usize, usize); 2] = [(17, 79), (43, 107)];

#[test]
fn stages_compute_what_their_lists_say() {
    let mut random = Random(1);
    for policy in policies() {
        for (stage, network) in policy.stages() {
            for ((text, rows), split) in LENGTHS.into_iter().zip(SPLITS) {
                let symbols = sizes(text, rows);
                let inputs = network.inputs(&symbols, &mut random);
                network.check(&symbols, &inputs, split, &format!("{} {stage}, {text} of {rows} rows", policy.name));
            }
        }
    }
}
