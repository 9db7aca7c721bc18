//! Lists with damaged numbers: they are refused, or have a plan whose launches stay within their memory; nothing panics.

use serde_json::Value;
use vla_base::tensor::DType;
use vla_cuda::plan::{Plan, WeightLayout};
use vla_cuda::tactics::Split;
use vla_engines::operations::Program;
use vla_engines::{Precision, Symbols};

use super::random::program;
use super::run::Random;

/// All numbers of a list.
fn numbers<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
    match value {
        Value::Number(_) => found.push(value),
        Value::Array(items) => items.iter_mut().for_each(|item| numbers(item, found)),
        Value::Object(fields) => fields.iter_mut().for_each(|(_, field)| numbers(field, found)),
        _ => {}
    }
}

#[test]
fn lists_with_damaged_numbers_are_refused_or_have_a_plan() {
    let mut random = Random(3);
    let mut planned = 0;
    for seed in 0..3000 {
        let list = program(seed % 40, DType::F16, 4 + seed as usize % 9).program;
        let mut list = serde_json::to_value(&list).unwrap();
        let mut found = Vec::new();
        numbers(&mut list, &mut found);
        let at = random.below(found.len());
        let other = [0, 1, 2, 3, 5, 8, 16, 24, 32, 1 << 20, 1 << 40, u64::MAX][random.below(12)];
        *found[at] = Value::from(other);
        let Ok(program) = serde_json::from_value::<Program>(list) else { continue };
        if program.check().is_err() {
            continue;
        }
        let symbols = Symbols::from([("T".to_owned(), 1 + random.below(12))]);
        let split = Split::parts(1 + random.below(9) as u32, random.below(2) == 0);
        let eight_bits = program.eight_bit_weights(Precision::INT8_FP16);
        let layout = WeightLayout::with_eight_bits(&program, &eight_bits);
        planned += usize::from(Plan::new(&program, &layout, &symbols, &split).is_ok());
    }
    assert!(planned > 100, "{planned} of the lists still have a plan");
}
