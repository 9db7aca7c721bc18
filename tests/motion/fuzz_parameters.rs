//! Parameter files and values from anywhere: never a panic, and what is accepted can be used.

use crate::shape;
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape, Value, yaml};

const PIECES: [&str; 40] = [
    "/**",
    "/robot/vla_trt",
    "vla_trt",
    "/*/x",
    "ros__parameters",
    ": ",
    ":\n",
    "\n",
    "  ",
    "    ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "'",
    "\"",
    "# ",
    "&a ",
    "*a",
    "!t ",
    "!!str ",
    "~",
    "null",
    ".inf",
    "yes",
    "1",
    "-0x1f",
    "1.5e3",
    "rate_hz",
    "inputs.joints.topic",
    "state",
    "arm",
    "joints",
    "limits",
    "|\n",
    "? ",
    "\u{e9}",
    "\u{feff}",
];

fn shape() -> PolicyShape {
    PolicyShape { denoise_steps: vec![1, 4], ..shape::arm() }
}

fn overrides() -> Overrides {
    let mut overrides = Overrides::new(NodeName::new("/robot", "vla_trt").expect("valid name"));
    overrides.set("policy", Value::String("p".into()));
    overrides.set("state.arm.joints", Value::StringArray(vec!["a".into(), "b".into()]));
    overrides
}

/// Reads the text as a file; what it gives is either accepted, and then can be set again live, or refused in words.
fn read(text: &str) {
    let mut given = overrides();
    match given.add_text("fuzz.yaml", text) {
        Err(problems) => assert!(!problems.is_empty() && !problems.to_string().is_empty()),
        Ok(()) => match Parameters::new(shape(), &given) {
            Err(problems) => assert!(!problems.is_empty() && !problems.to_string().is_empty()),
            Ok(mut parameters) => {
                let before = parameters.settings().clone();
                let names: Vec<String> = parameters.store().names().map(str::to_owned).collect();
                for name in names {
                    let value = parameters.store().get(&name).cloned().unwrap_or(Value::NotSet);
                    let read_only = parameters.store().describe(&name).is_some_and(|descriptor| descriptor.read_only);
                    assert_eq!(parameters.set(&name, value).is_ok(), !read_only, "{name}");
                }
                assert_eq!(*parameters.settings(), before);
            }
        },
    }
}

#[test]
fn any_text_as_parameter_file() {
    bolero::check!().with_iterations(3000).for_each(|bytes: &[u8]| read(&String::from_utf8_lossy(bytes)));
}

#[test]
fn any_pieces_of_yaml_as_parameter_file() {
    bolero::check!().with_iterations(6000).with_type::<Vec<u8>>().for_each(|picks| {
        let pieces = picks.iter().map(|pick| PIECES[usize::from(*pick) % PIECES.len()]);
        let text: String = pieces.collect();
        read(&text);
        read(&format!("/**:\n  ros__parameters:\n    {text}"));
    });
}

#[test]
fn any_text_as_value_and_argument() {
    bolero::check!().with_iterations(6000).with_type::<(Vec<u8>, String)>().for_each(|(picks, text)| {
        let pieces: String = picks.iter().map(|pick| PIECES[usize::from(*pick) % PIECES.len()]).collect();
        for text in [text, &pieces] {
            if let Err(reason) = yaml::parse_value(text) {
                assert!(!reason.is_empty());
            }
            let mut given = overrides();
            for argument in [text.clone(), format!("rate_hz:={text}"), format!("{text}:seed:=1")] {
                if let Err(error) = given.add_argument(&argument) {
                    assert!(!error.to_string().is_empty());
                }
            }
            assert!(NodeName::new(text, "x").is_err() || !text.contains(' '));
        }
    });
}
