//! Initial noise of the denoising loop: a function of the seed and the observation's identity alone, so that a
//! replay of the same observation starts from the same noise.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

use vla_base::time::Stamp;

/// Fills `values` with independent draws from the standard normal distribution.
///
/// `identity`: what the inference is for, such as the names and stamps of an observation's inputs.
pub fn fill<'n>(values: &mut [f32], seed: u64, identity: impl Iterator<Item = (&'n str, Stamp)>) {
    let mut key = Sha256::new();
    key.update(seed.to_le_bytes());
    for (name, stamp) in identity {
        key.update((name.len() as u64).to_le_bytes());
        key.update(name.as_bytes());
        key.update(stamp.nanos().to_le_bytes());
    }
    let mut generator = ChaCha8Rng::from_seed(key.finalize().into());
    for value in values {
        *value = StandardNormal.sample(&mut generator);
    }
}

/// Fills `values` with noise of a seed alone, for an inference on arrays, which have no stamps.
pub fn initial_noise(seed: u64, values: &mut [f32]) {
    fill(values, seed, std::iter::empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, name: &str, nanos: i64) -> Vec<f32> {
        let mut values = vec![0.0; 6400];
        fill(&mut values, seed, [(name, Stamp::from_nanos(nanos))].into_iter());
        values
    }

    #[test]
    fn noise_is_a_function_of_seed_and_identity_and_each_of_them_matters() {
        let base = draw(7, "top", 1_000);
        assert_eq!(base, draw(7, "top", 1_000));
        assert_ne!(base, draw(8, "top", 1_000));
        assert_ne!(base, draw(7, "left", 1_000));
        assert_ne!(base, draw(7, "top", 1_001));
    }

    #[test]
    fn noise_has_mean_zero_and_unit_variance() {
        let values = draw(3, "top", 5);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}
