//! Fuzz target: no text makes the reader of policy.yaml panic, and what it accepts keeps its own promises.

use vla_trt_tests::fuzz;

use vla_policy::PolicySpec;

const SEEDS: [&str; 2] = [
    "format: 1\nname: a\nfingerprint: sha256:00\ncameras: [top]\nstate: {arm: 6}\n\
     action: {step_s: 0.02, horizon: 50, rows: 16, dims: 128, keys: {arm: 6}}\n\
     instruction: {tokenizer: t.json, template: p.json, max_tokens: 64}\n\
     processor: {config: c.json, statistics: s.json, embodiment: e, embodiment_id: 3}\ndenoise: {steps: [1, 4], default: 4}\n\
     stages:\n  - {name: step, onnx: step.onnx, supplied: yours, repeat: denoise, inputs: {actions: {dims: [T, 128]}}, \
     outputs: {next: {feeds: actions}}, profile: {T: [1, 2, 3]}, rename: {a: actions}}\n",
    "stages: [{name: [], onnx: 1}, &a {x: *a}]\nformat: 99999999999999999999\n",
];

#[test]
fn no_text_makes_the_reader_of_policy_yaml_panic() {
    let dir = std::env::temp_dir();
    let seeds = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    fuzz::check!(20_000, seeds).for_each(|bytes: &[u8]| {
        let Ok(spec) = PolicySpec::parse(&dir, &String::from_utf8_lossy(bytes)) else { return };
        assert!(spec.denoise.steps.contains(&spec.denoise.default));
        assert!(spec.action.rows <= spec.action.horizon);
    });
}
