//! Policies with a damaged file.

use super::*;

/// A copy of the demo policy with one file changed.
fn tampered(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let policy = demo::policy();
    let file = policy.path().join(name);
    let bytes = change(fs::read(&file).expect("a file of the bundle"));
    fs::write(&file, bytes).expect("the changed file");
    policy
}

#[test]
fn chunks_carry_the_fingerprint_of_the_files_that_made_them() {
    let out = tempfile::tempdir().expect("a folder");
    let file = out.path().join("c.mcap");
    let policy = demo::policy();
    replay(policy.path(), &[], &file, None);
    let declared = PolicySpec::load(policy.path()).expect("the demo policy").fingerprint;
    assert_eq!(chunks(&file)[0].policy_fingerprint, declared);
    let policy = tampered("statistics.json", |mut bytes| {
        bytes.push(b'\n');
        bytes
    });
    replay(policy.path(), &[], &file, None);
    assert_ne!(chunks(&file)[0].policy_fingerprint, declared);
}

fn load_error(policy: &Path) -> String {
    let settings = demo::settings(policy, &[]);
    let spec = PolicySpec::load(policy).expect("a description that reads");
    let loaded = Session::load(spec, &settings, &mut |_| {});
    loaded.err().expect("must be refused").to_string()
}

#[test]
fn nan_in_the_output_refuses_every_chunk_and_says_so() {
    // Every value of the folded constants becomes NaN, behind the safetensors header.
    let policy = tampered("modulation.safetensors", |mut bytes| {
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize + 8;
        bytes[header..].chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
        bytes
    });
    let out = tempfile::tempdir().expect("a folder");
    let summary = replay(policy.path(), &[], &out.path().join("c.mcap"), None);
    assert!(summary.record.chunks.is_empty());
    let refused = summary.record.events.iter().filter(|event| event.kind == "refused").count();
    assert!(refused > 5, "{:?}", summary.record.events);
    assert!(summary.record.events.iter().any(|event| event.text.contains("NaN")), "{:?}", summary.record.events);
}

#[test]
fn a_network_that_is_cut_off_is_refused_with_its_stage_and_file() {
    let policy = tampered("language.onnx", |bytes| bytes[..bytes.len() / 2].to_vec());
    let error = load_error(policy.path());
    assert!(error.contains("stage 'language'") && error.contains("language.onnx"), "{error}");
}

#[test]
fn a_network_with_another_shape_or_name_than_policy_yaml_is_refused_with_both() {
    let text = |policy: &Path| fs::read_to_string(policy.join("policy.yaml")).expect("policy.yaml");
    let policy = demo::policy();
    let changed =
        text(policy.path()).replace("strength: {dtype: f32, dims: [50]}", "strength: {dtype: f32, dims: [49]}");
    fs::write(policy.path().join("policy.yaml"), changed).expect("write");
    let error = load_error(policy.path());
    assert!(error.contains("'strength': the stage describes [49], the network has [50]"), "{error}");

    let policy = demo::policy();
    let changed = text(policy.path()).replace("state_features:", "state_feature:");
    fs::write(policy.path().join("policy.yaml"), changed).expect("write");
    let error = load_error(policy.path());
    assert!(error.contains("no output 'state_feature'") && error.contains("state_features"), "{error}");
}

#[test]
fn a_tokenizer_without_the_image_token_is_refused_by_name() {
    let policy = tampered("tokenizer.json", |bytes| {
        String::from_utf8(bytes).expect("JSON").replace("<IMG_CONTEXT>", "<IMG_CONTEXX>").into_bytes()
    });
    let error = load_error(policy.path());
    assert!(error.contains("<IMG_CONTEXT>") && error.contains("tokenizer.json"), "{error}");
}

#[test]
fn engines_beyond_the_memory_budget_are_refused_before_loading() {
    let policy = demo::policy();
    let settings = demo::settings(policy.path(), &["memory.budget_mib:=1"]);
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let error = Session::load(spec, &settings, &mut |_| {}).err().expect("1 MiB is too little");
    assert!(error.does_not_fit() && error.to_string().contains("1.0 MiB allowed by the memory budget"), "{error}");
}
