//! What a parameter is: name, type, default, what values it takes, and whether it may change while the node runs.

use std::collections::BTreeSet;

use super::names::{check_topic, is_token};
use super::value::{Value, ValueType, double};

/// One parameter as the node declares it.
#[derive(Clone, PartialEq, Debug)]
pub struct Declaration {
    /// Dotted name.
    pub name: String,
    /// Value unless given otherwise; its type is the parameter's.
    pub default: Value,
    /// What it is, with its unit.
    pub description: String,
    /// Which values of the type are allowed.
    pub constraint: Constraint,
    /// Fixed at start.
    pub read_only: bool,
}

/// Which values a parameter takes, beyond its type.
#[derive(Clone, PartialEq, Debug)]
pub enum Constraint {
    /// Every value of the type.
    None,
    /// `from`, `from + step`, ... up to `to`, and `to` itself; a step of zero allows everything between.
    IntegerRange {
        /// Least value.
        from: i64,
        /// Greatest value.
        to: i64,
        /// Distance of the values, or 0.
        step: u64,
    },
    /// As for integers; equality up to rounding, as in rclcpp.
    DoubleRange {
        /// Least value.
        from: f64,
        /// Greatest value.
        to: f64,
        /// Distance of the values, or 0.
        step: f64,
    },
    /// One of these words.
    OneOf(Vec<String>),
    /// One of these numbers.
    IntegersOf(Vec<i64>),
    /// A topic name that ROS 2 takes.
    TopicName,
    /// Empty, or a topic name that ROS 2 takes.
    OptionalTopicName,
    /// Any number of topic names that ROS 2 takes, each once.
    TopicNames,
    /// Empty, or what names an input: letters, digits and underscores.
    InputName,
    /// A double that is a number (an infinity is one).
    NotNan,
    /// Empty, or this many joint names, each once.
    Joints {
        /// Elements of the policy's key.
        width: usize,
    },
    /// Empty, or this many finite numbers.
    PerJoint {
        /// Elements of the policy's key.
        width: usize,
        /// Whether zero is refused.
        nonzero: bool,
    },
    /// Empty, or each of these words exactly once.
    OrderOf(Vec<String>),
}

impl Constraint {
    /// As text, for `additional_constraints` and for refusals; empty when there is none.
    pub fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::IntegerRange { from, to, step } => {
                let step = if *step == 0 { String::new() } else { format!(" in steps of {step}") };
                format!("an integer from {from} to {to}{step}")
            }
            Self::DoubleRange { from, to, step } => {
                let step = if *step == 0.0 { String::new() } else { format!(" in steps of {}", double(*step)) };
                format!("a number from {} to {}{step}", double(*from), double(*to))
            }
            Self::OneOf(words) => {
                let words = words.iter().map(|word| if word.is_empty() { "'' (empty)" } else { word });
                format!("one of {}", words.collect::<Vec<_>>().join(", "))
            }
            Self::IntegersOf(numbers) => {
                format!("one of {}", numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::TopicName => "a ROS 2 topic name: absolute, relative or private (~/name)".to_owned(),
            Self::OptionalTopicName => format!("empty, or {}", Self::TopicName.text()),
            Self::TopicNames => "ROS 2 topic names, each once".to_owned(),
            Self::InputName => "empty, or a name of letters, digits and '_' that starts with no digit".to_owned(),
            Self::NotNan => "not .nan; .inf and -.inf are no limit".to_owned(),
            Self::Joints { width } => format!("{width} joint names, each once"),
            Self::PerJoint { width, nonzero } => {
                format!("{width} finite numbers{}", if *nonzero { ", none of them zero" } else { "" })
            }
            Self::OrderOf(words) => format!("empty, or each of {} exactly once", words.join(", ")),
        }
    }

    /// Checks a value that has the parameter's type already.
    ///
    /// # Errors
    /// What is allowed, and where helpful what is wrong.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let expected = |fits: bool| if fits { Ok(()) } else { Err(format!("expected {}", self.text())) };
        match (self, value) {
            (Self::IntegerRange { from, to, step }, Value::Integer(v)) => {
                expected(in_integer_range(*v, *from, *to, *step))
            }
            (Self::DoubleRange { from, to, step }, Value::Double(v)) => {
                expected(in_double_range(*v, *from, *to, *step))
            }
            (Self::OneOf(words), Value::String(v)) => expected(words.contains(v)),
            (Self::IntegersOf(numbers), Value::Integer(v)) => expected(numbers.contains(v)),
            (Self::TopicName, Value::String(v)) => {
                check_topic(v).map_err(|reason| format!("{reason}; expected {}", self.text()))
            }
            (Self::OptionalTopicName, Value::String(v)) => {
                if v.is_empty() {
                    Ok(())
                } else {
                    Self::TopicName.check(value)
                }
            }
            (Self::TopicNames, Value::StringArray(v)) => {
                if let Some(name) = first_repeated(v) {
                    return Err(format!("'{name}' is in it twice; expected {}", self.text()));
                }
                v.iter().try_for_each(|name| Self::TopicName.check(&Value::String(name.clone())))
            }
            (Self::InputName, Value::String(v)) => expected(v.is_empty() || is_token(v)),
            (Self::NotNan, Value::Double(v)) => expected(!v.is_nan()),
            (Self::Joints { width }, Value::StringArray(v)) => {
                self.counted(v.len(), *width)?;
                match first_repeated(v) {
                    Some(name) => Err(format!("'{name}' is in it twice; expected {}", self.text())),
                    None => expected(v.iter().all(|name| !name.is_empty())),
                }
            }
            (Self::PerJoint { width, nonzero }, Value::DoubleArray(v)) => {
                self.counted(v.len(), *width)?;
                expected(v.iter().all(|x| x.is_finite() && !(*nonzero && *x == 0.0)))
            }
            (Self::OrderOf(words), Value::StringArray(v)) => self.ordered(v, words),
            // A declaration whose constraint is for another type constrains nothing.
            _ => Ok(()),
        }
    }

    fn counted(&self, found: usize, width: usize) -> Result<(), String> {
        if found == 0 || found == width { Ok(()) } else { Err(format!("it has {found}; expected {}", self.text())) }
    }

    fn ordered(&self, found: &[String], words: &[String]) -> Result<(), String> {
        if found.is_empty() {
            return Ok(());
        }
        let mut reasons = Vec::new();
        if let Some(name) = first_repeated(found) {
            reasons.push(format!("'{name}' is in it twice"));
        }
        if let Some(name) = found.iter().find(|name| !words.contains(name)) {
            reasons.push(format!("'{name}' is not one of them"));
        }
        let missing: Vec<&str> = words.iter().filter(|word| !found.contains(word)).map(String::as_str).collect();
        if !missing.is_empty() {
            reasons.push(format!("{} missing from it", missing.join(", ")));
        }
        if reasons.is_empty() { Ok(()) } else { Err(format!("{}; expected {}", reasons.join(", "), self.text())) }
    }
}

impl Declaration {
    /// The parameter's type.
    pub const fn kind(&self) -> ValueType {
        self.default.kind()
    }

    /// The parts of `rcl_interfaces/msg/ParameterDescriptor`; `dynamic_typing` is always false.
    pub fn descriptor(&self) -> Descriptor<'_> {
        let (mut integer_range, mut floating_point_range) = (None, None);
        let additional_constraints = match self.constraint {
            // The descriptor has fields of its own for these.
            Constraint::IntegerRange { from, to, step } => {
                integer_range = Some((from, to, step));
                String::new()
            }
            Constraint::DoubleRange { from, to, step } => {
                floating_point_range = Some((from, to, step));
                String::new()
            }
            _ => self.constraint.text(),
        };
        Descriptor {
            name: &self.name,
            kind: self.kind(),
            description: &self.description,
            additional_constraints,
            read_only: self.read_only,
            integer_range,
            floating_point_range,
        }
    }
}

/// What `describe_parameters` answers.
#[derive(Clone, PartialEq, Debug)]
pub struct Descriptor<'a> {
    /// Dotted name.
    pub name: &'a str,
    /// Type of its values.
    pub kind: ValueType,
    /// What it is, with its unit.
    pub description: &'a str,
    /// What the ranges cannot say; may be empty.
    pub additional_constraints: String,
    /// Fixed at start.
    pub read_only: bool,
    /// `(from_value, to_value, step)`.
    pub integer_range: Option<(i64, i64, u64)>,
    /// `(from_value, to_value, step)`.
    pub floating_point_range: Option<(f64, f64, f64)>,
}

/// As rclcpp: both ends always fit, whatever the step.
fn in_integer_range(v: i64, from: i64, to: i64, step: u64) -> bool {
    if v == from || v == to {
        return true;
    }
    (from..=to).contains(&v) && (step == 0 || v.abs_diff(from).is_multiple_of(step))
}

/// As rclcpp, but NaN is in no range.
fn in_double_range(v: f64, from: f64, to: f64, step: f64) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= f64::EPSILON * (a + b).abs() * 100.0;
    let same = |a: f64, b: f64| a == b || (a.is_finite() && b.is_finite() && near(a, b));
    if same(v, from) || same(v, to) {
        return true;
    }
    (from..=to).contains(&v) && (step == 0.0 || same(v, from + ((v - from) / step).round() * step))
}

fn first_repeated(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn integer_ranges_are_rclcpps() {
        let range = Constraint::IntegerRange { from: 0, to: 10, step: 4 };
        let fits = |v| range.check(&Value::Integer(v)).is_ok();
        assert_eq!((-1..=11).filter(|&v| fits(v)).collect::<Vec<_>>(), [0, 4, 8, 10]);
        let all = Constraint::IntegerRange { from: i64::MIN, to: i64::MAX, step: 3 };
        assert!(all.check(&Value::Integer(i64::MIN + 3)).is_ok());
        assert!(all.check(&Value::Integer(i64::MAX - 1)).is_err());
    }

    #[test]
    fn double_ranges_are_rclcpps_and_nan_is_in_none() {
        let range = Constraint::DoubleRange { from: 0.0, to: 1.0, step: 0.1 };
        let fits = |v| range.check(&Value::Double(v)).is_ok();
        assert!(fits(0.1 + 0.2) && fits(1.0) && fits(0.0) && fits(0.7));
        assert!(!fits(0.25) && !fits(-0.1) && !fits(1.1) && !fits(f64::NAN) && !fits(f64::INFINITY));
        let wide = Constraint::DoubleRange { from: 0.0, to: f64::INFINITY, step: 0.0 };
        assert!(wide.check(&Value::Double(f64::INFINITY)).is_ok());
        assert!(wide.check(&Value::Double(f64::NAN)).is_err());
        assert!(wide.check(&Value::Double(-1.0)).is_err());
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let reason = |constraint: Constraint, value: Value| constraint.check(&value).expect_err("refused");
        assert_eq!(
            reason(Constraint::DoubleRange { from: 0.0, to: 100.0, step: 0.0 }, Value::Double(500.0)),
            "expected a number from 0.0 to 100.0"
        );
        assert_eq!(
            reason(Constraint::OneOf(strings(&["skip", "hold"])), Value::String("go".into())),
            "expected one of skip, hold"
        );
        assert_eq!(reason(Constraint::IntegersOf(vec![1, 2, 4]), Value::Integer(3)), "expected one of 1, 2, 4");
        assert!(reason(Constraint::TopicName, Value::String("a b".into())).starts_with("it contains ' '"));
        assert_eq!(
            reason(Constraint::Joints { width: 3 }, Value::StringArray(strings(&["a", "b"]))),
            "it has 2; expected 3 joint names, each once"
        );
        assert!(Constraint::OptionalTopicName.check(&Value::String(String::new())).is_ok());
        assert!(reason(Constraint::OptionalTopicName, Value::String("a b".into())).starts_with("it contains ' '"));
        assert!(
            reason(Constraint::Joints { width: 2 }, Value::StringArray(strings(&["a", "a"])))
                .starts_with("'a' is in it twice")
        );
        assert!(Constraint::Joints { width: 1 }.check(&Value::StringArray(strings(&[""]))).is_err());
        let scale = Constraint::PerJoint { width: 2, nonzero: true };
        assert_eq!(
            reason(scale.clone(), Value::DoubleArray(vec![1.0, 0.0])),
            "expected 2 finite numbers, none of them zero"
        );
        assert!(scale.check(&Value::DoubleArray(vec![1.0, -1.0])).is_ok());
    }

    #[test]
    fn a_load_order_names_what_it_misses_and_repeats() {
        let order = Constraint::OrderOf(strings(&["vision", "language", "step"]));
        assert!(order.check(&Value::StringArray(vec![])).is_ok());
        assert!(order.check(&Value::StringArray(strings(&["step", "vision", "language"]))).is_ok());
        assert_eq!(
            order.check(&Value::StringArray(strings(&["vision", "vision", "stop"]))).expect_err("refused"),
            "'vision' is in it twice, 'stop' is not one of them, language, step missing from it; \
             expected empty, or each of vision, language, step exactly once"
        );
    }
}
