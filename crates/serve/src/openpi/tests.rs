use super::*;
use crate::Protocol;
use crate::protocol::Reply;
use crate::queue::{Body, Request};
use crate::stub::{Stub, policy};

#[derive(Clone)]
enum Given {
    Array(&'static str, Vec<usize>, Vec<u8>),
    Text(&'static str),
    Number(f64),
    Group(Vec<(&'static str, Given)>),
}

fn image(dims: &[usize]) -> Given {
    let length: usize = dims.iter().product();
    Given::Array("|u1", dims.to_vec(), (0..length).map(|index| (index % 251) as u8).collect())
}

fn doubles(dims: &[usize], values: &[f64]) -> Given {
    Given::Array("<f8", dims.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

impl Given {
    /// As `openpi_client.msgpack_numpy` packs it.
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Text(text) => writer.text(text),
            Self::Number(number) => writer.float(*number),
            Self::Group(entries) => {
                writer.map(entries.len());
                for (key, value) in entries {
                    writer.text(key);
                    value.write(writer);
                }
            }
            Self::Array(dtype, dims, data) => {
                writer.map(4);
                writer.bytes(b"__ndarray__");
                writer.bool(true);
                writer.bytes(b"data");
                writer.bytes(data);
                writer.bytes(b"dtype");
                writer.text(dtype);
                writer.bytes(b"shape");
                writer.array(dims.len());
                dims.iter().for_each(|side| writer.integer(*side as i64));
            }
        }
    }
}

fn server() -> Protocol {
    Protocol::Openpi(Openpi::new(policy(), None))
}

fn bytes(entries: Vec<(&'static str, Given)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Given::Group(entries).write(&mut Writer(&mut bytes));
    bytes
}

fn ask(server: &mut Protocol, model: &mut Stub, bytes: Vec<u8>) -> Reply {
    let before = Some(Duration::from_millis(2));
    server.answer(&Request::Message(Body::Shared(bytes.into())), before, model).0
}

fn libero() -> Vec<(&'static str, Given)> {
    vec![
        ("observation/front", image(&[4, 6, 3])),
        ("observation/wrist", image(&[2, 4, 3])),
        ("observation/state", doubles(&[4], &[0.5, -0.25, 1.0, 0.75])),
        ("prompt", Given::Text("pick up the cube")),
    ]
}

#[test]
fn observations_named_as_in_openpis_examples_reach_the_model() {
    let aloha = vec![
        ("images", Given::Group(vec![("front", image(&[4, 6, 3])), ("wrist", image(&[2, 4, 3]))])),
        ("state", doubles(&[4], &[0.5, -0.25, 1.0, 0.75])),
        ("prompt", Given::Text("pick up the cube")),
    ];
    let droid = vec![
        ("observation/front", image(&[4, 6, 3])),
        ("observation/wrist", image(&[2, 4, 3])),
        ("observation/arm", doubles(&[3], &[0.5, -0.25, 1.0])),
        ("observation/hand", Given::Number(0.75)),
        ("prompt", Given::Text("pick up the cube")),
    ];
    for observation in [libero(), aloha, droid] {
        let (mut server, mut model) = (server(), Stub::default());
        let reply = ask(&mut server, &mut model, bytes(observation));
        assert!(!reply.text, "{}", String::from_utf8_lossy(&reply.bytes));
        let sizes: Vec<_> = model.frames.iter().map(|(width, height, _)| (*width, *height)).collect();
        assert_eq!(sizes, [(6, 4), (4, 2)]);
        assert_eq!(model.state, [0.5, -0.25, 1.0, 0.75]);
        assert_eq!((model.instruction.as_str(), model.start.as_str()), ("pick up the cube", "next"));
        let value = parse(&reply.bytes).expect("msgpack");
        let actions = Array::from_numpy(value.get("actions").expect("actions")).expect("an array").expect("an array");
        assert_eq!(
            (actions.shape(), actions.values()[..3].to_vec()),
            ("float32 [3, 19]".into(), vec![0.5, -0.25, 1.0])
        );
        let timing = value.get("server_timing").expect("timing");
        assert_eq!(timing.get("prev_total_ms"), Some(&Value::Float(2.0)));
        assert!(matches!(timing.get("infer_ms"), Some(Value::Float(_))));
    }
}

#[test]
fn images_with_planes_of_colours_become_pixels() {
    let (mut server, mut model) = (server(), Stub::default());
    let planes = Given::Array("|u1", vec![3, 1, 2], vec![1, 2, 10, 20, 100, 200]);
    let mut observation = libero();
    observation[0].1 = planes;
    assert!(!ask(&mut server, &mut model, bytes(observation)).text);
    assert_eq!(model.frames[0], (2, 1, vec![1, 10, 100, 2, 20, 200]));
}

#[test]
fn the_server_speaks_first_and_a_connection_begins_an_episode() {
    let (mut server, mut model) = (server(), Stub::default());
    let (reply, _) = server.answer(&Request::Hello, None, &mut model);
    let metadata = parse(&reply.bytes).expect("msgpack");
    assert_eq!(metadata.get("action_horizon"), Some(&Value::Integer(3)));
    assert_eq!(metadata.get("state").and_then(|state| state.get("arm")), Some(&Value::Integer(3)));
    assert_eq!(model.resets, [None]);
}

#[test]
fn what_does_not_fit_is_answered_with_a_text_that_names_it() {
    let change = |index: usize, given: Given| {
        let mut observation = libero();
        observation[index].1 = given;
        observation
    };
    let without = |index: usize| {
        let mut observation = libero();
        observation.remove(index);
        observation
    };
    let cases = [
        ("observation/front", change(0, Given::Array("<f4", vec![1, 1, 3], vec![0; 12]))),
        ("observation/front", change(0, image(&[1, 4, 6, 3]))),
        ("observation/front", change(0, image(&[0, 6, 3]))),
        ("observation/front", change(0, Given::Text("no image"))),
        ("observation/state", change(2, doubles(&[5], &[0.0; 5]))),
        ("observation/state", change(2, doubles(&[2, 4], &[0.0; 8]))),
        ("observation/state", change(2, doubles(&[4], &[0.0, f64::NAN, 0.0, 0.0]))),
        ("prompt", change(3, Given::Number(1.0))),
        ("front", without(0)),
        ("arm", without(2)),
        ("prompt", without(3)),
    ];
    let (mut server, mut model) = (server(), Stub::default());
    for (name, observation) in cases {
        let reply = ask(&mut server, &mut model, bytes(observation));
        let text = String::from_utf8(reply.bytes).expect("text");
        assert!(reply.text && text.contains(name), "{name} in {text}");
    }
    assert_eq!(model.answered, 0);
    for message in [&b""[..], b"\x93", b"\xc0", b"\xc1"] {
        assert!(ask(&mut server, &mut model, message.to_vec()).text);
    }
    assert!(!ask(&mut server, &mut model, bytes(libero())).text);
}
