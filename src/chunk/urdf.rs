//! Joint limits of a robot description (URDF): `lower` and `upper` of revolute and prismatic joints, `velocity` of all, and
//! which joints are continuous or prismatic.
//!
//! URDF has no acceleration; limits of it come from parameters.

use super::bounds::{Bounds, JointKind};
use super::error::Error;

/// Limits of every joint that has any, and of every continuous or prismatic joint, by name, in the order of the description.
///
/// # Errors
/// [`Error::Urdf`]: no XML, no `<robot>`, or a number that is none, with line and joint.
pub fn limits(text: &str) -> Result<Vec<(String, Bounds)>, Error> {
    let urdf = |reason: String| Error::Urdf { reason };
    let document = roxmltree::Document::parse(text).map_err(|error| urdf(format!("no XML: {error}")))?;
    let robot = document.root_element();
    if robot.tag_name().name() != "robot" {
        return Err(urdf(format!("expected <robot> at the top, found <{}>", robot.tag_name().name())));
    }
    let mut all = Vec::new();
    // Joints of transmissions and of ros2_control have no limit element and stand deeper.
    for joint in robot.children().filter(|node| node.has_tag_name("joint")) {
        let name = joint.attribute("name").unwrap_or_default();
        let kind = match joint.attribute("type") {
            Some("continuous") => JointKind::Continuous,
            Some("prismatic") => JointKind::Prismatic,
            _ => JointKind::Revolute,
        };
        let mut bounds = Bounds { kind, ..Bounds::default() };
        let Some(limit) = joint.children().find(|node| node.has_tag_name("limit")) else {
            if kind != JointKind::Revolute {
                all.push((name.to_owned(), bounds));
            }
            continue;
        };
        let number = |attribute: &str| {
            let Some(text) = limit.attribute(attribute) else { return Ok(None) };
            match text.trim().parse::<f64>() {
                Ok(value) if !value.is_nan() => Ok(Some(value)),
                _ => {
                    let row = document.text_pos_at(limit.range().start).row;
                    Err(urdf(format!("line {row}, joint `{name}`: {attribute} is '{text}', expected a number")))
                }
            }
        };
        // Zero or below is what some exporters write for "not known".
        bounds.velocity = number("velocity")?.filter(|&speed| speed > 0.0).unwrap_or(bounds.velocity);
        if matches!(joint.attribute("type"), Some("revolute" | "prismatic")) {
            // As the specification says: 0 where it is left out.
            bounds.min = number("lower")?.unwrap_or(0.0);
            bounds.max = number("upper")?.unwrap_or(0.0);
        }
        all.push((name.to_owned(), bounds));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_joint_and_what_a_continuous_joint_has_is_its_speed() {
        let text = r#"<?xml version="1.0"?>
            <robot name="arm">
              <link name="base"/>
              <joint name="waist" type="revolute"><limit lower="-3.1" upper="3.1" velocity="2.5" effort="10"/></joint>
              <joint name="wheel" type="continuous"><limit effort="1" velocity="7"/></joint>
              <joint name="finger" type="prismatic"><limit upper="0.04" velocity="0" effort="1"/></joint>
              <joint name="roll" type="continuous"/>
              <joint name="mount" type="fixed"/>
              <ros2_control name="x" type="system"><joint name="waist"/></ros2_control>
            </robot>"#;
        let waist = Bounds { min: -3.1, max: 3.1, velocity: 2.5, ..Bounds::default() };
        let roll = Bounds { kind: JointKind::Continuous, ..Bounds::default() };
        let wheel = Bounds { velocity: 7.0, ..roll };
        let finger = Bounds { min: 0.0, max: 0.04, kind: JointKind::Prismatic, ..Bounds::default() };
        let expected = [("waist", waist), ("wheel", wheel), ("finger", finger), ("roll", roll)];
        let expected = expected.map(|(name, bounds)| (name.to_owned(), bounds));
        assert_eq!(limits(text).expect("a description"), expected);
    }

    proptest::proptest! {
        /// Whatever the text, it is read or refused in words.
        #[test]
        fn no_text_breaks_the_reader(text in "(<robot><joint name='a' type='revolute'><limit )?.{0,40}(/></joint></robot>)?") {
            if let Err(error) = limits(&text) {
                assert!(error.to_string().starts_with("robot description: "));
            }
        }
    }

    #[test]
    fn what_is_no_description_is_refused_with_line_and_joint() {
        let error = |text: &str| limits(text).expect_err("refused").to_string();
        assert!(error("robot").contains("no XML"));
        assert!(error("<sdf/>").contains("<sdf>"));
        let text = "<robot>\n<joint name=\"a\" type=\"revolute\">\n<limit lower=\"low\"/></joint></robot>";
        assert!(error(text).contains("line 3, joint `a`: lower is 'low'"), "{}", error(text));
    }
}
