//! The ROS context and the node, with r2r's panics turned into errors.

use std::any::Any;
use std::panic;

use r2r::{Context, Node};

use super::error::Error;

/// The node's name unless `__node` is remapped.
pub const DEFAULT_NAME: &str = "vla_trt";

/// Initialises ROS from the process's arguments (checked before by [`super::args`]) and creates the node.
///
/// Call once, before other threads: the panic hook is replaced for the time of the call.
///
/// # Errors
/// [`Error::Context`] with rcl's reason, [`Error::Node`].
pub(crate) fn create_node() -> Result<Node, Error> {
    let context = create_context()?;
    Node::create(context, DEFAULT_NAME, "").map_err(|source| Error::Node { name: DEFAULT_NAME.to_owned(), source })
}

fn create_context() -> Result<Context, Error> {
    // `Context::create` panics with rcl's error text.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let created = panic::catch_unwind(Context::create);
    panic::set_hook(hook);
    match created {
        Ok(Ok(context)) => Ok(context),
        Ok(Err(error)) => Err(Error::Context { reason: error.to_string() }),
        Err(payload) => Err(Error::Context { reason: panic_text(payload.as_ref()).to_owned() }),
    }
}

/// The message of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}
