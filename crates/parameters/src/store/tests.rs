//! What rclcpp's parameters do, and what they say in addition.

use proptest::prelude::*;

use super::super::declaration::Constraint;
use super::super::value::ValueType;
use super::*;

fn declaration(name: &str, default: Value, constraint: Constraint, read_only: bool) -> Declaration {
    Declaration { name: name.to_owned(), default, description: format!("What {name} is."), constraint, read_only }
}

fn declarations() -> Vec<Declaration> {
    let rate = Constraint::DoubleRange { from: 0.0, to: 100.0, step: 0.0 };
    let mode = Constraint::OneOf(vec!["skip".to_owned(), "hold".to_owned()]);
    vec![
        declaration("rate_hz", Value::Double(5.0), rate, false),
        declaration("seed", Value::Integer(0), Constraint::IntegerRange { from: 0, to: i64::MAX, step: 0 }, false),
        declaration("inputs.mode", Value::String("skip".into()), mode, false),
        declaration("inputs.joints.topic", Value::String("joint_states".into()), Constraint::TopicName, true),
        declaration("inputs.joints.names", Value::StringArray(vec!["a".into()]), Constraint::None, false),
        declaration("inputs_of_others", Value::Bool(false), Constraint::None, false),
    ]
}

fn store() -> Store {
    Store::declare(declarations(), &[]).expect("valid declarations")
}

fn given(name: &str, value: Value) -> Override {
    Override { name: name.to_owned(), value, origin: Origin::Argument(format!("-p {name}")), shared: false }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn overrides_replace_defaults_and_the_last_wins() {
    let overrides =
        [given("seed", Value::Integer(1)), given("rate_hz", Value::Integer(30)), given("seed", Value::Integer(2))];
    let store = Store::declare(declarations(), &overrides).expect("valid");
    assert_eq!(store.get("seed"), Some(&Value::Integer(2)));
    assert_eq!(store.get("rate_hz"), Some(&Value::Double(30.0)), "a whole number given for a double is stored as one");
    assert_eq!(store.get("inputs.mode"), Some(&Value::String("skip".into())));
}

#[test]
fn every_wrong_override_is_reported_with_its_origin() {
    let overrides = [
        given("sead", Value::Integer(1)),
        given("seed", Value::String("one".into())),
        given("rate_hz", Value::Double(1000.0)),
        given("inputs.joints.topic", Value::String("a b".into())),
    ];
    let problems = Store::declare(declarations(), &overrides).expect_err("wrong");
    let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(messages[0], "-p sead: there is no parameter 'sead': did you mean 'seed'?");
    assert_eq!(messages[1], "-p seed: parameter 'seed' is of type integer; 'one' is of type string");
    assert_eq!(messages[2], "-p rate_hz: parameter 'rate_hz' cannot be 1000.0: expected a number from 0.0 to 100.0");
    assert!(
        messages[3]
            .starts_with("-p inputs.joints.topic: parameter 'inputs.joints.topic' cannot be 'a b': it contains ' '")
    );
    assert_eq!(messages.len(), 4);
}

#[test]
fn a_file_of_nothing_but_mistakes_is_given_up_on() {
    let overrides: Vec<Override> =
        (0..100_000).map(|i| given(&format!("inputs.mistake{i}"), Value::Integer(i))).collect();
    let problems = Store::declare(declarations(), &overrides).expect_err("wrong");
    assert_eq!(problems.len(), ENOUGH);
    let shown = problems.to_string();
    assert!(shown.lines().count() < 60 && shown.ends_with("more"), "{shown}");
}

#[test]
fn declarations_that_contradict_themselves_are_refused() {
    let twice = [declarations(), declarations()].concat();
    assert_eq!(Store::declare(twice, &[]).expect_err("twice").len(), declarations().len());
    let outside = declaration("x", Value::Integer(9), Constraint::IntegersOf(vec![1]), false);
    assert!(Store::declare(vec![outside], &[]).is_err());
}

#[test]
fn a_refused_value_names_both_types_the_range_or_the_choices() {
    let mut store = store();
    let mut reason = |name: &str, value: Value| store.set(name, value).expect_err(name).to_string();
    assert_eq!(
        reason("rate_hz", Value::String("fast".into())),
        "parameter 'rate_hz' is of type double; 'fast' is of type string"
    );
    assert_eq!(reason("seed", Value::Double(1.5)), "parameter 'seed' is of type integer; 1.5 is of type double");
    assert_eq!(
        reason("rate_hz", Value::Double(101.0)),
        "parameter 'rate_hz' cannot be 101.0: expected a number from 0.0 to 100.0"
    );
    assert!(reason("seed", Value::Integer(-1)).ends_with("expected an integer from 0 to 9223372036854775807"));
    assert_eq!(
        reason("inputs.mode", Value::String("run".into())),
        "parameter 'inputs.mode' cannot be 'run': expected one of skip, hold"
    );
    assert!(reason("inputs.joints.topic", Value::String("x".into())).contains("read-only"));
    assert_eq!(reason("sede", Value::Integer(1)), "there is no parameter 'sede': did you mean 'seed'?");
    assert!(reason("seed", Value::NotSet).contains("cannot be unset"));
}

#[test]
fn an_atomic_change_is_all_or_nothing() {
    let mut store = store();
    let before = store.clone();
    let changes = [("seed".to_owned(), Value::Integer(7)), ("rate_hz".to_owned(), Value::Double(-1.0))];
    assert!(store.set_atomically(&changes).is_err());
    assert_eq!(store.get("seed"), before.get("seed"));
    assert_eq!(store.set_atomically(&[]), Err(Error::NothingToSet));

    let changes = [("seed", 7), ("seed", 8)].map(|(name, seed)| (name.to_owned(), Value::Integer(seed)));
    let made = store.set_atomically(&changes).expect("valid");
    assert_eq!(made, [Change { name: "seed".into(), old: Value::Integer(0), new: Value::Integer(8) }]);
    assert_eq!(store.get("seed"), Some(&Value::Integer(8)));
}

#[test]
fn an_empty_list_sets_a_list_whatever_type_the_client_took_it_for() {
    let mut store = store();
    let change = store.set("inputs.joints.names", Value::BoolArray(vec![])).expect("empty");
    assert_eq!(change.new, Value::StringArray(vec![]));
}

#[test]
fn one_unknown_name_leaves_an_answer_empty_as_in_rclcpp() {
    let store = store();
    let known = strings(&["seed", "rate_hz"]);
    let unknown = strings(&["seed", "none"]);
    assert_eq!(store.get_parameters(&known), [&Value::Integer(0), &Value::Double(5.0)]);
    assert_eq!(store.get_parameter_types(&known), [2, 3]);
    assert_eq!(store.describe_parameters(&known).len(), 2);
    assert!(store.get_parameters(&unknown).is_empty());
    assert!(store.get_parameter_types(&unknown).is_empty());
    assert!(store.describe_parameters(&unknown).is_empty());
}

#[test]
fn descriptors_carry_range_choices_and_read_only() {
    let store = store();
    let rate = store.describe("rate_hz").expect("known");
    assert_eq!((rate.floating_point_range, rate.integer_range), (Some((0.0, 100.0, 0.0)), None));
    assert_eq!((rate.description, rate.read_only, rate.kind), ("What rate_hz is.", false, ValueType::Double));
    assert_eq!(rate.additional_constraints, "");
    let mode = store.describe("inputs.mode").expect("known");
    assert_eq!(mode.additional_constraints, "one of skip, hold");
    assert!(store.describe("inputs.joints.topic").expect("known").read_only);
}

#[test]
fn lists_follow_prefixes_and_depth_as_in_rclcpp() {
    let store = store();
    let names = |prefixes: &[&str], depth| store.list_parameters(&strings(prefixes), depth).names;
    let all = ["inputs.joints.names", "inputs.joints.topic", "inputs.mode", "inputs_of_others", "rate_hz", "seed"];
    assert_eq!(names(&[], 0), all);
    assert_eq!(names(&[], 1), ["inputs_of_others", "rate_hz", "seed"]);
    assert_eq!(names(&[], 2), ["inputs.mode", "inputs_of_others", "rate_hz", "seed"]);
    assert_eq!(names(&["inputs"], 0), ["inputs.joints.names", "inputs.joints.topic", "inputs.mode"]);
    assert_eq!(names(&["inputs"], 1), ["inputs.mode"]);
    assert_eq!(names(&["inputs.joints", "seed"], 1), ["inputs.joints.names", "inputs.joints.topic", "seed"]);
    assert!(names(&["input", "inputs.", ""], 0).is_empty());
    assert_eq!(store.list_parameters(&[], 0).prefixes, ["inputs.joints", "inputs"]);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::NotSet),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (-10i64..200).prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Double),
        (-10.0..200.0).prop_map(Value::Double),
        "skip|hold|stop|[a-z/~]{0,6}".prop_map(Value::String),
        any::<Vec<u8>>().prop_map(Value::ByteArray),
        any::<Vec<bool>>().prop_map(Value::BoolArray),
        any::<Vec<i64>>().prop_map(Value::IntegerArray),
        any::<Vec<f64>>().prop_map(Value::DoubleArray),
        proptest::collection::vec("[a-z]{0,3}", 0..4).prop_map(Value::StringArray),
    ]
}

fn any_change() -> impl Strategy<Value = (String, Value)> {
    let name = prop_oneof![
        4 => proptest::sample::select(declarations().into_iter().map(|d| d.name).collect::<Vec<_>>()),
        1 => "[a-z._]{0,12}",
    ];
    (name, any_value())
}

proptest! {
    /// What was set is what is read; what was refused changed nothing; a value always satisfies its declaration.
    #[test]
    fn set_and_get_agree(changes in proptest::collection::vec(any_change(), 1..20)) {
        let mut store = store();
        for (name, value) in changes {
            let before = store.clone();
            match store.set(&name, value) {
                Ok(change) => {
                    prop_assert_eq!(store.get(&name), Some(&change.new));
                    prop_assert_eq!(before.get(&name), Some(&change.old));
                    let declaration = store.declaration(&name).expect("declared");
                    prop_assert!(!declaration.read_only);
                    prop_assert_eq!(change.new.kind(), declaration.kind());
                    prop_assert_eq!(declaration.constraint.check(&change.new), Ok(()));
                    for other in before.names().filter(|other| *other != name) {
                        prop_assert_eq!(store.get(other), before.get(other));
                    }
                }
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty());
                    for other in before.names() {
                        prop_assert_eq!(store.get(other), before.get(other));
                    }
                }
            }
        }
    }

    /// An atomic change is the single changes one after another, or nothing.
    #[test]
    fn atomic_changes_are_all_or_nothing(changes in proptest::collection::vec(any_change(), 1..6)) {
        let (mut atomic, mut single) = (store(), store());
        let all_fit = changes.iter().all(|(name, value)| single.set(name, value.clone()).is_ok());
        prop_assert_eq!(atomic.set_atomically(&changes).is_ok(), all_fit);
        let expected = if all_fit { single } else { store() };
        for name in expected.names() {
            prop_assert_eq!(atomic.get(name), expected.get(name));
        }
    }

    /// A listing by prefix and depth is the filtered full listing, whatever the prefixes.
    #[test]
    fn listings_are_parts_of_the_whole(prefixes in proptest::collection::vec("[a-z._]{0,14}|inputs|inputs.joints", 0..3), depth in 0u64..4) {
        let store = store();
        let listing = store.list_parameters(&prefixes, depth);
        let all = store.list_parameters(&[], 0).names;
        prop_assert!(listing.names.iter().all(|name| all.contains(name)));
        let parents: Vec<&str> = listing.names.iter().filter_map(|name| Some(name.rsplit_once('.')?.0)).collect();
        prop_assert!(listing.prefixes.iter().all(|prefix| parents.contains(&prefix.as_str())));
        prop_assert!(parents.iter().all(|parent| listing.prefixes.iter().any(|prefix| prefix == parent)));
    }
}
