//! What is read of a robot description, and what is none.

use proptest::prelude::*;

use super::*;
use crate::limits::{JointKind, JointLimits};

/// Limits of joint `a` beside `own`, with the findings.
fn limits(text: &str, own: JointLimits) -> (JointLimits, Vec<Finding>) {
    let description = Description::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let joint = description.joints("a").next().expect("joint a");
    let mut found = Vec::new();
    let limits = joint.limits(&own, &mut |finding| found.push(finding));
    (limits, found)
}

/// The same of a joint with this type and content.
fn of(kind: &str, content: &str, own: JointLimits) -> (JointLimits, Vec<Finding>) {
    limits(&format!("<robot><joint name='a' type='{kind}'>{content}</joint></robot>"), own)
}

fn problem(kind: &str, content: &str) -> String {
    match of(kind, content, JointLimits::default()).1.as_slice() {
        [Finding::Problem(what)] => what.clone(),
        other => panic!("expected one problem, found {other:?}"),
    }
}

fn error(text: &str) -> String {
    Description::parse(text).expect_err("refused").to_string()
}

#[test]
fn limits_are_read_by_joint_and_what_a_continuous_joint_has_is_its_speed() {
    let text = r#"<?xml version="1.0"?>
        <!DOCTYPE robot>
        <robot name="arm">
          <link name="base"/>
          <joint name="a" type="revolute"><limit lower="-3.1" upper="3.1" velocity=" 2.5e0 " effort="10"/></joint>
          <ros2_control name="x" type="system"><joint name="a"><limit lower="9"/></joint></ros2_control>
          <transmission name="t"><joint name="a"/></transmission>
        </robot>"#;
    let none = JointLimits::default();
    assert_eq!(limits(text, none), (JointLimits { min: -3.1, max: 3.1, velocity: 2.5, ..none }, vec![]));
    let wheel = of("continuous", "<limit effort='1' lower='-1' upper='1' velocity='7'/>", none);
    assert_eq!(wheel, (JointLimits { velocity: 7.0, kind: JointKind::Continuous, ..none }, vec![]));
    let finger = of("prismatic", "<limit upper='0.04' velocity='inf'/>", none);
    let kind = JointKind::Prismatic;
    assert_eq!(
        finger,
        (JointLimits { min: 0.0, max: 0.04, kind, ..none }, vec![]),
        "a lower limit that is left out is 0"
    );
}

#[test]
fn elements_of_simulators_without_their_namespace_and_loose_text_are_passed_over() {
    let text = "\u{feff}<!-- made -- by hand --><robot>\n<gazebo><gz:system gz:name=\"x\"/>a & b</gazebo>\n\
                <joint name=\"a\" type=\"revolute\"><limit lower=\"-1\" upper=\"1\" velocity=\"2\"/></joint></robot>";
    assert_eq!(limits(text, JointLimits::default()).0.velocity, 2.0);
}

#[test]
fn placeholders_are_no_limits_unless_the_parameters_replace_them() {
    let zeros = "<limit lower='0' upper='-0.0' velocity='0' effort='0'/>";
    let (limits, found) = of("revolute", zeros, JointLimits::default());
    assert_eq!(limits, JointLimits::default(), "never a position to drive to");
    assert!(
        matches!(found.as_slice(), [Finding::Problem(a), Finding::Problem(b)]
        if a.contains("set limits.<joint>.min and limits.<joint>.max") && b.contains("set limits.<joint>.velocity")),
        "{found:?}"
    );
    let given = JointLimits { min: -1.0, max: 1.0, velocity: 2.0, ..JointLimits::default() };
    let (limits, found) = of("prismatic", zeros, given);
    assert_eq!((limits.min, limits.max, limits.velocity), (f64::NEG_INFINITY, f64::INFINITY, f64::INFINITY));
    assert!(matches!(found.as_slice(), [Finding::Warning(_), Finding::Warning(_)]), "{found:?}");
    let (_, found) = of("revolute", zeros, JointLimits { max: 1.0, ..given });
    assert_eq!(found.len(), 2, "both sides are needed in place of both zeros");
    let (_, found) = of("revolute", zeros, JointLimits { max: f64::INFINITY, ..given });
    assert!(matches!(found.as_slice(), [Finding::Problem(_), Finding::Warning(_)]), "{found:?}");
    assert!(problem("revolute", "<limit effort='1' velocity='1'/>").contains("lower = upper = 0"));
    assert!(problem("revolute", "").contains("no <limit>"));
    assert!(problem("continuous", "<limit velocity='-1'/>").contains("velocity = -1"));
}

#[test]
fn a_joint_that_cannot_be_moved_is_a_problem_whatever_the_parameters_say() {
    let given = JointLimits { min: -1.0, max: 1.0, velocity: 2.0, ..JointLimits::default() };
    for (kind, content, says) in [
        ("revolute", "<limit lower='0.5' upper='0.5' velocity='1'/>", "the joint is locked"),
        ("revolute", "<limit lower='3.1' upper='-3.1' velocity='1'/>", "lower 3.1 is above upper -3.1"),
        ("fixed", "", "type is 'fixed'"),
        ("floating", "<limit lower='-1' upper='1' velocity='1'/>", "type is 'floating'"),
        ("revolute", "<limit lower='${-pi}' upper='1' velocity='1'/>", "line 1: lower is '${-pi}', expected a number"),
        ("revolute", "<limit lower='-1' upper='nan' velocity='1'/>", "upper is 'nan', expected a number"),
        ("continuous", "<limit velocity='fast'/>", "velocity is 'fast', expected a number"),
    ] {
        let (_, found) = of(kind, content, given);
        assert!(matches!(found.as_slice(), [Finding::Problem(what)] if what.contains(says)), "{found:?}");
    }
}

#[test]
fn soft_limits_are_kept_where_they_are_tighter() {
    let soft = |attributes: &str| {
        let limit = "<limit lower='-3' upper='3' velocity='1'/>";
        let (limits, found) =
            of("revolute", &format!("{limit}<safety_controller k_velocity='1' {attributes}/>"), JointLimits::default());
        (limits.min, limits.max, found.len())
    };
    assert_eq!(soft("soft_lower_limit='-2' soft_upper_limit='2.5'"), (-2.0, 2.5, 0));
    assert_eq!(soft("soft_lower_limit='-4' soft_upper_limit='4'"), (-3.0, 3.0, 0));
    assert_eq!(soft("soft_upper_limit='1'"), (-3.0, 1.0, 0));
    assert_eq!(soft("soft_lower_limit='0' soft_upper_limit='0'"), (-3.0, 3.0, 0), "placeholders");
    assert_eq!(soft(""), (-3.0, 3.0, 0));
    assert_eq!(soft("soft_lower_limit='2' soft_upper_limit='1'"), (-3.0, 3.0, 1));
}

#[test]
fn what_is_no_description_is_refused_with_its_line() {
    assert!(error("robot").contains("found no element"));
    assert!(error("").contains("found no element"));
    assert!(error("<sdf/>").contains("expected <robot> at the top, found <sdf>"));
    assert!(error("<robot>\n<joint name='a'>").contains("the text ends inside <joint>"));
    assert!(error("<robot>\n</joint></robot>").contains("line 2: not well-formed XML"));
    assert!(error("<robot/>\n<robot/>").contains("line 2: a second root element"));
    assert!(error("<robot>\n\n<joint name='a type='x'/></robot>").contains("line 3"));
}

proptest! {
    /// Any text is read or refused with an error.
    #[test]
    fn no_text_breaks_the_reader(text in "(<robot><joint name='a' type='revolute'><limit )?.{0,40}(/></joint></robot>)?") {
        match Description::parse(&text) {
            Ok(description) => description.joints("a").for_each(|joint| {
                joint.limits(&JointLimits::default(), &mut |_| ());
            }),
            Err(error) => prop_assert!(error.to_string().starts_with("robot description: ")),
        }
    }

    /// Every finite pair of limits is kept as it is written, or found.
    #[test]
    fn limits_are_kept_or_found(lower in -4i32..4, upper in -4i32..4, velocity in -2i32..3) {
        let content = format!("<limit lower='{lower}' upper='{upper}' velocity='{velocity}'/>");
        let (limits, found) = of("revolute", &content, JointLimits::default());
        let good = lower < upper && velocity > 0;
        prop_assert_eq!(found.is_empty(), good);
        if good {
            let expected = (f64::from(lower), f64::from(upper), f64::from(velocity));
            prop_assert_eq!((limits.min, limits.max, limits.velocity), expected);
        }
    }
}
