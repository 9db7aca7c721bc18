//! The layers around the DiT: state encoder, action encoder, decoder and the Euler update, for one embodiment.

use super::step_constants::{ActionFold, action_times};
use super::{Net, fixed};
use crate::Error;
use crate::model::Head;
use crate::onnx::Value;
use crate::onnx::pieces::Meaning;
use crate::weights::Weight;
use vla_base::tensor::DType;
use vla_engines::onnx::FP32_SCOPE;

const STATE: &str = "action_head.state_encoder";
const ACTION: &str = "action_head.action_encoder";
const DECODER: &str = "action_head.action_decoder";

/// `state` `[1, dims]` to `state_features` `[1, width]`.
pub(crate) fn encode_state(net: &mut Net<'_>, head: &Head, state: &Value) -> Result<Value, Error> {
    net.part("state_encoder", |net| {
        let inner = net.embodiment_linear(state, &format!("{STATE}.layer1"), head.state_dims, head.hidden)?;
        let inner = net.graph.relu(&inner);
        net.embodiment_linear(&inner, &format!("{STATE}.layer2"), head.hidden, head.width)
    })
}

/// `silu(a M + shift) W3 + (b3 + positions)`: `[horizon, dims]` to `[horizon, width]`; `shift` gives `m_i` of the step.
pub(crate) fn encode_actions(
    net: &mut Net<'_>,
    head: &Head,
    actions: &Value,
    fold: &ActionFold,
    shift: impl FnOnce(&mut Net<'_>) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let actions = net.graph.cast(actions, net.options.dtype);
    let matrix = net.place(&Weight::computed("action_encoder.fold", &[head.action_dims, head.width], &fold.matrix))?;
    let shift = shift(net)?;
    let inner = net.graph.gemm(&actions, &matrix, Some(&shift), false)?;
    let inner = net.graph.silu(&inner)?;
    let weight = net.embodiment_weight(&format!("{ACTION}.W3.W"), &[head.width, head.width])?;
    let bias = net.place(&Weight::computed("action_encoder.bias", &[head.horizon, head.width], &fold.bias))?;
    if net.options.debug_outputs {
        // The vendor's own output, which has no positions yet.
        let bias = net.embodiment_weight(&format!("{ACTION}.W3.b"), &[head.width])?;
        let features = net.graph.gemm(&inner, &weight, Some(&bias), false)?;
        net.tap("action_features", &features)?;
    }
    let features = net.graph.matmul(&inner, &weight)?;
    net.graph.add(&features, &bias)
}

/// `m_i` `[1, width]` of the time bucket `timestep` (INT32 `[1]`). The sinusoid is a table: an angle of hundreds of
/// radians does not survive half precision.
pub(crate) fn time_shift(net: &mut Net<'_>, head: &Head, fold: &ActionFold, timestep: &Value) -> Result<Value, Error> {
    let times = action_times(head.width, head.timestep_buckets);
    let times = net.place(&Weight::computed("action_encoder.times", &[head.timestep_buckets, head.width], &times))?;
    let time = net.graph.gather(&times, timestep)?;
    let late = net.place(&Weight::computed("action_encoder.late", &[head.width, head.width], &fold.late))?;
    let constant = net.place(&Weight::computed("action_encoder.constant", &[head.width], &fold.constant()))?;
    net.graph.gemm(&time, &late, Some(&constant), false)
}

/// `features` `[horizon, width]` of actions with their position rows.
pub(crate) fn add_positions(net: &mut Net<'_>, head: &Head, features: &Value) -> Result<Value, Error> {
    let Some(rows) = head.positions else { return Ok(features.clone()) };
    let table = net.weights.get("action_head.position_embedding.weight")?.shaped(&[rows, head.width])?;
    let mut used = table.rows(0, head.horizon)?;
    used.name = "action_positions".to_owned();
    let positions = net.place(&used)?;
    net.graph.add(features, &positions)
}

/// Velocity `[rows, dims]` of the DiT's output `[rows, output]`.
pub(crate) fn decode_actions(net: &mut Net<'_>, head: &Head, features: &Value) -> Result<Value, Error> {
    let inner = net.embodiment_linear(features, &format!("{DECODER}.layer1"), head.output, head.hidden)?;
    let inner = net.graph.relu(&inner);
    net.embodiment_linear(&inner, &format!("{DECODER}.layer2"), head.hidden, head.action_dims)
}

/// Inputs of an Euler update, all in single precision.
#[derive(Clone)]
pub(crate) struct Euler {
    /// `[horizon, dims]`
    pub actions: Value,
    /// `[1]`
    pub dt: Value,
    /// `[horizon]`
    pub strength: Value,
}

impl Euler {
    /// The inputs `dt` and `strength` beside `actions`.
    pub(crate) fn inputs(net: &mut Net<'_>, head: &Head, actions: Value) -> Result<Self, Error> {
        let dt = net.graph.input("dt", DType::F32, &fixed([1]))?;
        Ok(Self { actions, dt, strength: net.graph.input("strength", DType::F32, &fixed([head.horizon]))? })
    }

    /// `actions + dt * strength * velocity`, in single precision for every precision of the engine ([`FP32_SCOPE`]).
    pub(crate) fn update(&self, net: &mut Net<'_>, head: &Head, velocity: &Value) -> Result<Value, Error> {
        net.graph.enter(FP32_SCOPE);
        let next = self.next(net, head, velocity);
        net.graph.leave();
        next
    }

    fn next(&self, net: &mut Net<'_>, head: &Head, velocity: &Value) -> Result<Value, Error> {
        let start = net.graph.start();
        let wide = net.graph.cast(velocity, DType::F32);
        net.tap("velocity", &wide)?;
        let strength = net.graph.reshape(&self.strength, &fixed([head.horizon, 1]))?;
        let rate = net.graph.mul(&strength, &self.dt)?;
        let change = net.graph.mul(&wide, &rate)?;
        let next = net.graph.add(&self.actions, &change)?;
        let Self { actions, dt, strength } = self.clone();
        Ok(net.graph.piece(start, Meaning::Euler { actions, velocity: velocity.clone(), dt, strength }, next))
    }
}
