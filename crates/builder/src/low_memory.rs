//! `--low-memory-mode`: limits of the builder on a machine whose CPU and GPU share memory, and the cost of each limit.

use super::request::Effort;
use vla_engines::memory::mib;
use vla_engines::onnx::Network;

/// Maximum workspace: more memory enables only a few additional tactics.
const MOST_WORKSPACE: u64 = 1 << 30;
/// Minimum workspace: with less, TensorRT finds no tactic for attention at GR00T's width.
const LEAST_WORKSPACE: u64 = 64 << 20;
/// Copies of the weights, in the network's type, that the builder holds at the same time: the parser's and its own converted
/// one.
const WEIGHT_COPIES: u64 = 2;

/// Sets the limits that `effort` leaves open so that a build of `network` stays within `free` bytes. Returns one line per
/// chosen limit, with its cost.
pub fn choose(effort: &mut Effort, network: &Network, precision: &str, free: u64) -> Vec<String> {
    let held = network.weight_bytes().saturating_mul(WEIGHT_COPIES).saturating_add(network.weight_bytes_in(precision));
    let left = free.saturating_sub(held);
    let mut chosen = Vec::new();
    if effort.workspace.is_none() {
        let workspace = whole_mib(left / 4).clamp(LEAST_WORKSPACE, MOST_WORKSPACE);
        effort.workspace = Some(workspace);
        chosen.push(format!(
            "workspace {:.0} MiB (a quarter of what {:.0} MiB free leave beside {:.0} MiB of weights): a kernel that needs \
             more is not taken",
            mib(workspace),
            mib(free),
            mib(held)
        ));
    }
    if effort.tactic_memory.is_none() {
        let memory = power_of_two(left / 2).max(2 * LEAST_WORKSPACE);
        effort.tactic_memory = Some(memory);
        chosen.push(format!("trying kernels out may take {:.0} MiB: one that needs more is passed over", mib(memory)));
    }
    if effort.level.is_none() {
        effort.level = Some(1);
        chosen.push(
            "optimisation level 1: fewer kernels are compiled and timed; the engine may be slower (--opt-level 3 for \
             TensorRT's own choice)"
                .to_owned(),
        );
    }
    if !effort.own_kernels {
        effort.own_kernels = true;
        chosen.push(
            "no cuBLAS, cuBLASLt, cuDNN: their libraries and workspaces stay out of memory, here and when the engine runs"
                .to_owned(),
        );
    }
    chosen.push("one profile: what it spans is one set of kernels; usual shapes are the fast ones".to_owned());
    if free < held {
        chosen.push(format!(
            "warning: {:.0} MiB are free and the weights alone may take {:.0} MiB while building; close other programs, or \
             let --prepare-system drop page caches",
            mib(free),
            mib(held)
        ));
    }
    chosen
}

/// The largest power of two up to `bytes`: TensorRT 8.6 accepts nothing else for this memory pool.
fn power_of_two(bytes: u64) -> u64 {
    bytes.checked_ilog2().map_or(0, |exponent| 1 << exponent)
}

fn whole_mib(bytes: u64) -> u64 {
    bytes >> 20 << 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use vla_engines::onnx::proto::{GraphProto, ModelProto, TensorProto};

    /// One weight of `mib` MiB in single precision.
    fn network(mib: i64) -> Network {
        let weight = TensorProto {
            name: Some("w".into()),
            dims: vec![mib, 262_144],
            data_type: Some(1),
            ..TensorProto::default()
        };
        let graph = GraphProto { initializer: vec![weight], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        Network::decode("m.onnx".as_ref(), model.encode_to_vec().into()).expect("a network")
    }

    #[test]
    fn bounds_come_from_what_the_weights_leave_of_free_memory() {
        let mut effort = Effort::default();
        // 400 MiB of weights, read and converted, 200 of them in the engine: 1000 MiB.
        let chosen = choose(&mut effort, &network(400), "fp16", 3000 << 20);
        assert_eq!((effort.workspace, effort.tactic_memory), (Some(500 << 20), Some(512 << 20)));
        assert_eq!((effort.level, effort.own_kernels), (Some(1), true));
        assert_eq!(chosen.len(), 5, "{chosen:?}");
        assert!(chosen[0].starts_with("workspace 500 MiB (a quarter of what 3000 MiB free leave"), "{chosen:?}");
    }

    #[test]
    fn what_was_asked_for_stays_as_it_is() {
        let asked = Effort { workspace: Some(7), tactic_memory: Some(8), level: Some(5), own_kernels: true };
        let mut effort = asked.clone();
        assert_eq!(choose(&mut effort, &network(1), "fp32", 1 << 30).len(), 1);
        assert_eq!(effort, asked);
    }

    #[test]
    fn too_little_memory_is_warned_about_and_bounds_do_not_fall_to_nothing() {
        let mut effort = Effort::default();
        let chosen = choose(&mut effort, &network(400), "fp16", 500 << 20);
        assert_eq!(effort.workspace, Some(LEAST_WORKSPACE));
        assert!(chosen.iter().any(|line| line.starts_with("warning: 500 MiB are free")), "{chosen:?}");
    }
}
