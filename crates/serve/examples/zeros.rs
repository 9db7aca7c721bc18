//! A server whose policy gives zeros: what the protocol itself costs. `scripts/bench_serve.py` measures it.
//!
//! Three cameras and the keys of the demo policy. `cargo run --release -p vla_serve --example zeros -- gr00t|openpi PORT`

use std::error::Error;
use std::hint::black_box;

use vla_serve::{ActionKey, Description, Failure, Gr00t, Limits, Model, Observation, Openpi, Protocol, Server};

const KEYS: [(&str, usize); 4] = [("left_arm", 6), ("left_gripper", 1), ("right_arm", 6), ("right_gripper", 1)];
const ROWS: usize = 16;

struct Zeros;

impl Model for Zeros {
    fn infer(&mut self, observation: Observation<'_>, actions: &mut Vec<f32>) -> Result<(), Failure> {
        black_box(observation);
        actions.clear();
        actions.resize(ROWS * KEYS.iter().map(|(_, width)| width).sum::<usize>(), 0.0);
        Ok(())
    }

    fn reset(&mut self, _: Option<u64>) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (protocol, port) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let description = Description {
        name: "zeros".to_owned(),
        cameras: ["top", "left_wrist", "right_wrist"].map(str::to_owned).to_vec(),
        frames: 1,
        state: KEYS.iter().map(|(key, width)| ((*key).to_owned(), *width)).collect(),
        samples: 1,
        actions: KEYS.iter().map(|&(key, width)| ActionKey { name: key.to_owned(), width, matrix: false }).collect(),
        rows: ROWS,
        language: "task".to_owned(),
        noise: [50, 128],
        modalities: serde_json::Map::new(),
    };
    let mut protocol = match protocol.as_str() {
        "gr00t" => Protocol::Gr00t(Gr00t::new(description, None)),
        "openpi" => Protocol::Openpi(Openpi::new(description, None)),
        other => return Err(format!("expected gr00t or openpi and a port, found '{other}'").into()),
    };
    let server = Server::bind(([127, 0, 0, 1], port.parse()?).into(), Limits::default())?;
    println!("ready at {}", server.address()?);
    server.run(&mut protocol, &mut Zeros, &|| false)?;
    Ok(())
}
