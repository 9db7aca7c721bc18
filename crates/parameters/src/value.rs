//! A parameter's value and its type, as `rcl_interfaces` knows them.

use std::fmt;

/// Longest piece of a text value that an error message repeats.
const SHOWN_CHARS: usize = 80;

/// Type of a parameter. The numbers are those of `rcl_interfaces/msg/ParameterType`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ValueType {
    /// No value.
    NotSet = 0,
    /// `true` or `false`.
    Bool = 1,
    /// 64-bit signed.
    Integer = 2,
    /// 64-bit floating point.
    Double = 3,
    /// UTF-8 text.
    String = 4,
    /// Bytes.
    ByteArray = 5,
    /// Booleans.
    BoolArray = 6,
    /// 64-bit signed integers.
    IntegerArray = 7,
    /// 64-bit floating point numbers.
    DoubleArray = 8,
    /// UTF-8 texts.
    StringArray = 9,
}

impl ValueType {
    /// The number of `rcl_interfaces/msg/ParameterType`.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Whether values of this type are lists.
    pub const fn is_array(self) -> bool {
        self as u8 >= Self::ByteArray as u8
    }
}

impl fmt::Display for ValueType {
    /// The words of rclcpp.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSet => "not set",
            Self::Bool => "bool",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::String => "string",
            Self::ByteArray => "byte_array",
            Self::BoolArray => "bool_array",
            Self::IntegerArray => "integer_array",
            Self::DoubleArray => "double_array",
            Self::StringArray => "string_array",
        })
    }
}

/// Value of a parameter: one variant a [`ValueType`].
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// No value.
    NotSet,
    /// `true` or `false`.
    Bool(bool),
    /// 64-bit signed.
    Integer(i64),
    /// 64-bit floating point.
    Double(f64),
    /// UTF-8 text.
    String(String),
    /// Bytes.
    ByteArray(Vec<u8>),
    /// Booleans.
    BoolArray(Vec<bool>),
    /// 64-bit signed integers.
    IntegerArray(Vec<i64>),
    /// 64-bit floating point numbers.
    DoubleArray(Vec<f64>),
    /// UTF-8 texts.
    StringArray(Vec<String>),
}

impl Value {
    /// Its type.
    pub const fn kind(&self) -> ValueType {
        match self {
            Self::NotSet => ValueType::NotSet,
            Self::Bool(_) => ValueType::Bool,
            Self::Integer(_) => ValueType::Integer,
            Self::Double(_) => ValueType::Double,
            Self::String(_) => ValueType::String,
            Self::ByteArray(_) => ValueType::ByteArray,
            Self::BoolArray(_) => ValueType::BoolArray,
            Self::IntegerArray(_) => ValueType::IntegerArray,
            Self::DoubleArray(_) => ValueType::DoubleArray,
            Self::StringArray(_) => ValueType::StringArray,
        }
    }

    /// Whether it is a list without elements.
    pub fn is_empty_array(&self) -> bool {
        match self {
            Self::ByteArray(v) => v.is_empty(),
            Self::BoolArray(v) => v.is_empty(),
            Self::IntegerArray(v) => v.is_empty(),
            Self::DoubleArray(v) => v.is_empty(),
            Self::StringArray(v) => v.is_empty(),
            _ => false,
        }
    }

    /// This value as one of type `wanted`, or itself back when it is not one.
    ///
    /// rclcpp takes no other type at all. Here a whole number stands for a double (YAML writes `30` for `30.0`), and an
    /// empty list, which has no type of its own in YAML, for an empty list of any type.
    ///
    /// # Errors
    /// The value itself, unchanged.
    pub fn fit(self, wanted: ValueType) -> Result<Self, Self> {
        match (self, wanted) {
            (Self::Integer(n), ValueType::Double) if exact(n) => Ok(Self::Double(n as f64)),
            (Self::IntegerArray(v), ValueType::DoubleArray) if v.iter().all(|&n| exact(n)) => {
                Ok(Self::DoubleArray(v.into_iter().map(|n| n as f64).collect()))
            }
            (value, wanted) if value.kind() == wanted => Ok(value),
            (value, wanted) if value.is_empty_array() => Self::empty_array(wanted).ok_or(value),
            (value, _) => Err(value),
        }
    }

    fn empty_array(kind: ValueType) -> Option<Self> {
        Some(match kind {
            ValueType::ByteArray => Self::ByteArray(Vec::new()),
            ValueType::BoolArray => Self::BoolArray(Vec::new()),
            ValueType::IntegerArray => Self::IntegerArray(Vec::new()),
            ValueType::DoubleArray => Self::DoubleArray(Vec::new()),
            ValueType::StringArray => Self::StringArray(Vec::new()),
            _ => return None,
        })
    }
}

/// Whether the integer is the same number as a double.
fn exact(n: i64) -> bool {
    n as f64 as i128 == i128::from(n)
}

impl fmt::Display for Value {
    /// As YAML writes it (strings quoted), shortened where it is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self {
            Self::NotSet => "no value".to_owned(),
            Self::Bool(v) => v.to_string(),
            Self::Integer(v) => v.to_string(),
            Self::Double(v) => double(*v),
            Self::String(v) => quoted(v),
            Self::ByteArray(v) => list(v, u8::to_string),
            Self::BoolArray(v) => list(v, bool::to_string),
            Self::IntegerArray(v) => list(v, i64::to_string),
            Self::DoubleArray(v) => list(v, |x| double(*x)),
            Self::StringArray(v) => list(v, |s| quoted(s)),
        };
        match shown.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => write!(f, "{}...", shown.get(..end).unwrap_or_default()),
            None => f.write_str(&shown),
        }
    }
}

/// A double in YAML's spelling: `0.5`, `30.0`, `.inf`, `.nan`.
pub fn double(v: f64) -> String {
    if v.is_nan() {
        ".nan".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        format!("{v:?}")
    }
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

fn list<T>(values: &[T], show: impl Fn(&T) -> String) -> String {
    // Each shows at least one character, so more than this many never fit.
    let shown: Vec<String> = values.iter().take(SHOWN_CHARS).map(show).collect();
    format!("[{}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_stands_for_a_double_only_when_it_is_the_same_number() {
        assert_eq!(Value::Integer(30).fit(ValueType::Double), Ok(Value::Double(30.0)));
        let odd = Value::Integer((1 << 53) + 1);
        assert_eq!(odd.clone().fit(ValueType::Double), Err(odd));
        let greatest = Value::Integer(i64::MAX);
        assert_eq!(greatest.clone().fit(ValueType::Double), Err(greatest));
        assert_eq!(
            Value::IntegerArray(vec![1, -2]).fit(ValueType::DoubleArray),
            Ok(Value::DoubleArray(vec![1.0, -2.0]))
        );
        assert_eq!(Value::Double(30.0).fit(ValueType::Integer), Err(Value::Double(30.0)));
    }

    #[test]
    fn an_empty_list_is_one_of_any_type_and_a_full_one_is_not() {
        assert_eq!(Value::BoolArray(vec![]).fit(ValueType::StringArray), Ok(Value::StringArray(vec![])));
        assert_eq!(Value::StringArray(vec![]).fit(ValueType::String), Err(Value::StringArray(vec![])));
        let full = Value::BoolArray(vec![true]);
        assert_eq!(full.clone().fit(ValueType::StringArray), Err(full));
    }

    #[test]
    fn values_show_as_yaml_and_long_ones_are_cut() {
        assert_eq!(Value::Double(f64::NEG_INFINITY).to_string(), "-.inf");
        assert_eq!(Value::Double(30.0).to_string(), "30.0");
        assert_eq!(Value::StringArray(vec!["a".into(), "b".into()]).to_string(), "['a', 'b']");
        let long = Value::String("é".repeat(500)).to_string();
        assert_eq!(long.chars().count(), SHOWN_CHARS + 3, "{long}");
    }
}
