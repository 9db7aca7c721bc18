//! Constant folding over the denoising steps: AdaLN modulation and the time half of the action encoder depend on the step
//! count alone and are computed at export.
//!
//! Formulas: the DiT's sinusoid is `[cos, sin]` with divisor `half - 1`, the action encoder's is `[sin, cos]` with
//! divisor `half`; blocks store scale before shift, the output shift before scale.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::Error;
use crate::model::Head;
use crate::weights::{Weight, Weights};

/// Channels of the DiT's timestep sinusoid.
pub(crate) const TIME_CHANNELS: usize = 256;
const DIT: &str = "action_head.model";
const ENCODER: &str = "action_head.action_encoder";

/// Rows of the `modulation` constant: two a block, two for the output, one for the action encoder.
#[derive(Clone, Copy, Debug)]
pub struct ModulationRows {
    blocks: usize,
}

impl ModulationRows {
    /// For a head's number of blocks.
    pub fn of(head: &Head) -> Self {
        Self { blocks: head.blocks }
    }

    /// Row of a block's `1 + scale`; its shift follows.
    pub fn block(&self, index: usize) -> usize {
        2 * index
    }

    /// Row of the output's `1 + scale`; its shift follows.
    pub fn output(&self) -> usize {
        2 * self.blocks
    }

    /// Row of the action encoder's `m_i`.
    pub fn action(&self) -> usize {
        2 * self.blocks + 2
    }

    /// Number of rows.
    pub fn total(&self) -> usize {
        2 * self.blocks + 3
    }
}

/// Time bucket of step `index` of `steps`, truncated in double precision as the vendor's code does.
pub(crate) fn bucket(index: u32, steps: u32, buckets: usize) -> u64 {
    (f64::from(index) / f64::from(steps) * buckets as f64) as u64
}

/// `modulation` for each of the step counts: `[steps, rows, width]`.
pub fn modulation(
    weights: &dyn Weights,
    head: &Head,
    embodiment: usize,
    steps: &[u32],
) -> Result<Vec<(u32, Vec<f32>)>, Error> {
    let fold = ActionFold::compute(weights, head, embodiment)?;
    // Step counts share buckets (1, 2, 4 and 8 have eight together), and each reads all AdaLN weights.
    let mut at: BTreeMap<u64, Vec<f32>> = BTreeMap::new();
    let mut tables = Vec::new();
    for count in steps {
        let mut table = Vec::with_capacity(*count as usize * ModulationRows::of(head).total() * head.width);
        for index in 0..*count {
            let time = bucket(index, *count, head.timestep_buckets);
            let rows = match at.entry(time) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(modulation_at(weights, head, &fold, time as f64)?),
            };
            table.extend_from_slice(rows);
        }
        tables.push((*count, table));
    }
    Ok(tables)
}

/// All rows at one time bucket, `[rows, width]`.
fn modulation_at(weights: &dyn Weights, head: &Head, fold: &ActionFold, time: f64) -> Result<Vec<f32>, Error> {
    let mut values = Vec::with_capacity(ModulationRows::of(head).total() * head.width);
    let embedded = silu(time_embedding(weights, head, time)?);
    for block in 0..head.blocks {
        let name = format!("{DIT}.transformer_blocks.{block}.norm1.linear");
        let scale_shift = linear(weights, &name, &embedded, 2 * head.width)?;
        let (scale, shift) = scale_shift.split_at(head.width);
        values.extend(scale.iter().map(|s| (1.0 + s) as f32).chain(shift.iter().map(|s| *s as f32)));
    }
    let shift_scale = linear(weights, &format!("{DIT}.proj_out_1"), &embedded, 2 * head.width)?;
    let (shift, scale) = shift_scale.split_at(head.width);
    values.extend(scale.iter().map(|s| (1.0 + s) as f32).chain(shift.iter().map(|s| *s as f32)));
    values.extend(fold.shift(time));
    Ok(values)
}

/// `temb` `[width]` at a time bucket.
pub(crate) fn time_embedding(weights: &dyn Weights, head: &Head, time: f64) -> Result<Vec<f64>, Error> {
    const NAME: &str = "action_head.model.timestep_encoder.timestep_embedder";
    let inner = silu(linear(weights, &format!("{NAME}.linear_1"), &dit_time(time), head.width)?);
    linear(weights, &format!("{NAME}.linear_2"), &inner, head.width)
}

/// The DiT's sinusoid `[TIME_CHANNELS]` at a time bucket.
fn dit_time(time: f64) -> Vec<f64> {
    let half = TIME_CHANNELS / 2;
    let angle = |i: usize| time * (-(10_000_f64.ln()) * i as f64 / (half - 1) as f64).exp();
    (0..half).map(|i| angle(i).cos()).chain((0..half).map(|i| angle(i).sin())).collect()
}

/// The DiT's sinusoids `[buckets, TIME_CHANNELS]` at every time bucket.
pub(crate) fn dit_times(buckets: usize) -> Vec<f32> {
    (0..buckets).flat_map(|bucket| dit_time(bucket as f64)).map(|value| value as f32).collect()
}

/// The action encoder's sinusoids `[buckets, width]` at every time bucket.
pub fn action_times(width: usize, buckets: usize) -> Vec<f32> {
    (0..buckets).flat_map(|bucket| action_time(width, bucket as f64)).map(|value| value as f32).collect()
}

/// The action encoder's sinusoid `[width]` at a time bucket.
fn action_time(width: usize, time: f64) -> Vec<f64> {
    let half = width / 2;
    let angle = |i: usize| time * (-(i as f64) * 10_000_f64.ln() / half as f64).exp();
    (0..half).map(|i| angle(i).sin()).chain((0..half).map(|i| angle(i).cos())).collect()
}

/// The action encoder with its first two linear layers multiplied out.
pub struct ActionFold {
    /// `M = W1 W2[:width]`, `[dims, width]`.
    pub matrix: Vec<f32>,
    /// `b3` plus the position rows, `[horizon, width]`.
    pub bias: Vec<f32>,
    /// `b1 W2[:width] + b2`, `[width]`: the part of `m_i` that does not depend on time.
    constant: Vec<f64>,
    /// `W2[width:]`, `[width, width]`: what the time sinusoid is multiplied with.
    pub late: Vec<f32>,
}

impl ActionFold {
    /// Multiplies out one embodiment's action encoder.
    pub fn compute(weights: &dyn Weights, head: &Head, embodiment: usize) -> Result<Self, Error> {
        let Head { width, action_dims, horizon, .. } = *head;
        let first = share(weights, "W1.W", embodiment, &[action_dims, width])?;
        let first_bias = share(weights, "W1.b", embodiment, &[width])?;
        let mut upper = share(weights, "W2.W", embodiment, &[2 * width, width])?;
        let late = upper.split_off(width * width);
        let second_bias = share(weights, "W2.b", embodiment, &[width])?;
        let mut matrix = Vec::with_capacity(action_dims * width);
        for row in first.chunks_exact(width) {
            matrix.extend(times(row, &upper, width).iter().map(|v| *v as f32));
        }
        let mut constant = times(&first_bias, &upper, width);
        constant.iter_mut().zip(&second_bias).for_each(|(c, b)| *c += f64::from(*b));

        let third_bias = share(weights, "W3.b", embodiment, &[width])?;
        let mut bias: Vec<f32> = third_bias.iter().copied().cycle().take(horizon * width).collect();
        if let Some(rows) = head.positions {
            let table = weights.get("action_head.position_embedding.weight")?.shaped(&[rows, width])?;
            let used = table.rows(0, horizon)?.to_f32();
            bias.iter_mut().zip(used).for_each(|(b, p)| *b += p);
        }
        Ok(Self { matrix, bias, constant, late })
    }

    /// `b1 W2[:width] + b2`, `[width]`: the part of `m_i` that does not depend on time.
    pub fn constant(&self) -> Vec<f32> {
        self.constant.iter().map(|value| *value as f32).collect()
    }

    /// `m_i` `[width]` at a time bucket.
    fn shift(&self, time: f64) -> Vec<f32> {
        let width = self.constant.len();
        let time: Vec<f32> = action_time(width, time).iter().map(|v| *v as f32).collect();
        let late = times(&time, &self.late, width);
        self.constant.iter().zip(late).map(|(c, l)| (c + l) as f32).collect()
    }
}

/// One embodiment's share of an action-encoder weight.
fn share(weights: &dyn Weights, part: &str, embodiment: usize, dims: &[usize]) -> Result<Vec<f32>, Error> {
    Ok(weights.get(&format!("{ENCODER}.{part}"))?.entry(embodiment)?.shaped(dims)?.to_f32())
}

/// `x W` in double precision, `W` `[x.len(), width]`.
fn times(x: &[f32], w: &[f32], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for (x, row) in x.iter().zip(w.chunks_exact(width)) {
        sum.iter_mut().zip(row).for_each(|(s, w)| *s += f64::from(*x) * f64::from(*w));
    }
    sum
}

/// `nn.Linear` in double precision: `W x + b` with `W` `[to, x.len()]`.
fn linear(weights: &dyn Weights, name: &str, x: &[f64], to: usize) -> Result<Vec<f64>, Error> {
    let weight: Weight<'_> = weights.get(&format!("{name}.weight"))?.shaped(&[to, x.len()])?;
    let bias = weights.get(&format!("{name}.bias"))?.shaped(&[to])?.to_f32();
    let weight = weight.to_f32();
    let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
    Ok(weight.chunks_exact(x.len()).zip(bias).map(|(row, b)| dot(row) + f64::from(b)).collect())
}

fn silu(mut x: Vec<f64>) -> Vec<f64> {
    x.iter_mut().for_each(|v| *v /= 1.0 + (-*v).exp());
    x
}
