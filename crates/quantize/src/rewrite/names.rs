//! Names of new nodes and tensors.

use std::collections::BTreeSet;

use vla_engines::onnx::Network;

/// Names that are taken.
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// Of a network's nodes and tensors.
    pub(crate) fn of(network: &Network) -> Self {
        let tensors = network.tensor_names().into_iter().map(ToOwned::to_owned);
        Self(tensors.chain(network.nodes().map(|(name, _)| name.to_owned())).collect())
    }

    /// `name` if it is free, else one made of it and the name of what it is for.
    pub(crate) fn take(&mut self, name: String, purpose: &str) -> String {
        if self.0.insert(name.clone()) {
            return name;
        }
        let mut other = format!("{name}@{purpose}");
        while !self.0.insert(other.clone()) {
            other.push('_');
        }
        other
    }
}
