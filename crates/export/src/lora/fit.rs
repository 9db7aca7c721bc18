//! Joins an adapter's tensors with the weights of a checkpoint. Every tensor is used, or refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::{AdapterConfig, Bias};
use super::names::{Part, Role, part};
use super::{Adapter, Added, Kind};
use crate::Error;
use crate::checkpoint::{Checkpoint, Shard};
use crate::weights::Weights as _;
use vla_base::tensor::display_dims;

/// Most tensors that a message lists.
const SHOWN: usize = 8;

/// The adapter, when all of its tensors fit.
pub(super) fn adapter(dir: &Path, shard: Shard, config: AdapterConfig, base: &Checkpoint) -> Result<Adapter, Error> {
    let mut fit = Fit { shard: &shard, config: &config, base, layers: BTreeMap::new(), problems: Vec::new() };
    let mut replaced = BTreeMap::new();
    for name in shard.names() {
        fit.check_values(&name);
        fit.place(&name, &mut replaced);
    }
    let added = fit.added();
    let mut problems = fit.problems;
    if added.is_empty() && replaced.is_empty() && problems.is_empty() {
        problems.push("expected LoRA layers, found no tensors".to_owned());
    }
    if problems.is_empty() {
        return Ok(Adapter { dir: dir.to_owned(), base: config.base, added, replaced, shard });
    }
    let more = problems.len().saturating_sub(SHOWN);
    problems.truncate(SHOWN);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Err(Error::Adapter { path: shard.path().to_owned(), problems })
}

struct Fit<'a> {
    shard: &'a Shard,
    config: &'a AdapterConfig,
    base: &'a Checkpoint,
    /// Names of the tensors of each module's layer.
    layers: BTreeMap<String, BTreeMap<Role, String>>,
    problems: Vec<String>,
}

impl Fit<'_> {
    /// NaN and infinity; an element type that is no floating-point number.
    fn check_values(&mut self, name: &str) {
        match self.shard.get(name) {
            Err(error) => self.problems.push(error.to_string()),
            Ok(tensor) => {
                if let Some(found) = tensor.not_finite() {
                    let at = tensor.place_of(found.first);
                    self.problems.push(format!("`{name}`: expected finite numbers, found {} at {at:?}", found.value));
                }
            }
        }
    }

    fn place(&mut self, name: &str, replaced: &mut BTreeMap<String, String>) {
        match part(name) {
            Part::Original => {}
            Part::Foreign(what) => self.problems.push(format!("`{name}`: expected a tensor of LoRA, found {what}")),
            Part::Layer { module, role } => {
                if let Some(earlier) = self.layers.entry(module).or_default().insert(role, name.to_owned()) {
                    self.problems.push(format!("`{name}`: expected one adapter, found `{earlier}` for the same layer"));
                }
            }
            Part::Whole(names) => self.replace(name, &names, replaced),
        }
    }

    /// A tensor that takes the place of one of the base.
    fn replace(&mut self, own: &str, names: &[String], replaced: &mut BTreeMap<String, String>) {
        let known = names.iter().find_map(|name| self.base.outline(name).ok().map(|(_, dims)| (name, dims)));
        let Some((name, dims)) = known else {
            let name = names.first().map_or(own, String::as_str);
            return self.problems.push(format!(
                "`{own}`: expected a LoRA layer or a weight of the checkpoint, found no weight `{name}` in it"
            ));
        };
        let is_bias = self.config.bias == Bias::Replaced && name.ends_with("bias");
        if !is_bias && !self.config.is_replaced(name) {
            return self.problems.push(format!(
                "`{own}`: expected a module of modules_to_save in adapter_config.json, found one that it does not name"
            ));
        }
        self.expect(own, &dims);
        if let Some(earlier) = replaced.insert(name.clone(), own.to_owned())
            && self.shard.get(&earlier).ok().map(|tensor| tensor.data)
                != self.shard.get(own).ok().map(|tensor| tensor.data)
        {
            self.problems
                .push(format!("`{own}`: expected the values of `{earlier}`, found others for the same weight"));
        }
    }

    /// Notes another shape of an own tensor.
    fn expect(&mut self, own: &str, dims: &[usize]) {
        if let Ok(tensor) = self.shard.get(own)
            && tensor.dims != dims
        {
            let (expected, found) = (display_dims(dims), display_dims(&tensor.dims));
            self.problems.push(format!("`{own}`: expected shape {expected}, found {found}"));
        }
    }

    /// What is added to each weight.
    fn added(&mut self) -> BTreeMap<String, Added> {
        let mut added = BTreeMap::new();
        for (module, tensors) in std::mem::take(&mut self.layers) {
            if let Err(problem) = self.layer(&module, &tensors, &mut added) {
                self.problems.push(problem);
            }
        }
        added
    }

    /// The LoRA layer on one module.
    fn layer(
        &mut self,
        module: &str,
        tensors: &BTreeMap<Role, String>,
        added: &mut BTreeMap<String, Added>,
    ) -> Result<(), String> {
        let own = tensors.values().next().map_or(module, String::as_str);
        let (rank, scale) = (self.config.rank(module), self.config.scale(module));
        let weight = format!("{module}.weight");
        let (_, dims) = self.base.outline(&weight).map_err(|_missing| {
            let base = self.config.base.as_ref().map(|base| format!(" ({base})")).unwrap_or_default();
            format!(
                "`{own}`: expected a layer of the checkpoint, found no weight `{weight}` in it; the adapter belongs to \
                 another base{base}"
            )
        })?;
        if !self.config.is_target(module) {
            return Err(format!(
                "`{own}`: expected a module of target_modules in adapter_config.json, found one that it does not name"
            ));
        }
        let tensor = |role: Role| tensors.get(&role).cloned();
        let kind = match [Role::A, Role::B, Role::EmbeddingA, Role::EmbeddingB].map(tensor) {
            [Some(a), Some(b), None, None] => Kind::Linear { a, b },
            [None, None, Some(a), Some(b)] => Kind::Embedding { a, b },
            _ => {
                let found: Vec<String> = tensors.values().map(|name| format!("`{name}`")).collect();
                return Err(format!("{module}: expected lora_A and lora_B, found {}", found.join(", ")));
            }
        };
        self.check_shapes(&kind, &dims, rank, &weight);
        if let Some(bias) = tensors.get(&Role::BiasOfB) {
            let name = format!("{module}.bias");
            let outline = self.base.outline(&name);
            let (_, dims) =
                outline.map_err(|_missing| format!("`{bias}`: expected a layer with a bias, found no `{name}`"))?;
            self.expect(bias, &dims);
            added.insert(name, Added { kind: Kind::Bias(bias.clone()), scale, rank });
        }
        added.insert(weight, Added { kind, scale, rank });
        Ok(())
    }

    fn check_shapes(&mut self, kind: &Kind, dims: &[usize], rank: usize, weight: &str) {
        let [rows, columns] = dims else {
            return self.problems.push(format!(
                "{weight}: expected a matrix, found shape {}; LoRA on other weights is not merged here",
                display_dims(dims)
            ));
        };
        match kind {
            Kind::Linear { a, b } => {
                self.expect(a, &[rank, *columns]);
                self.expect(b, &[*rows, rank]);
            }
            Kind::Embedding { a, b } => {
                self.expect(a, &[rank, *rows]);
                self.expect(b, &[*columns, rank]);
            }
            Kind::Bias(_) => {}
        }
    }
}
