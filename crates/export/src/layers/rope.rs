//! Rotary position embedding.

use half::bf16;

use super::Net;
use super::attention::Heads;
use crate::Error;
use crate::model::{Language, RopeFrequencies};
use crate::onnx::Value;
use crate::onnx::pieces::Meaning;
use crate::weights::Weight;
use vla_base::tensor::Dim;

/// Cosines and sines for the rows of a sequence, `[S, head_dim]` each, both halves alike.
#[derive(Clone)]
pub struct Rotation {
    pub(crate) cos: Value,
    pub(crate) sin: Value,
}

/// Rotary frequencies `theta^(-2i / head_dim)`, in single precision as transformers computes them.
pub(crate) fn frequencies(language: &Language, rounding: RopeFrequencies) -> Vec<f32> {
    let dim = language.head_dim;
    (0..dim / 2)
        .map(|i| {
            let exponent = (2 * i) as f32 / dim as f32;
            let power = language.rope_theta.powf(f64::from(exponent)) as f32;
            let exact = 1.0 / power;
            match rounding {
                RopeFrequencies::Exact => exact,
                RopeFrequencies::Bf16 => bf16::from_f32(exact).to_f32(),
            }
        })
        .collect()
}

/// Axis (time, height, width) by which pair `index` of a head turns: height takes every third pair from the second on, width from the
/// third on, each as many as its section has; time takes all others.
fn axis(index: usize, section: Option<[usize; 3]>) -> usize {
    match (section, index % 3) {
        (Some([_, height, _]), 1) if index < 3 * height => 1,
        (Some([_, _, width]), 2) if index < 3 * width => 2,
        _ => 0,
    }
}

impl Net<'_> {
    /// The rotation of rows `count` (INT32 `[S]`) from a table of the `positions` (time, height, width) of all rows that there can be:
    /// tables, not sines in the graph, because an angle of hundreds of radians does not survive half precision.
    pub fn rotation(
        &mut self,
        language: &Language,
        count: &Value,
        positions: &[[usize; 3]],
    ) -> Result<Rotation, Error> {
        let frequencies = frequencies(language, self.options.rope);
        let axes: Vec<usize> = (0..frequencies.len()).map(|index| axis(index, language.rope_section)).collect();
        let mut table = |name: &str, function: fn(f64) -> f64| {
            let mut table = Vec::with_capacity(positions.len() * language.head_dim);
            for position in positions {
                let angles = frequencies.iter().zip(&axes).map(|(f, axis)| position[*axis] as f32 * f);
                let half = angles.map(|angle| function(f64::from(angle)) as f32);
                table.extend(half.clone().chain(half));
            }
            let table = self.place(&Weight::computed(name, &[positions.len(), language.head_dim], &table))?;
            self.graph.gather(&table, count)
        };
        Ok(Rotation { cos: table("rope_cos", f64::cos)?, sin: table("rope_sin", f64::sin)? })
    }

    /// `x` `[groups, heads, rows, head_dim]` turned: `x cos + rotate_half(x) sin`.
    pub fn rotate(&mut self, x: &Value, rotation: &Rotation) -> Result<Value, Error> {
        let start = self.graph.start();
        let half = match x.dim(3) {
            Some(Dim::Fixed(n)) => n / 2,
            _ => 0,
        };
        let halves = self.graph.split(x, 3, &[half, half])?;
        let negated = self.graph.neg(&halves[1]);
        let turned = self.graph.concat(&[&negated, &halves[0]], 3)?;
        let a = self.graph.mul(x, &rotation.cos)?;
        let b = self.graph.mul(&turned, &rotation.sin)?;
        let result = self.graph.add(&a, &b)?;
        let Rotation { cos, sin } = rotation.clone();
        Ok(self.graph.piece(start, Meaning::Rotary { x: x.clone(), norm: None, cos, sin }, result))
    }

    /// `x` `[rows, heads * dim]` with each head normed, by the RMSNorm `name`, and turned: `[groups, heads, rows, dim]`.
    pub(crate) fn norm_and_rotate(
        &mut self,
        x: &Value,
        heads: Heads,
        (name, eps): (&str, f32),
        rotation: &Rotation,
    ) -> Result<Value, Error> {
        let start = self.graph.start();
        let by_head = self.by_head(x, heads)?;
        let normed = self.rms_norm(&by_head, name, heads.dim, eps)?;
        let heads_first = self.graph.transpose(&normed, &[0, 2, 1, 3])?;
        let result = self.rotate(&heads_first, rotation)?;
        let weight = self.weight(&format!("{name}.weight"), &[heads.dim])?;
        let Rotation { cos, sin } = rotation.clone();
        let rotary = Meaning::Rotary { x: x.clone(), norm: Some((weight, eps)), cos, sin };
        Ok(self.graph.piece(start, rotary, result))
    }
}
