//! Every stage of both families by itself.

use vla_base::tensor::DType;
use vla_cuda::tactics::Split;
use vla_export::Family;
use vla_export::family::{N1D6, N1D7};

use super::demo::{Policy, sizes};
use super::run::Random;

/// Rows of text, and of the sequence: none a multiple of a tile.
const FEW: (usize, usize) = (17, 79);
const MANY: (usize, usize) = (43, 107);

/// All stages, with short and long texts and other parts of products; images have one size.
fn check(family: &'static Family, dtype: DType, few: Split, many: Split) {
    let (policy, mut random) = (Policy::new(family, dtype), Random(1));
    for (stage, network) in &policy.stages {
        let cases = [(FEW, few), (MANY, many)];
        for ((text, rows), split) in cases.into_iter().skip(usize::from(*stage == "vision")) {
            let symbols = sizes(text, rows);
            let inputs = network.inputs(&symbols, &mut random);
            network.check(&symbols, &inputs, split, &format!("{} {stage}, {text} of {rows} rows", policy.name));
        }
    }
}

fn parts(parts: u32, single: bool) -> Split {
    Split::parts(parts, single)
}

#[test]
fn stages_of_n1d6_in_single_precision() {
    check(&N1D6, DType::F32, Split::WHOLE, parts(4, false));
}

#[test]
fn stages_of_n1d6_in_half_precision() {
    check(&N1D6, DType::F16, parts(4, true), parts(4, false));
}

#[test]
fn stages_of_n1d7_in_single_precision() {
    check(&N1D7, DType::F32, parts(4, false), Split::WHOLE);
}

#[test]
fn stages_of_n1d7_in_half_precision() {
    check(&N1D7, DType::F16, parts(4, false), parts(3, true));
}

#[test]
fn stages_of_n1d6_in_bfloat16() {
    check(&N1D6, DType::BF16, parts(4, true), parts(2, false));
}
