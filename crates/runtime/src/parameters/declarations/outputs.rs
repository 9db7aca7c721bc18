//! Declares the parameters of the outputs: one group a name that is given.

use crate::parameters::table::outputs;
use ros2_parameters::{Declaration, Overrides};

/// The groups, in the order in which their names are given.
pub(super) fn outputs(overrides: &Overrides) -> Vec<Declaration> {
    let mut names: Vec<&str> = Vec::new();
    for given in overrides.given() {
        // A name without a parameter after it is unknown.
        let name = given.name.strip_prefix(outputs::GROUP).and_then(|rest| Some(rest.rsplit_once('.')?.0));
        names.extend(name.filter(|name| !name.is_empty() && !name.contains('.') && !names.contains(name)));
    }
    names.into_iter().flat_map(output).collect()
}

fn output(name: &str) -> [Declaration; 13] {
    [
        outputs::KIND.declare_of(name),
        outputs::TOPIC.declare_of(name),
        outputs::ACTION.declare_of(name),
        outputs::KEYS.declare_of(name),
        outputs::JOINTS.declare_of(name),
        outputs::MESSAGE.declare_of(name),
        outputs::FRAME_ID.declare_of(name),
        outputs::COMPONENTS.declare_of(name),
        outputs::MAX.declare_of(name),
        outputs::MAX_ACCELERATION.declare_of(name),
        outputs::TOLERANCE.declare_of(name),
        outputs::MAX_RATE_HZ.declare_of(name),
        outputs::MAX_EFFORT.declare_of(name),
    ]
}
