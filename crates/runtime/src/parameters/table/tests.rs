//! Every parameter reads the values that its declaration allows, and no other.

use super::convert::Words;
use super::*;
use vla_engines::EngineKind;
use vla_motion::TransitionMode;
use vla_policy::EncodeDevice;
use vla_policy::observation::{OnViolation, StampSource, Transport};

fn reads_its_words<T: Words + PartialEq + std::fmt::Debug>(parameter: &Param<T>) {
    let declaration = parameter.declare_of("x");
    let Constraint::OneOf(allowed) = &declaration.constraint else { panic!("{}: no words", parameter.name) };
    let read: Vec<T> = allowed.iter().filter_map(|word| parameter.convert(&Value::String(word.clone()))).collect();
    assert_eq!(read, T::ALL, "{}", parameter.name);
    assert!(parameter.convert(&declaration.default).is_some(), "{}: its default", parameter.name);
    let unknown = Value::String("unknown".to_owned());
    assert!(parameter.convert(&unknown).is_none() && declaration.constraint.check(&unknown).is_err());
}

#[test]
fn every_word_of_an_enum_is_allowed_and_read_and_no_other() {
    reads_its_words::<EngineKind>(&engines::KIND);
    reads_its_words::<EncodeDevice>(&engines::ENCODE_DEVICE);
    reads_its_words::<Transport>(&inputs::CAMERA_TRANSPORT);
    reads_its_words::<StampSource>(&inputs::STAMP);
    reads_its_words::<OnViolation>(&inputs::ON_VIOLATION);
    reads_its_words(&qos::RELIABILITY);
    reads_its_words(&qos::DURABILITY);
    reads_its_words(&qos::HISTORY);
    reads_its_words::<TransitionMode>(&motion::MODE);
    reads_its_words(&motion::COMMAND_TYPE);
    reads_its_words(&motion::LIMITS_FROM);
    reads_its_words(&node::TASK_SECOND_GOAL);
}

#[test]
fn zero_and_the_empty_text_switch_off_what_is_optional() {
    assert_eq!(engines::BUDGET_MIB.convert(&Value::Integer(0)), Some(None));
    assert_eq!(engines::BUDGET_MIB.convert(&Value::Integer(7)), Some(Some(7)));
    assert_eq!(engines::BUDGET_MIB.convert(&Value::Integer(-1)), None);
    assert_eq!(motion::STOP_AFTER.convert(&Value::Double(0.0)), Some(None));
    assert_eq!(motion::STOP_AFTER.convert(&Value::Double(20.0)), Some(Some(Span::from_millis(20.0))));
    assert_eq!(inputs::ENABLE_TOPIC.convert(&Value::String(String::new())), Some(None));
    assert!(!inputs::ENABLE_TOPIC.has_type(&Value::Integer(1)));
}

#[test]
fn the_placeholder_stands_for_the_instance_in_name_default_and_description() {
    let declaration = inputs::CAMERA_TOPIC.declare_of("top");
    assert_eq!(declaration.name, "inputs.cameras.top.topic");
    assert_eq!(declaration.default, Value::String("camera/top/image_raw".to_owned()));
    assert!(declaration.description.starts_with("Topic of the view top."));
    assert!(declaration.read_only && !motion::BLEND.declare().read_only);
}
