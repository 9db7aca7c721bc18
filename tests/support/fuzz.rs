//! Fuzz targets that are ordinary tests.
//!
//! `check!(iterations, seeds)` stands for `bolero::check!()`. Under `cargo bolero test` it is that, with libFuzzer.
//! Under `cargo test` it gives the target `seeds`, then mutations of them and random bytes, the same ones each time:
//! bolero's own engine draws its seeds from the operating system, so what fails today would pass tomorrow.
#![cfg_attr(fuzzing, allow(dead_code))]

use bolero::bolero_engine::{driver, input::Bytes};
use bolero::{BorrowedInput, ByteSliceGenerator, Engine, Test, TestTarget};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Longest random input, and longest insertion into a seed, in bytes.
const LONGEST: usize = 512;

/// See the module.
#[macro_export]
macro_rules! check {
    ($iterations:expr, $seeds:expr) => {{
        // Tells `cargo bolero` where the target is, and ends the test when it asks for no more.
        let target = bolero::check!();
        $crate::fuzz::bounded(target, $iterations, $seeds)
    }};
}
pub use crate::check;

#[cfg(fuzzing)]
pub type Target = TestTarget<ByteSliceGenerator, bolero::DefaultEngine, BorrowedInput>;
#[cfg(not(fuzzing))]
pub type Target = TestTarget<ByteSliceGenerator, Bounded, BorrowedInput>;

#[cfg(fuzzing)]
pub fn bounded(target: Target, _iterations: usize, _seeds: Vec<Vec<u8>>) -> Target {
    target
}

#[cfg(not(fuzzing))]
pub fn bounded(
    _unbounded: TestTarget<ByteSliceGenerator, bolero::DefaultEngine, BorrowedInput>,
    iterations: usize,
    seeds: Vec<Vec<u8>>,
) -> Target {
    TestTarget::new(Bounded { iterations, seeds })
}

pub struct Bounded {
    iterations: usize,
    seeds: Vec<Vec<u8>>,
}

impl<T: Test> Engine<T> for Bounded {
    type Output = ();

    fn run(self, mut test: T, options: driver::Options) {
        let seed = seed();
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        for iteration in 0..self.iterations {
            let bytes = match self.seeds.get(iteration) {
                Some(seed) => seed.clone(),
                None => random.input(&self.seeds),
            };
            if let Err(error) = test.test(&mut Bytes::new(&bytes, &options)) {
                panic!(
                    "seed {seed} (PROPTEST_RNG_SEED), input {iteration}, {} bytes {bytes:02x?}: {error}",
                    bytes.len()
                );
            }
        }
    }
}

/// That of the property tests: `.cargo/config.toml` fixes it, `./test.sh --explore` draws another.
fn seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

struct Random(ChaCha8Rng);

impl Random {
    /// Below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0.next_u64() as usize % bound.max(1)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.below(LONGEST)];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if seeds.is_empty() || self.below(16) == 0 {
            return self.bytes();
        }
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(3) {
            self.mutate(&mut bytes, seeds);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, self.bytes())),
            2 => drop(bytes.drain(at..(at + self.below(9)).min(bytes.len()))),
            3 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                bytes.splice(at..bytes.len(), other[from..].iter().copied());
            }
            // Lengths and counts: small, huge, off by one.
            4 | 5 => {
                let value = [0, 1, 2, 8, 255, 0x7fff_ffff, 0xffff_ffff, bytes.len() as u32][self.below(8)];
                let place = bytes.iter_mut().skip(at & !3);
                place.zip(value.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            6 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.0.next_u32() as u8),
        }
    }
}
