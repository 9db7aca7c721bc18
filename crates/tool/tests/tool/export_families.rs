//! Files of one release beside those of another, and what only one of them can do: each is refused by the file or option, none exports
//! something that acts wrongly.

use std::fs;
use std::path::Path;

use vla_export::bundle::Features;
use vla_export::checkpoint::Checkpoint;
use vla_export::family::{N1D6, N1D7};
use vla_export::{Error, Family, VisionAttention, vendor};
use vla_policy::PolicySpec;
use vla_policy::encode::EncodeError;

use super::export_bench::Bench;

/// Every release with the one that it is mistaken for.
const PAIRS: [(&Family, &Family); 2] = [(&N1D6, &N1D7), (&N1D7, &N1D6)];

/// A checkpoint of `family` in which these files are of `other`.
fn mixed(family: &'static Family, other: &'static Family, files: &[&str]) -> Bench {
    let (bench, from) = (Bench::of(family, u64::MAX), Bench::of(other, u64::MAX));
    for file in files {
        fs::copy(from.checkpoint(file), bench.checkpoint(file)).expect("copied");
    }
    bench
}

fn refusal(bench: &Bench) -> Error {
    bench.export().expect_err("refused")
}

/// The problems of a request, each of which starts with these words.
#[track_caller]
fn problems(bench: &Bench, starts: &[&str]) {
    match refusal(bench) {
        Error::Request { problems } => {
            assert_eq!(problems.len(), starts.len(), "{problems:?}");
            for (problem, start) in problems.iter().zip(starts) {
                assert!(problem.starts_with(start), "`{start}` in {problem}");
            }
        }
        other => panic!("expected a refused request, found {other}"),
    }
}

#[test]
fn weights_of_another_release_are_named_with_the_model_type_that_they_belong_to() {
    for (family, other) in PAIRS {
        match refusal(&mixed(family, other, &["model.safetensors"])) {
            Error::Family { expected, found, model_type, .. } => {
                assert_eq!((expected, found), (family.title(), other.title()));
                assert_eq!(model_type, other.config.model_type);
            }
            other => panic!("expected the weights' release, found {other}"),
        }
    }
}

#[test]
fn weights_of_n1d5_are_a_list_of_missing_ones() {
    let bench = Bench::of(&N1D7, u64::MAX);
    let header = br#"{"backbone.eagle_model.mlp1.0.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    fs::write(bench.checkpoint("model.safetensors"), bytes).expect("written");
    assert!(matches!(refusal(&bench), Error::Weights { .. }));
}

#[test]
fn a_processor_of_another_release_is_refused_by_its_class() {
    for (family, other) in PAIRS {
        let bench = mixed(family, other, &["processor_config.json", "statistics.json"]);
        match refusal(&bench) {
            Error::Request { problems } => {
                assert!(problems[0].starts_with("processor_config.json: processor_class: "), "{problems:?}");
            }
            other => panic!("expected a refused request, found {other}"),
        }
    }
}

#[test]
fn a_backbones_file_of_another_release_is_refused_by_its_model_type() {
    for (family, other) in PAIRS {
        match refusal(&mixed(family, other, &["tokenizer/config.json"])) {
            Error::Config { file, key, .. } => {
                assert_eq!(key, "model_type");
                assert_eq!(Path::new(&file).file_name().and_then(|name| name.to_str()), Some("config.json"));
            }
            other => panic!("expected a refused backbone, found {other}"),
        }
    }
}

#[test]
fn a_tokenizer_without_the_releases_image_token_is_refused_by_the_token() {
    for (family, other, missing) in [(&N1D6, &N1D7, "<IMG_CONTEXT>"), (&N1D7, &N1D6, "<|image_pad|>")] {
        match refusal(&mixed(family, other, &["tokenizer/tokenizer.json"])) {
            Error::Encode(EncodeError::Token { token, .. }) => assert_eq!(token, missing),
            other => panic!("expected a refused tokenizer, found {other}"),
        }
    }
}

#[test]
fn a_backbone_with_other_patches_than_the_processors_is_refused() {
    for (family, patch) in [(&N1D6, 14), (&N1D7, 16)] {
        let bench = Bench::of(family, u64::MAX);
        bench.edit("tokenizer/config.json", &format!(r#""patch_size": {patch}"#), r#""patch_size": 15"#);
        problems(&bench, &["--backbone-config: vision_config.patch_size: "]);
    }
}

#[test]
fn a_checkpoint_that_transformers_5_saved_asks_for_the_features_and_both_choices_are_policies() {
    let mut bench = Bench::of(&N1D7, u64::MAX);
    let plain = bench.export().expect("exports").fingerprint;
    let version = |version: &str| format!(r#""transformers_version": "{version}", "model_type": "Gr00tN1d7""#);
    bench.edit("config.json", r#""model_type": "Gr00tN1d7""#, &version("4.57.6"));
    assert_eq!(bench.export().expect("exports").fingerprint, plain);
    fs::remove_dir_all(bench.out()).expect("removed");
    bench.edit("config.json", &version("4.57.6"), &version("5.0.0.dev0"));
    problems(&bench, &["config.json: transformers_version is 5.0.0.dev0"]);
    let mut with = |features| {
        bench.request.features = features;
        bench.export().expect("exports").fingerprint
    };
    let (before, after) = (with(Features::BeforeNorm), with(Features::AfterNorm));
    assert_eq!(before, plain);
    assert_ne!(after, plain);
    // N1.6 takes them behind the norm under every transformers.
    let bench = Bench::of(&N1D6, u64::MAX);
    let version = r#""transformers_version": "5.0.0", "model_type""#;
    bench.edit("config.json", r#""model_type""#, version);
    bench.export().expect("exports");
}

#[test]
fn missing_fusion_layers_are_listed_and_layers_that_config_json_does_not_describe_are_left_out() {
    let bench = Bench::of(&N1D7, u64::MAX);
    let layers = Checkpoint::open(&bench.checkpoint("")).expect("opens");
    assert!(layers.names().any(|name| name.contains("vl_self_attention.transformer_blocks.0.")));
    let path = bench.checkpoint("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("config")).expect("JSON");
    let held = config["vl_self_attention_cfg"]["num_layers"].as_u64().expect("a number");
    config["vl_self_attention_cfg"]["num_layers"] = (held + 1).into();
    fs::write(&path, config.to_string()).expect("written");
    match refusal(&bench) {
        Error::Weights { problems, .. } => {
            let missing = format!("action_head.vl_self_attention.transformer_blocks.{held}.");
            assert!(problems[0].contains(&missing), "{problems:?}");
        }
        other => panic!("expected missing weights, found {other}"),
    }
    config.as_object_mut().expect("an object").remove("vl_self_attention_cfg");
    fs::write(&path, config.to_string()).expect("written");
    bench.export().expect("exports");
    let spec = PolicySpec::load(&bench.out()).expect("a policy");
    assert_eq!(spec.stage_names(), ["vision", "language", "context", "step"]);
}

#[test]
fn more_rows_than_the_models_chunk_are_refused_by_key() {
    let bench = Bench::of(&N1D7, u64::MAX);
    bench.edit("config.json", r#""action_horizon": 40"#, r#""action_horizon": 10"#);
    problems(&bench, &["processor_config.json: action.delta_indices: expected at most 10"]);
    // An embodiment of 50 rows with a processor for 40.
    let bench = Bench::of(&N1D7, u64::MAX);
    let path = bench.checkpoint("processor_config.json");
    let mut processor: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("processor")).expect("JSON");
    let configs = &mut processor["processor_kwargs"]["modality_configs"]["new_embodiment"];
    configs["action"]["delta_indices"] = (0..50).collect::<Vec<usize>>().into();
    fs::write(&path, processor.to_string()).expect("written");
    let refused = refusal(&bench).to_string();
    assert!(refused.contains("max_action_horizon: 40"), "{refused}");
}

#[test]
fn frames_of_several_times_are_refused_where_cameras_meet_only_at_the_multiple_of_the_sides() {
    let mut bench = Bench::of(&N1D7, u64::MAX);
    let path = bench.checkpoint("processor_config.json");
    let mut processor: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("processor")).expect("JSON");
    let configs = &mut processor["processor_kwargs"]["modality_configs"]["new_embodiment"];
    configs["video"]["delta_indices"] = vec![-15, 0].into();
    fs::write(&path, processor.to_string()).expect("written");
    bench.export().expect("cameras of one shape");
    fs::remove_dir_all(bench.out()).expect("removed");
    // 455x256 and 452x256, both of which become 448x256.
    for (camera, (width, height)) in bench.request.cameras.iter_mut().zip([(1280, 720), (848, 480), (848, 480)]) {
        (camera.width, camera.height) = (width, height);
    }
    let refused = bench.refusal();
    assert!(
        refused.contains("--camera: with frames of several times") && refused.contains("multiples of 32"),
        "{refused}"
    );
}

#[test]
fn what_no_code_of_n1d7_does_is_refused_by_option() {
    let mut bench = Bench::of(&N1D7, u64::MAX);
    bench.request.attention = VisionAttention::CrossView;
    problems(&bench, &["--vision-attention: "]);
    let mut bench = Bench::of(&N1D7, u64::MAX);
    bench.request.layout = vendor::LAYOUT;
    bench.request.rope = vla_export::RopeFrequencies::default();
    problems(&bench, &["--layout: expected split or backbone-dit for GR00T N1.7"]);
    let mut bench = Bench::of(&N1D6, u64::MAX);
    bench.request.dtype_of.insert("fusion".to_owned(), vla_base::tensor::DType::F32);
    problems(&bench, &["--dtype-of: "]);
}

#[test]
fn a_backbones_file_that_describes_less_of_the_tower_than_the_checkpoint_holds_is_refused() {
    for (family, key, fewer) in [
        (&N1D7, "depth", serde_json::json!(3)),
        (&N1D7, "deepstack_visual_indexes", serde_json::json!([0, 1])),
        (&N1D6, "num_hidden_layers", serde_json::json!(1)),
    ] {
        let bench = Bench::of(family, u64::MAX);
        let path = bench.checkpoint("tokenizer/config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("config")).expect("JSON");
        config["vision_config"][key] = fewer;
        fs::write(&path, config.to_string()).expect("written");
        match refusal(&bench) {
            Error::Weights { problems, .. } => {
                assert!(problems[0].contains(family.weights.vision), "{problems:?}");
                assert!(problems[0].contains("--backbone-config"), "{problems:?}");
            }
            other => panic!("{}: expected weights that are left over, found {other}", family.name),
        }
    }
}

#[test]
fn features_are_chosen_where_the_release_and_the_layout_have_a_choice() {
    let mut bench = Bench::of(&N1D6, u64::MAX);
    bench.request.features = Features::BeforeNorm;
    problems(&bench, &["--features: found before-norm with GR00T N1.6"]);
    bench.request.features = Features::AfterNorm;
    bench.export().expect("what N1.6 does");
    // A language model from elsewhere decides it, whatever saved config.json.
    let mut bench = Bench::of(&N1D7, u64::MAX);
    bench.edit("config.json", r#""model_type""#, r#""transformers_version": "v5.1", "model_type""#);
    problems(&bench, &["config.json: transformers_version is v5.1"]);
    bench.request.layout = vla_export::backbone_dit::HEAD;
    bench.request.rope = vla_export::RopeFrequencies::default();
    bench.export().expect("the head alone");
    bench.request.features = Features::AfterNorm;
    problems(&bench, &["--features: "]);
}
