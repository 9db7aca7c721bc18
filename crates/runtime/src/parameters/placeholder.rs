//! Placeholders of a parameter file that `vla-trt init-params` wrote and that are not filled in yet.

use std::collections::{BTreeMap, BTreeSet};

use ros2_parameters::{Error, Override, Overrides, Problems, Value};

/// Begins every placeholder, in a value and in the name of a joint.
pub const PLACEHOLDER: &str = "FILL_IN";

/// Every parameter that still has a placeholder, by its name and place; none when all are filled in.
pub(super) fn unfilled(overrides: &Overrides) -> Problems {
    // The value given last counts: one that is given on the command line fills in that of the file.
    let given: BTreeMap<&str, &Override> = overrides.given().iter().map(|given| (given.name.as_str(), given)).collect();
    let mut problems = Problems::default();
    let mut named = BTreeSet::new();
    for given in overrides.given().iter().filter(|one| given.get(one.name.as_str()).is_some_and(|last| last == one)) {
        let Some((name, found)) = placeholder(given) else { continue };
        // The limits of a joint without a name are one problem.
        if named.insert(name) {
            problems.push(Error::BadValue {
                origin: given.origin.clone(),
                name: name.to_owned(),
                reason: format!("is not filled in: replace the placeholder '{found}' by your robot's own"),
            });
        }
    }
    problems
}

/// The parameter, or the part of its name that ends in a placeholder, and the placeholder.
fn placeholder(given: &Override) -> Option<(&str, &str)> {
    let is_placeholder = |text: &&str| text.starts_with(PLACEHOLDER);
    let mut end = 0;
    for part in given.name.split('.') {
        end += part.len();
        if is_placeholder(&part) {
            return Some((given.name.get(..end)?, part));
        }
        end += 1;
    }
    let value = match &given.value {
        Value::String(text) => Some(text.as_str()).filter(is_placeholder),
        Value::StringArray(texts) => texts.iter().map(String::as_str).find(is_placeholder),
        _ => None,
    };
    value.map(|found| (given.name.as_str(), found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ros2_parameters::NodeName;

    #[test]
    fn placeholders_are_found_in_names_values_and_lists_until_they_are_given() {
        let mut overrides = Overrides::new(NodeName::new("/", "vla_trt").expect("a name"));
        let text = "/**:\n  ros__parameters:\n    instruction: FILL_IN\n    rate_hz: 5.0\n    state.arm.joints: [a, FILL_IN_arm_2]\n    \
                    limits.FILL_IN_arm_2.velocity: 1.0\n    \
                    limits.FILL_IN_arm_2.acceleration: 1.0\n";
        overrides.add_text("robot.yaml", text).expect("a parameter file");
        let names =
            |overrides: &Overrides| unfilled(overrides).iter().flat_map(Error::names).cloned().collect::<Vec<String>>();
        assert_eq!(names(&overrides), ["instruction", "state.arm.joints", "limits.FILL_IN_arm_2"]);
        overrides.add_argument("instruction:=pick up the cube").expect("an argument");
        assert_eq!(names(&overrides), ["state.arm.joints", "limits.FILL_IN_arm_2"]);
    }
}
