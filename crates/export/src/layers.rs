//! The pieces of GR00T as functions on a graph, by size and by source of weights.
//!
//! Architecture and formulas: NVIDIA Isaac-GR00T at commits 4e62473 (N1.6) and 376ba89 (N1.7), as run. Activations are `[rows, channels]`
//! throughout, attention is `[images, heads, rows, channels]`.

pub(crate) mod actions;
pub(crate) mod attention;
pub(crate) mod context;
pub mod dit;
pub(crate) mod fusion;
pub mod language;
pub(crate) mod rope;
pub(crate) mod step;
pub mod step_constants;
pub mod vision;

use std::collections::BTreeMap;

use super::onnx::pieces::Meaning;
use super::onnx::{Graph, Value};
use super::weights::{Weight, Weights};
use super::{Error, Options};
use vla_base::tensor::{DType, Dim};
use vla_engines::operations::NormKind;

/// A graph, the weights that go into it and the switches of the export.
pub struct Net<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The weights.
    pub weights: &'a dyn Weights,
    /// The switches.
    pub options: &'a Options,
    /// Element types of the tensors between stages that are not in single precision, by name.
    pub edges: &'a BTreeMap<String, DType>,
}

/// `[n, m, ..]` of fixed sizes.
pub fn fixed<const N: usize>(sizes: [usize; N]) -> [Dim; N] {
    sizes.map(Dim::Fixed)
}

impl Net<'_> {
    /// Runs `build` inside a named part of the network.
    pub fn part<T>(
        &mut self,
        scope: impl Into<String>,
        build: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.graph.enter(scope);
        let result = build(self);
        self.graph.leave();
        result
    }

    /// Element type of weights and activations.
    pub fn dtype(&self) -> DType {
        self.options.dtype
    }

    /// Element type of a floating-point tensor between stages.
    pub fn edge(&self, name: &str) -> DType {
        self.edges.get(name).copied().unwrap_or(DType::F32)
    }

    /// Makes an inner tensor an output `name`, in single precision, when the export was asked to.
    pub fn tap(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        if !self.options.debug_outputs {
            return Ok(());
        }
        let value = self.graph.cast(value, DType::F32);
        self.graph.output(name, &value)
    }

    /// An input in its edge's element type, single precision as a rule, cast to the export's.
    pub fn float_input(&mut self, name: &str, dims: &[Dim]) -> Result<Value, Error> {
        let value = self.graph.input(name, self.edge(name), dims)?;
        Ok(self.graph.cast(&value, self.options.dtype))
    }

    /// `value` `[1, rows, ..]` without its first axis.
    pub fn unbatched(&mut self, value: &Value) -> Result<Value, Error> {
        self.graph.reshape(value, value.dims().get(1..).unwrap_or_default())
    }

    /// `value` with a first axis of 1.
    pub fn batched(&mut self, value: &Value) -> Result<Value, Error> {
        let dims = [&[Dim::Fixed(1)], value.dims()].concat();
        self.graph.reshape(value, &dims)
    }

    /// A weight of the checkpoint as an initializer of the same name.
    pub fn weight(&mut self, name: &str, dims: &[usize]) -> Result<Value, Error> {
        let weight = self.weights.get(name)?.shaped(dims)?;
        self.place(&weight)
    }

    /// One embodiment's share of a per-embodiment weight.
    pub(crate) fn embodiment_weight(&mut self, name: &str, dims: &[usize]) -> Result<Value, Error> {
        let weight = self.weights.get(name)?;
        let share = weight.entry(self.options.embodiment)?.shaped(dims)?;
        self.place(&share)
    }

    /// A weight made or cut here as an initializer of its name.
    ///
    /// # Errors
    /// [`Error::Overflow`] when the export's type cannot hold it, [`Error::Io`].
    pub fn place(&mut self, weight: &Weight<'_>) -> Result<Value, Error> {
        let dtype = self.options.dtype;
        let stored = self.graph.storage(dtype);
        let mut overflow = None;
        let value = self.graph.initializer(&weight.name, dtype, &weight.dims, |out| {
            overflow = weight.write_as(stored, out)?;
            Ok(())
        })?;
        match overflow {
            None => Ok(value),
            Some(index) => Err(Error::Overflow {
                name: weight.name.clone(),
                at: weight.place_of(index),
                found: weight.value(index),
                stage: self.stage(),
            }),
        }
    }

    /// The stage whose element type `--dtype-of` sets; a divided stage has a number in the graph's name.
    fn stage(&self) -> String {
        let scope = self.graph.scope();
        let graph = scope.split('/').next().unwrap_or_default();
        graph.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_').to_owned()
    }

    /// `nn.Linear`: `<name>.weight` `[to, from]` and, when `bias`, `<name>.bias` `[to]`.
    pub fn linear(&mut self, x: &Value, name: &str, from: usize, to: usize, bias: bool) -> Result<Value, Error> {
        let weight = self.weight(&format!("{name}.weight"), &[to, from])?;
        let bias = if bias { Some(self.weight(&format!("{name}.bias"), &[to])?) } else { None };
        self.graph.gemm(x, &weight, bias.as_ref(), true)
    }

    /// Linear layers `<name>.<part>` of the same input, each to its own number of channels: one product with their weights
    /// stacked when the export was asked for it, else one each.
    pub(crate) fn linears(
        &mut self,
        x: &Value,
        name: &str,
        parts: &[(&str, usize)],
        from: usize,
        bias: bool,
    ) -> Result<Vec<Value>, Error> {
        if !self.options.stacked_projections {
            let each = |(part, to): &(&str, usize)| self.linear(x, &format!("{name}.{part}"), from, *to, bias);
            return parts.iter().map(each).collect();
        }
        let weight = self.stacked(name, "weight", parts, Some(from))?;
        let bias = if bias { Some(self.stacked(name, "bias", parts, None)?) } else { None };
        let all = self.graph.gemm(x, &weight, bias.as_ref(), true)?;
        let sizes: Vec<usize> = parts.iter().map(|(_, to)| *to).collect();
        self.graph.split(&all, 1, &sizes)
    }

    /// `<name>.<part>.<kind>` of every part along their first axis, as one initializer.
    fn stacked(
        &mut self,
        name: &str,
        kind: &str,
        parts: &[(&str, usize)],
        from: Option<usize>,
    ) -> Result<Value, Error> {
        let weight = |(part, to): &(&str, usize)| {
            let dims: Vec<usize> = [Some(*to), from].into_iter().flatten().collect();
            self.weights.get(&format!("{name}.{part}.{kind}"))?.shaped(&dims)
        };
        let weights = parts.iter().map(weight).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = parts.iter().map(|(part, _)| *part).collect();
        let stacked = Weight::stacked(&format!("{name}.{}.{kind}", names.join("+")), &weights)?;
        self.place(&stacked)
    }

    /// `x` with what two layers with a tanh-GELU between them make of `normed` added: `width` to `inner` channels and back. `names` are the
    /// layers'.
    pub(crate) fn feed_forward(
        &mut self,
        x: &Value,
        normed: &Value,
        names: [&str; 2],
        (width, inner): (usize, usize),
    ) -> Result<Value, Error> {
        let wide = self.linear(normed, names[0], width, inner, true)?;
        let wide = self.graph.gelu_tanh(&wide)?;
        let out = self.linear(&wide, names[1], inner, width, true)?;
        self.graph.add(x, &out)
    }

    /// `CategorySpecificLinear` for the export's embodiment: `<name>.W` `[from, to]` and `<name>.b` `[to]`.
    pub(crate) fn embodiment_linear(&mut self, x: &Value, name: &str, from: usize, to: usize) -> Result<Value, Error> {
        let weight = self.embodiment_weight(&format!("{name}.W"), &[from, to])?;
        let bias = self.embodiment_weight(&format!("{name}.b"), &[to])?;
        self.graph.gemm(x, &weight, Some(&bias), false)
    }

    /// LayerNorm with learned weights.
    pub fn layer_norm(&mut self, x: &Value, name: &str, width: usize, eps: f32) -> Result<Value, Error> {
        let weight = self.weight(&format!("{name}.weight"), &[width])?;
        let bias = self.weight(&format!("{name}.bias"), &[width])?;
        self.graph.layer_norm(x, &weight, &bias, eps)
    }

    /// LayerNorm without learned weights.
    pub(crate) fn plain_norm(&mut self, x: &Value, width: usize, eps: f32) -> Result<Value, Error> {
        let start = self.graph.start();
        let ones = self.place(&Weight::computed(&format!("ones[{width}]"), &[width], &vec![1.0; width]))?;
        let zeros = self.place(&Weight::computed(&format!("zeros[{width}]"), &[width], &vec![0.0; width]))?;
        let result = self.graph.layer_norm(x, &ones, &zeros, eps)?;
        let norm = Meaning::Norm { kind: NormKind::Layer, x: x.clone(), weight: None, eps };
        Ok(self.graph.piece(start, norm, result))
    }

    /// RMSNorm along the last axis, the mean of squares in single precision whatever the export's type.
    pub(crate) fn rms_norm(&mut self, x: &Value, name: &str, width: usize, eps: f32) -> Result<Value, Error> {
        let start = self.graph.start();
        let weight = self.weight(&format!("{name}.weight"), &[width])?;
        let wide = self.graph.cast(x, DType::F32);
        let square = self.graph.mul(&wide, &wide)?;
        let mean = self.graph.mean_last(&square)?;
        let least = self.graph.scalar(eps, DType::F32)?;
        let shifted = self.graph.add(&mean, &least)?;
        let root = self.graph.sqrt(&shifted);
        let unit = self.graph.div(&wide, &root)?;
        let unit = self.graph.cast(&unit, x.dtype());
        let result = self.graph.mul(&unit, &weight)?;
        let norm = Meaning::Norm { kind: NormKind::Rms, x: x.clone(), weight: Some(weight), eps };
        Ok(self.graph.piece(start, norm, result))
    }
}
