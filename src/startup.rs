//! From a checked command line to a running node.

use std::sync::Arc;

use super::args::{Arguments, ParameterArgument};
use super::context::{self, DEFAULT_NAME};
use super::error::Error;
use super::logging::{Logging, Records};
use super::parameters::set_level;
use super::shared_memory;
use super::shutdown::Running;
use r2r::Node;
use vla_policy::PolicySpec;
use vla_runtime::parameters::{NodeName, Overrides, PolicyShape, Remap, Value};

mod build;
mod endpoints;

use build::Builder;

/// Starts the node. Parameters, diagnostics and services serve from here on; the policy loads on its own thread.
///
/// # Errors
/// The first problem with the arguments, the parameter files, the policy's description or the names.
pub(crate) fn start(arguments: &Arguments, logging: Logging, records: Records) -> Result<Running, Error> {
    // Twice: here for the messages, since rcl panics or stays silent about a file that it cannot use, and below for the node's
    // final name, which only rcl knows.
    overrides(arguments, NodeName::new("/", DEFAULT_NAME)?)?;
    // Before the node has its own segment.
    shared_memory::warn_of_stale();
    let node = context::create_node()?;
    logging.set_name(node.logger());
    let mut given = overrides(arguments, node_name(&node)?)?;
    for warning in given.warnings() {
        tracing::warn!("{warning}");
    }
    if let (None, Some(level)) = (given.get("log_level"), arguments.log_level(node.logger())) {
        given.set("log_level", Value::String(level.name().to_owned()));
    }
    let policy = Arc::new(PolicySpec::load(&given.policy()?)?);
    let shape = PolicyShape::load(&policy)?;
    let mut parameters = vla_runtime::parameters::Parameters::new(shape.clone(), &given)?;
    parameters.read_limits_file()?;
    if let Some(ignored) = parameters.ignored() {
        tracing::warn!("{ignored}");
    }
    for warning in &parameters.settings().limit_warnings {
        tracing::warn!("{warning}");
    }
    set_level(&logging, &parameters.settings().log_level);
    Builder { node, policy, shape, parameters, logging }.build(arguments, records)
}

/// What the command line gives a node of this name.
pub(crate) fn overrides(arguments: &Arguments, node: NodeName) -> Result<Overrides, Error> {
    let remaps = Remap::rules(&node, &arguments.remaps);
    let mut overrides = Overrides::new(node).with_remaps(remaps);
    for given in &arguments.overrides {
        match given {
            ParameterArgument::File(path) => overrides.add_file(path)?,
            ParameterArgument::Assignment { node, name, value } => overrides.assign(node.as_deref(), name, value)?,
        }
    }
    Ok(overrides)
}

/// The node's name and namespace after remapping.
pub(crate) fn node_name(node: &Node) -> Result<NodeName, Error> {
    let unnamed = |source| Error::Node { name: DEFAULT_NAME.to_owned(), source };
    Ok(NodeName::new(&node.namespace().map_err(unnamed)?, &node.name().map_err(unnamed)?)?)
}
