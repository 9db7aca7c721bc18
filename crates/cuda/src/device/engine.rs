//! A loaded list of operations, and its bound form in a workspace.

use std::cell::RefCell;
use std::sync::Arc;

use super::module::PreparedKernel;
use super::products::{KeptTactics, PreparedProduct};
use crate::plan::{Places, WeightLayout};
use crate::{DeviceBlock, Id};
use vla_base::tensor::{Dim, TensorSpec};
use vla_engines::Stage;
use vla_engines::operations::Program;
use vla_engines::profile::Profile;

/// A list of operations with its weights on the device.
pub struct LoadedOperations {
    pub(super) id: Id,
    pub(super) stage: String,
    pub(super) program: Program,
    pub(super) layout: WeightLayout,
    pub(super) weights: Arc<DeviceBlock>,
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) outputs: Vec<TensorSpec>,
    /// Sizes of each input that policy.yaml allows.
    pub(super) profiles: Vec<Option<Profile>>,
    /// Algorithms of its products, and the file that keeps them.
    pub(super) tactics: RefCell<KeptTactics>,
    /// How weights lie that may lie in tiles.
    pub(super) places: RefCell<Places>,
}

/// Descriptions of values, by their indices.
pub(super) fn specs(program: &Program, values: &[usize]) -> Vec<TensorSpec> {
    let described = values.iter().filter_map(|&value| program.values.get(value));
    described
        .map(|value| TensorSpec { name: value.name.clone(), dtype: value.dtype, dims: value.dims.clone() })
        .collect()
}

/// The sizes of an input that the profile of its stage allows; `None` where it names no size for a symbol.
pub(super) fn profile(stage: &Stage, input: &TensorSpec) -> Option<Profile> {
    let described = stage.inputs.iter().find(|described| described.tensor == input.name);
    let dims = described.and_then(|described| described.dims.as_ref()).unwrap_or(&input.dims);
    let at = |size: usize| {
        dims.iter()
            .map(|dim| match dim {
                Dim::Fixed(n) => Some(*n),
                Dim::Symbol(name) => {
                    stage.profile.iter().find(|(symbol, _)| symbol == name).map(|(_, range)| range[size])
                }
            })
            .collect::<Option<Vec<_>>>()
    };
    Some(Profile { min: at(0)?, opt: at(1)?, max: at(2)? })
}

/// A launch with everything looked up.
pub(super) enum Prepared {
    /// A kernel of this program.
    Kernel(PreparedKernel),
    /// A product of cuBLASLt.
    Product(PreparedProduct),
}

/// A list of operations bound to tensors of one workspace. Runs on that workspace only.
pub struct Bound {
    pub(super) workspace: Id,
    pub(super) launches: Vec<Prepared>,
}
