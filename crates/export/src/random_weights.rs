//! Random weights from a seed: the same on every machine, each tensor independent of the others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// Distribution of an untrained weight.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fill {
    /// Gains of norms.
    Ones,
    /// Biases.
    Zeros,
    /// Independent values of this standard deviation.
    Random(f64),
}

/// The usual start of training: norms 1, biases 0, matrices `gain / sqrt(inputs)`, tables `gain`.
pub(crate) fn fill(name: &str, dims: &[usize], gain: f64) -> Fill {
    match dims {
        _ if name.ends_with(".b") || name.ends_with(".bias") => Fill::Zeros,
        [_] => Fill::Ones,
        _ if ["embed_tokens.weight", "position_embedding.weight", "pos_embed.weight"]
            .iter()
            .any(|end| name.ends_with(end)) =>
        {
            Fill::Random(gain)
        }
        // A convolution: everything that one output is made of.
        [_, inputs @ ..] if inputs.len() > 2 => Fill::Random(gain / (inputs.iter().product::<usize>() as f64).sqrt()),
        // Both `[to, from]` and `[embodiment, from, to]` have the inputs in the middle or last of two.
        [_, inputs, ..] => Fill::Random(gain / (*inputs as f64).sqrt()),
        [] => Fill::Zeros,
    }
}

/// `count` values for the weight `name`. Uniform numbers: nothing but multiplications, so no machine's mathematics
/// library shows in the bytes.
pub(crate) fn values(seed: u64, name: &str, count: usize, fill: Fill) -> Vec<f32> {
    let mut numbers = Numbers::new(seed, name, fill);
    (0..count).map(|_| numbers.next()).collect()
}

/// The values of [`values`], one at a time: for weights that should not lie in memory.
pub(crate) struct Numbers {
    generator: ChaCha8Rng,
    fill: Fill,
}

impl Numbers {
    /// Those of the weight `name`.
    pub(crate) fn new(seed: u64, name: &str, fill: Fill) -> Self {
        let mut key = Sha256::new();
        key.update(seed.to_le_bytes());
        key.update(name.as_bytes());
        Self { generator: ChaCha8Rng::from_seed(key.finalize().into()), fill }
    }

    /// The next value.
    pub(crate) fn next(&mut self) -> f32 {
        match self.fill {
            Fill::Ones => 1.0,
            Fill::Zeros => 0.0,
            Fill::Random(deviation) => {
                // A uniform variable on -1/2 .. 1/2 has the standard deviation 1 / sqrt(12).
                let uniform = (f64::from(self.generator.next_u32()) + 0.5) / 4_294_967_296.0 - 0.5;
                (uniform * (deviation * 12.0_f64.sqrt())) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_deviation_asked_for_and_depend_on_seed_and_name() {
        let base = values(7, "a.weight", 10_000, Fill::Random(0.5));
        let variance = base.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 10_000.0;
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{variance}");
        assert_eq!(base, values(7, "a.weight", 10_000, Fill::Random(0.5)));
        assert_ne!(base, values(8, "a.weight", 10_000, Fill::Random(0.5)));
        assert_ne!(base, values(7, "b.weight", 10_000, Fill::Random(0.5)));
    }

    #[test]
    fn the_stream_is_the_same_everywhere() {
        let first = values(7, "a.weight", 3, Fill::Random(1.0));
        assert_eq!(first, PINNED);
    }

    const PINNED: [f32; 3] = [1.4232607, 0.37974072, 1.4534497];
}
