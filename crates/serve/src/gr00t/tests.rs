use super::*;
use crate::Failure;
use crate::Protocol;
use crate::queue::{Body, Buffer, Request};
use crate::stub::{Stub, policy};

/// An array of a request: dims, then a `.npy` of this element type.
#[derive(Clone)]
struct Npy {
    descr: &'static str,
    dims: Vec<usize>,
    data: Vec<u8>,
}

impl Npy {
    fn u8(dims: &[usize], seed: u8) -> Self {
        let length: usize = dims.iter().product();
        let data = (0..length).map(|index| (index % 251) as u8 ^ seed).collect();
        Self { descr: "|u1", dims: dims.to_vec(), data }
    }

    fn f32(dims: &[usize], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { descr: "<f4", dims: dims.to_vec(), data }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        let dims: Vec<String> = self.dims.iter().map(|side| format!("{side},")).collect();
        let header =
            format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}\n", self.descr, dims.join(" "));
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&self.data);
        writer.map(2);
        writer.text("__ndarray_class__");
        writer.bool(true);
        writer.text("as_npy");
        writer.bytes(&file);
    }
}

#[derive(Clone)]
struct Question {
    flat: bool,
    arrays: Vec<(&'static str, &'static str, Npy)>,
    /// Lists around each instruction.
    language: Vec<(&'static str, usize)>,
    noise: Option<Npy>,
    seed: Option<i64>,
}

impl Question {
    fn new(flat: bool) -> Self {
        Self {
            flat,
            arrays: vec![
                ("video", "wrist", Npy::u8(&[1, 1, 2, 4, 3], 1)),
                ("video", "front", Npy::u8(&[1, 1, 4, 6, 3], 0)),
                ("state", "arm", Npy::f32(&[1, 1, 3], &[0.5, -0.25, 1.0])),
                ("state", "hand", Npy::f32(&[1, 1, 1], &[0.75])),
                // More than the policy needs.
                ("video", "back", Npy::u8(&[1, 1, 1, 1, 3], 2)),
            ],
            language: vec![("task", if flat { 1 } else { 2 })],
            noise: None,
            seed: None,
        }
    }

    fn with(mut self, key: &str, array: Npy) -> Self {
        self.arrays.iter_mut().filter(|(_, name, _)| *name == key).for_each(|(.., held)| *held = array.clone());
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.arrays.retain(|(_, name, _)| *name != key);
        self
    }

    fn observation(&self, writer: &mut Writer<'_>) {
        let sentence = |writer: &mut Writer<'_>, lists: usize| {
            (0..lists).for_each(|_| writer.array(1));
            writer.text("pick up the cube");
        };
        if self.flat {
            writer.map(self.arrays.len() + self.language.len());
            for (modality, key, array) in &self.arrays {
                writer.text(&format!("{modality}.{key}"));
                array.write(writer);
            }
            for (key, lists) in &self.language {
                writer.text(key);
                sentence(writer, *lists);
            }
            return;
        }
        writer.map(3);
        for modality in ["video", "state"] {
            writer.text(modality);
            let of: Vec<_> = self.arrays.iter().filter(|(held, ..)| *held == modality).collect();
            writer.map(of.len());
            for (_, key, array) in of {
                writer.text(key);
                array.write(writer);
            }
        }
        writer.text("language");
        writer.map(self.language.len());
        for (key, lists) in &self.language {
            writer.text(key);
            sentence(writer, *lists);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        request("get_action", None, |writer| {
            writer.map(2);
            writer.text("observation");
            self.observation(writer);
            writer.text("options");
            match (&self.noise, self.seed) {
                (None, None) => writer.nil(),
                (noise, seed) => {
                    writer.map(usize::from(noise.is_some()) + usize::from(seed.is_some()));
                    if let Some(noise) = noise {
                        writer.text("noise");
                        noise.write(writer);
                    }
                    if let Some(seed) = seed {
                        writer.text("seed");
                        writer.integer(seed);
                    }
                }
            }
        })
    }
}

fn request(endpoint: &str, token: Option<&str>, data: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer(&mut bytes);
    writer.map(2 + usize::from(token.is_some()));
    writer.text("endpoint");
    writer.text(endpoint);
    if let Some(token) = token {
        writer.text("api_token");
        writer.text(token);
    }
    writer.text("data");
    data(&mut writer);
    bytes
}

/// The reply's bytes, and the error that they hold.
fn ask(protocol: &mut Protocol, model: &mut Stub, message: Vec<u8>) -> (Vec<u8>, Option<String>) {
    let filled = message.len();
    let request = Request::Message(Body::Buffer(Buffer { memory: message, filled }));
    let (reply, _) = protocol.answer(&request, None, model);
    let error = parse(&reply.bytes).expect("msgpack").get("error").and_then(Value::text).map(str::to_owned);
    (reply.bytes, error)
}

fn server() -> Protocol {
    Protocol::Gr00t(Gr00t::new(policy(), None))
}

fn refused(question: &Question) -> String {
    let (mut server, mut model) = (server(), Stub::default());
    let (_, error) = ask(&mut server, &mut model, question.bytes());
    assert_eq!(model.answered, 0);
    // And the next one is answered.
    let (_, next) = ask(&mut server, &mut model, Question::new(false).bytes());
    assert_eq!((next, model.answered), (None, 1));
    error.expect("refused")
}

/// Action arrays of a reply, by name.
fn actions(reply: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let value = parse(reply).expect("msgpack");
    let Value::Array(pair) = &value else { panic!("expected a pair, found {value}") };
    let [Value::Map(actions), Value::Map(info)] = pair.as_slice() else { panic!("expected actions and info") };
    assert!(info.is_empty());
    let array = |(key, value): &(Value<'_>, Value<'_>)| {
        let array = Array::from_npy(value).expect("an array").expect("an array");
        (key.text().expect("a name").to_owned(), array.dims.clone(), array.values())
    };
    actions.iter().map(array).collect()
}

#[test]
fn an_observation_of_either_form_reaches_the_model_and_its_actions_come_back_by_key() {
    for flat in [false, true] {
        let (mut server, mut model) = (server(), Stub::default());
        let question = Question::new(flat);
        let (reply, error) = ask(&mut server, &mut model, question.bytes());
        assert_eq!(error, None);
        // Views in the policy's order, not the client's.
        let frame = |index: usize, width, height| (width, height, question.arrays[index].2.data.clone());
        assert_eq!(model.frames, [frame(1, 6, 4), frame(0, 4, 2)]);
        assert_eq!(model.state, [0.5, -0.25, 1.0, 0.75]);
        assert_eq!((model.instruction.as_str(), model.start.as_str()), ("pick up the cube", "next"));
        let prefix = if flat { "action." } else { "" };
        let arm = vec![0.5, -0.25, 1.0, 1.5, 0.75, 2.0, 2.5, 1.75, 3.0];
        let pose = (0..3).flat_map(|row| (0..16).map(move |value| (100 * row + value) as f32)).collect();
        let expected =
            [(format!("{prefix}arm"), vec![1, 3, 3], arm), (format!("{prefix}pose"), vec![1, 3, 4, 4], pose)];
        assert_eq!(actions(&reply), expected);
    }
}

#[test]
fn options_choose_the_noise() {
    let (mut server, mut model) = (server(), Stub::default());
    let seeded = Question { seed: Some(7), ..Question::new(false) };
    assert_eq!(ask(&mut server, &mut model, seeded.bytes()).1, None);
    assert_eq!(model.start, "seed 7");
    let values: Vec<f32> = (0..20).map(|value| value as f32).collect();
    for dims in [&[4, 5][..], &[1, 4, 5]] {
        let given = Question { noise: Some(Npy::f32(dims, &values)), ..Question::new(false) };
        assert_eq!(ask(&mut server, &mut model, given.bytes()).1, None);
        assert_eq!(model.start, format!("noise {values:?}"));
    }
    refused(&Question { seed: Some(-1), ..Question::new(false) });
    refused(&Question { noise: Some(Npy::f32(&[5, 4], &values)), ..Question::new(false) });
    refused(&Question { noise: Some(Npy::f32(&[4, 5], &[f32::NAN; 20])), ..Question::new(false) });
}

#[test]
fn the_old_name_of_the_task_is_read_in_the_flat_form() {
    let (mut server, mut model) = (server(), Stub::default());
    let question = Question { language: vec![(OLD_TASK, 1)], ..Question::new(true) };
    assert_eq!(ask(&mut server, &mut model, question.bytes()).1, None);
    assert_eq!(model.instruction, "pick up the cube");
}

#[test]
fn every_problem_of_an_observation_is_named_at_once() {
    let error = refused(&Question { language: Vec::new(), ..Question::new(false).without("front").without("hand") });
    for name in ["video.front", "state.hand", "language.task"] {
        assert!(error.contains(name), "{name} in {error}");
    }
    let flat = refused(&Question::new(true).without("wrist"));
    assert!(flat.contains("video.wrist"), "{flat}");
}

#[test]
fn arrays_that_do_not_fit_are_refused_by_name() {
    let good = || Question::new(false);
    let cases = [
        ("video.front", good().with("front", Npy::u8(&[1, 1, 4, 6, 4], 0))),
        ("video.front", good().with("front", Npy::u8(&[1, 2, 4, 6, 3], 0))),
        ("video.front", good().with("front", Npy::u8(&[4, 6, 3], 0))),
        ("video.front", good().with("front", Npy::u8(&[1, 1, 0, 6, 3], 0))),
        ("video.front", good().with("front", Npy::f32(&[1, 1, 1, 1, 3], &[0.0; 3]))),
        ("state.arm", good().with("arm", Npy::f32(&[1, 1, 2], &[0.0; 2]))),
        ("state.arm", good().with("arm", Npy::f32(&[1, 1, 3], &[0.0, f32::INFINITY, 0.0]))),
        ("state.arm", good().with("arm", Npy { descr: "<f8", dims: vec![1, 1, 3], data: vec![0; 24] })),
        ("state.arm", good().with("arm", Npy { descr: "<f4", dims: vec![1, 1, 3], data: vec![0; 11] })),
    ];
    for (name, question) in cases {
        let error = refused(&question);
        assert!(error.contains(name), "{name} in {error}");
    }
    let batched = refused(&good().with("front", Npy::u8(&[2, 1, 4, 6, 3], 0)));
    assert!(batched.contains("batch of 1, found 2") && batched.contains("--n-envs 1"), "{batched}");
    let batched = refused(&Question {
        language: vec![("task", 0), ("other", 1)],
        ..good().with("arm", Npy::f32(&[2, 1, 3], &[0.0; 6]))
    });
    assert!(batched.contains("state.arm"), "{batched}");
}

#[test]
fn ping_modality_config_and_reset_answer_as_the_vendor_does() {
    let (mut server, mut model) = (server(), Stub::default());
    let (reply, _) = ask(&mut server, &mut model, b"\x81\xa8endpoint\xa4ping".to_vec());
    assert_eq!(parse(&reply).expect("msgpack").get("status"), Some(&Value::Text("ok")));

    let (reply, _) = ask(&mut server, &mut model, b"\x81\xa8endpoint\xb3get_modality_config".to_vec());
    let config = parse(&reply).expect("msgpack");
    let video = config.get("video").expect("video");
    assert_eq!(video.get("__ModalityConfig_class__"), Some(&Value::Bool(true)));
    let keys = video.get("as_json").and_then(|json| json.get("modality_keys"));
    assert_eq!(keys, Some(&Value::Array(vec![Value::Text("front"), Value::Text("wrist")])));
    assert_eq!(video.get("as_json").and_then(|json| json.get("action_configs")), Some(&Value::Nil));

    let (reply, _) = ask(
        &mut server,
        &mut model,
        request("reset", None, |writer| {
            writer.map(1);
            writer.text("options");
            writer.nil();
        }),
    );
    assert_eq!(reply, [0x80]);
    ask(
        &mut server,
        &mut model,
        request("reset", None, |writer| {
            writer.map(1);
            writer.text("options");
            writer.map(1);
            writer.text("seed");
            writer.integer(3);
        }),
    );
    assert_eq!(model.resets, [None, Some(3)]);
}

#[test]
fn a_client_cannot_kill_the_server_or_call_what_is_not_there() {
    let (mut server, mut model) = (server(), Stub::default());
    for endpoint in ["kill", "get_actions", ""] {
        let (_, error) = ask(&mut server, &mut model, request(endpoint, None, |writer| writer.map(0)));
        assert!(error.is_some(), "{endpoint}");
    }
    for message in [&b""[..], b"\xc1", b"\x90", b"\xa4ping", b"\x81\xa8endpoint\xaaget_action", b"\x80"] {
        let (_, error) = ask(&mut server, &mut model, message.to_vec());
        assert!(error.is_some(), "{message:?}");
    }
    assert_eq!(ask(&mut server, &mut model, Question::new(false).bytes()).1, None);
}

#[test]
fn with_a_token_every_request_needs_it() {
    let token = Token::new("test", "secret").expect("a token");
    let (mut server, mut model) = (Protocol::Gr00t(Gr00t::new(policy(), Some(token))), Stub::default());
    for given in [None, Some("other"), Some("")] {
        let (_, error) = ask(&mut server, &mut model, request("ping", given, |writer| writer.map(0)));
        assert_eq!(error.as_deref(), Some("Unauthorized: Invalid API token"));
    }
    assert_eq!(ask(&mut server, &mut model, request("ping", Some("secret"), |writer| writer.map(0))).1, None);
    assert_eq!(
        ask(&mut server, &mut model, Question::new(false).bytes()).1.as_deref(),
        Some("Unauthorized: Invalid API token")
    );
}

#[test]
fn a_failure_of_the_policy_is_answered_and_only_a_fatal_one_ends_the_server() {
    let mut server = server();
    for fatal in [false, true] {
        let mut model = Stub { failure: Some(Failure { reason: "no device".into(), fatal }), ..Stub::default() };
        let message = Question::new(false).bytes();
        let filled = message.len();
        let request = Request::Message(Body::Buffer(Buffer { memory: message, filled }));
        let (reply, failure) = server.answer(&request, None, &mut model);
        assert_eq!(parse(&reply.bytes).expect("msgpack").get("error"), Some(&Value::Text("no device")));
        assert_eq!(failure.is_some(), fatal);
    }
}
