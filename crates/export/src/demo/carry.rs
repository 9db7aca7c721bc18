//! What makes an untrained flow end somewhere: the weights that carry the noisy action through the head and pull it
//! to a target.
//!
//! A trained head predicts the velocity `(target - action) / (1 - t)`. Here the used action columns travel in the
//! first channels of the tokens, which the blocks read faintly and never write; the output subtracts them from what
//! the seeded rest of the network computes from images, text, state and row (the target), and the output modulation,
//! solved for at the exported times, gives the factor `1 / (1 - t)`. Pairs of opposite units pass a value through
//! SiLU and ReLU unchanged: `silu(x) - silu(-x) = x = relu(x) - relu(-x)`.

use super::weights::DemoWeights;
use crate::Error;
use crate::layers::hoist::time_embedding;

/// Weight of the carried action in its channel, against about 1 in the others.
const CARRY: f32 = 0.5;
/// Pull on the carried action. The norm before the output divides it by the spread of a token, about 3, so the whole
/// pull would be about 6; a little less, and some of the noise stays: the seed shows.
const PULL: f32 = 5.5;
/// How much of the carried action the blocks read.
const READ: f32 = 0.1;
/// Spread of the target.
const TARGET: f32 = 0.8;
/// Random features of the noisy action beside the carried columns.
const FEATURES: f32 = 0.1;
/// Exported times are multiples of this.
const EIGHTH: f64 = 0.125;

/// Rewrites the entries of weight `name` that carry or pull; leaves all others.
pub(super) fn arrange(demo: &DemoWeights, name: &str, dims: &[usize], values: &mut [f32]) -> Result<(), Error> {
    let head = &demo.model.head;
    let used = demo.columns;
    let short = name.strip_prefix("action_head.").unwrap_or(name);
    // As stored, `[.., rows, columns]`.
    let columns = dims.last().copied().unwrap_or(1);
    let rows = dims.get(dims.len().saturating_sub(2)).copied().unwrap_or(1);
    let mut rewrite = |entry: &dyn Fn(usize, usize, f32) -> f32| {
        for (index, value) in values.iter_mut().enumerate() {
            *value = entry(index / columns % rows, index % columns, *value);
        }
    };
    let pair = |unit: usize| (unit < 2 * used).then(|| (unit / 2, if unit.is_multiple_of(2) { 1.0 } else { -1.0 }));
    match short {
        "position_embedding.weight" => smooth(values, columns, used, head.horizon),
        "state_encoder.layer2.W" => rewrite(&|_, out, v| if out < used { 0.0 } else { v }),
        "action_encoder.W1.W" => rewrite(&|from, to, v| match to < used {
            true if from == to => 1.0,
            true => 0.0,
            false => v,
        }),
        "action_encoder.W2.W" => rewrite(&|from, unit, v| match pair(unit) {
            Some((column, sign)) if from == column => sign,
            Some(_) => 0.0,
            None => v,
        }),
        "action_encoder.W3.W" => rewrite(&|unit, to, v| match pair(unit) {
            Some((column, sign)) if to == column => sign * CARRY,
            Some(_) => 0.0,
            None if to < used => 0.0,
            None => v * FEATURES,
        }),
        "action_decoder.layer1.W" => rewrite(&|from, unit, v| match pair(unit) {
            Some((column, sign)) if from == column => sign,
            Some(_) => 0.0,
            None if from < used => 0.0,
            None => v,
        }),
        "action_decoder.layer2.W" => rewrite(&|unit, to, v| match pair(unit) {
            Some((column, sign)) if to == column => -sign * PULL,
            Some(_) => 0.0,
            None => v * TARGET,
        }),
        "model.proj_out_1.weight" => {
            let gain = solve_gain(demo)?;
            rewrite(&|row, column, _| if row < head.width { 0.0 } else { gain[column] });
        }
        "model.proj_out_2.weight" => rewrite(&|to, from, v| match to < used {
            true if from == to => 1.0,
            true => 0.0,
            false if from < used => 0.0,
            false => v,
        }),
        _ if short.ends_with("attn1.to_out.0.weight") || short.ends_with("ff.net.2.weight") => {
            rewrite(&|to, _, v| if to < used { 0.0 } else { v });
        }
        _ if reads_tokens(short) => rewrite(&|_, from, v| if from < used { v * READ } else { v }),
        _ => {}
    }
    Ok(())
}

/// Whether a block's weight reads the state and action tokens (keys and values of even blocks read the context).
fn reads_tokens(short: &str) -> bool {
    let Some(rest) = short.strip_prefix("model.transformer_blocks.") else { return false };
    let own = rest.split('.').next().and_then(|index| index.parse::<usize>().ok()).is_some_and(|index| index % 2 == 1);
    rest.ends_with("to_q.weight")
        || rest.ends_with("ff.net.0.proj.weight")
        || (own && (rest.ends_with("to_k.weight") || rest.ends_with("to_v.weight")))
}

/// Position rows as slow waves along the chunk, so that neighbouring rows get neighbouring targets: the first seeded
/// rows are the amplitudes. Nothing in the carrying channels.
fn smooth(values: &mut [f32], width: usize, used: usize, horizon: usize) {
    const WAVES: usize = 4;
    let amplitudes = values[..WAVES * width].to_vec();
    for (row, channels) in values.chunks_exact_mut(width).enumerate() {
        for (channel, value) in channels.iter_mut().enumerate() {
            let wave = |k: usize| {
                let phase = std::f64::consts::PI * k as f64 * (row as f64 + 0.5) / horizon as f64;
                f64::from(amplitudes[k * width + channel]) * phase.cos()
            };
            *value = if channel < used { 0.0 } else { (0..WAVES).map(wave).sum::<f64>() as f32 };
        }
    }
}

/// `w` with `w silu(temb(t)) = 1 / (1 - t) - 1` at `t` = 0, 1/8, .. 7/8: the smallest such vector.
fn solve_gain(demo: &DemoWeights) -> Result<Vec<f32>, Error> {
    let head = &demo.model.head;
    let times: Vec<f64> = (0..8).map(|i| f64::from(i) * EIGHTH).collect();
    let mut embedded = Vec::with_capacity(times.len());
    for time in &times {
        let temb = time_embedding(demo, head, (time * head.timestep_buckets as f64).trunc())?;
        embedded.push(temb.iter().map(|x| x / (1.0 + (-x).exp())).collect::<Vec<f64>>());
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram = embedded.iter().map(|a| embedded.iter().map(|b| dot(a, b)).collect()).collect();
    let factors = solve(gram, times.iter().map(|t| 1.0 / (1.0 - t) - 1.0).collect());
    let weight = |channel: usize| embedded.iter().zip(&factors).map(|(e, f)| e[channel] * f).sum::<f64>();
    Ok((0..head.width).map(|channel| weight(channel) as f32).collect())
}

/// Gaussian elimination with pivoting, for a small regular system.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|x, y| a[*x][i].abs().total_cmp(&a[*y][i].abs())).unwrap_or(i);
        a.swap(i, pivot);
        b.swap(i, pivot);
        let pivot_row = a[i].clone();
        for j in i + 1..n {
            let factor = a[j][i] / pivot_row[i];
            a[j].iter_mut().zip(&pivot_row).for_each(|(x, p)| *x -= factor * p);
            b[j] -= factor * b[i];
        }
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elimination_solves_a_system_that_needs_pivoting() {
        let x = solve(vec![vec![0.0, 2.0, 1.0], vec![1.0, 1.0, 0.0], vec![3.0, 0.0, 1.0]], vec![7.0, 3.0, 6.0]);
        for (found, expected) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - expected).abs() < 1e-12, "{x:?}");
        }
    }
}
