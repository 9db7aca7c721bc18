//! Parameters as `rcl_interfaces` messages, both ways.

use r2r::rcl_interfaces::msg;

use crate::convert::clean;
use vla_runtime::parameters::{Descriptor, Value, ValueType};

/// A value as a message.
pub(crate) fn value_message(value: &Value) -> msg::ParameterValue {
    let mut message = msg::ParameterValue { type_: value.kind().id(), ..Default::default() };
    match value {
        Value::NotSet => {}
        Value::Bool(v) => message.bool_value = *v,
        Value::Integer(v) => message.integer_value = *v,
        Value::Double(v) => message.double_value = *v,
        Value::String(v) => message.string_value = clean(v.as_str()),
        Value::ByteArray(v) => message.byte_array_value.clone_from(v),
        Value::BoolArray(v) => message.bool_array_value.clone_from(v),
        Value::IntegerArray(v) => message.integer_array_value.clone_from(v),
        Value::DoubleArray(v) => message.double_array_value.clone_from(v),
        Value::StringArray(v) => message.string_array_value = v.iter().map(|text| clean(text.as_str())).collect(),
    }
    message
}

/// A value from a message.
///
/// # Errors
/// The message's type number when there is no such type.
pub(crate) fn value(message: msg::ParameterValue) -> Result<Value, String> {
    let kinds = [
        (ValueType::NotSet, Value::NotSet),
        (ValueType::Bool, Value::Bool(message.bool_value)),
        (ValueType::Integer, Value::Integer(message.integer_value)),
        (ValueType::Double, Value::Double(message.double_value)),
        (ValueType::String, Value::String(message.string_value)),
        (ValueType::ByteArray, Value::ByteArray(message.byte_array_value)),
        (ValueType::BoolArray, Value::BoolArray(message.bool_array_value)),
        (ValueType::IntegerArray, Value::IntegerArray(message.integer_array_value)),
        (ValueType::DoubleArray, Value::DoubleArray(message.double_array_value)),
        (ValueType::StringArray, Value::StringArray(message.string_array_value)),
    ];
    let of_type = kinds.into_iter().find(|(kind, _)| kind.id() == message.type_);
    let unknown =
        || format!("its value has type number {}, which rcl_interfaces/ParameterType does not know", message.type_);
    of_type.map(|(_, value)| value).ok_or_else(unknown)
}

/// A named value as a message.
pub(crate) fn parameter_message(name: &str, value: &Value) -> msg::Parameter {
    msg::Parameter { name: clean(name), value: value_message(value) }
}

/// A descriptor as a message.
pub(crate) fn descriptor_message(descriptor: &Descriptor<'_>) -> msg::ParameterDescriptor {
    let integer = |(from_value, to_value, step)| msg::IntegerRange { from_value, to_value, step };
    let double = |(from_value, to_value, step)| msg::FloatingPointRange { from_value, to_value, step };
    msg::ParameterDescriptor {
        name: clean(descriptor.name),
        type_: descriptor.kind.id(),
        description: clean(descriptor.description),
        additional_constraints: clean(descriptor.additional_constraints.as_str()),
        read_only: descriptor.read_only,
        dynamic_typing: false,
        integer_range: descriptor.integer_range.map(integer).into_iter().collect(),
        floating_point_range: descriptor.floating_point_range.map(double).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_round_trip() {
        for expected in [
            Value::NotSet,
            Value::Bool(true),
            Value::Integer(-3),
            Value::Double(0.5),
            Value::String("pick the cup".into()),
            Value::ByteArray(vec![0, 255]),
            Value::BoolArray(vec![true, false]),
            Value::IntegerArray(vec![i64::MIN]),
            Value::DoubleArray(vec![f64::INFINITY]),
            Value::StringArray(vec![String::new(), "b".into()]),
        ] {
            assert_eq!(value(value_message(&expected)), Ok(expected));
        }
    }

    #[test]
    fn an_unknown_type_number_is_refused() {
        let message = msg::ParameterValue { type_: 77, ..Default::default() };
        assert!(value(message).is_err_and(|reason| reason.contains("77")));
    }
}
