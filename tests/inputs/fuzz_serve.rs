//! Messages of clients of `vla-trt serve`, whole and damaged: each gets a reply, none a panic, and none takes more memory than
//! its own size allows.

use vla_serve::{ActionKey, Description, Failure, Gr00t, Model, Observation, Openpi, Protocol};
use vla_trt_tests::fuzz::check;

/// Asserts what a model may rely on.
struct Checks;

impl Model for Checks {
    fn infer(&mut self, observation: Observation<'_>, actions: &mut Vec<f32>) -> Result<(), Failure> {
        assert_eq!((observation.frames.len(), observation.state.len()), (1, 2));
        assert!(observation.state.iter().all(|value| value.is_finite()));
        assert!(observation.frames.iter().all(|frame| frame.data.len() == 3 * frame.width * frame.height));
        actions.clear();
        actions.resize(4, 0.5);
        Ok(())
    }

    fn reset(&mut self, _: Option<u64>) {}
}

fn policy() -> Description {
    Description {
        name: "fuzz".into(),
        cameras: vec!["front".into()],
        frames: 1,
        state: vec![("arm".into(), 2)],
        samples: 1,
        actions: vec![ActionKey { name: "arm".into(), width: 2, matrix: false }],
        rows: 2,
        language: "task".into(),
        noise: [2, 2],
        modalities: serde_json::Map::new(),
    }
}

fn text(text: &str) -> Vec<u8> {
    [&[0xd9, text.len() as u8], text.as_bytes()].concat()
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&[0xc5][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = entries.iter().flat_map(|(key, value)| [text(key), value.clone()]).flatten();
    std::iter::once(0x80 | entries.len() as u8).chain(pairs).collect()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let file = [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat();
    map(&[("__ndarray_class__", vec![0xc3]), ("as_npy", bytes(&file))])
}

fn numpy(dtype: &str, shape: &[u8], data: &[u8]) -> Vec<u8> {
    let shape = [&[0x90 | shape.len() as u8], shape].concat();
    map(&[("__ndarray__", vec![0xc3]), ("data", bytes(data)), ("dtype", text(dtype)), ("shape", shape)])
}

fn get_action(observation: Vec<u8>) -> Vec<u8> {
    let noise = npy("<f4", "2, 2", &[0; 16]);
    let options = map(&[("noise", noise), ("seed", vec![7])]);
    map(&[("endpoint", text("get_action")), ("data", map(&[("observation", observation), ("options", options)]))])
}

#[test]
fn gr00t() {
    let image = npy("|u1", "1, 1, 2, 3, 3", &[9; 18]);
    let state = npy("<f4", "1, 1, 2", &[0; 8]);
    let sentence = [&[0x91, 0x91][..], &text("go")].concat();
    let nested = map(&[
        ("video", map(&[("front", image.clone())])),
        ("state", map(&[("arm", state.clone())])),
        ("language", map(&[("task", sentence)])),
    ]);
    let flat = map(&[("video.front", image), ("state.arm", state), ("task", [&[0x91][..], &text("go")].concat())]);
    let seeds = vec![get_action(nested), get_action(flat), map(&[("endpoint", text("get_modality_config"))])];
    let mut protocol = Protocol::Gr00t(Gr00t::new(policy(), None));
    for whole in &seeds[..2] {
        let reply = protocol.answer_message(whole, &mut Checks);
        assert_eq!(reply[0], 0x92, "{}", String::from_utf8_lossy(&reply));
    }
    check!(5000, seeds).for_each(move |message: &[u8]| {
        let mut protocol = Protocol::Gr00t(Gr00t::new(policy(), None));
        assert!(!protocol.answer_message(message, &mut Checks).is_empty());
    });
}

#[test]
fn openpi() {
    let whole = map(&[
        ("observation/front", numpy("|u1", &[2, 3, 3], &[9; 18])),
        ("observation/state", numpy("<f8", &[2], &[0; 16])),
        ("prompt", text("go")),
        ("noise", numpy("<f4", &[2, 2], &[0; 16])),
    ]);
    let by_key = map(&[
        ("images", map(&[("front", numpy("|u1", &[3, 2, 3], &[9; 18]))])),
        ("state", map(&[("arm", numpy("<f4", &[2], &[0; 8]))])),
        ("prompt", text("go")),
    ]);
    let seeds = vec![whole, by_key];
    let mut protocol = Protocol::Openpi(Openpi::new(policy(), None));
    for whole in &seeds {
        let reply = protocol.answer_message(whole, &mut Checks);
        assert_eq!(reply[0], 0x82, "{}", String::from_utf8_lossy(&reply));
    }
    check!(5000, seeds).for_each(move |message: &[u8]| {
        let mut protocol = Protocol::Openpi(Openpi::new(policy(), None));
        assert!(!protocol.answer_message(message, &mut Checks).is_empty());
    });
}
