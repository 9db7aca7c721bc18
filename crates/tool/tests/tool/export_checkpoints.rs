//! Checkpoints as people have them, through the export: what is read, and how the rest is named.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::export_bench::{Bench, says};
use vla_export::bundle::Letterbox;
use vla_policy::{FrameSizes, PolicySpec};
use vla_runtime::parameters::PolicyShape;

#[test]
fn other_models_are_named() {
    for (found, name) in [("gr00t_n1_5", "GR00T N1.5"), ("Gr00tN2", "GR00T N2"), ("llama", "another model")] {
        let bench = Bench::new(u64::MAX);
        bench.edit("config.json", r#""model_type": "Gr00tN1d6""#, &format!(r#""model_type": "{found}""#));
        says(&bench.refusal(), &["config.json", "model_type", "Gr00tN1d6", "Gr00tN1d7", found, name]);
    }
}

#[test]
fn pointers_of_git_lfs_and_checkpoints_of_another_trainer_are_told_as_what_they_are() {
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7800000\n", "a".repeat(64));
    let bench = Bench::new(u64::MAX);
    for file in ["model.safetensors", "tokenizer/tokenizer.json"] {
        fs::write(bench.checkpoint(file), &pointer).expect("write");
    }
    says(&bench.refusal(), &["model.safetensors, ", "tokenizer.json: a git-lfs pointer", "git lfs pull"]);

    let bench = Bench::new(u64::MAX);
    bench.edit("config.json", r#""model_type": "Gr00tN1d6""#, r#""type": "groot""#);
    fs::remove_file(bench.checkpoint("processor_config.json")).expect("remove");
    says(&bench.refusal(), &["a LeRobot checkpoint", "'groot'", "Isaac-GR00T"]);
}

#[test]
fn every_problem_of_the_configuration_is_listed() {
    let bench = Bench::new(u64::MAX);
    bench.edit("config.json", r#""action_horizon": 50"#, r#""action_horizon": -1"#);
    bench.edit("config.json", r#""ada_norm""#, r#""layer_norm""#);
    bench.edit("config.json", r#""use_vlln": true"#, r#""use_vlln": "yes""#);
    says(
        &bench.refusal(),
        &["action_horizon", "found -1", "diffusion_model_cfg.norm_type", "found layer_norm", "use_vlln", "\"yes\""],
    );
}

#[test]
fn weights_of_another_shape_are_listed_with_both() {
    let bench = Bench::new(u64::MAX);
    bench.edit("tokenizer/config.json", r#""intermediate_size": 128"#, r#""intermediate_size": 64"#);
    let layer = "backbone.model.vision_model.vision_model.encoder.layers.0.mlp.fc1.weight";
    says(&bench.refusal(), &[layer, "[64, 64]", "[128, 64]", "--backbone-config"]);

    // Without the backbone's own configuration the released sizes are assumed.
    let bench = Bench::new(u64::MAX);
    fs::remove_file(bench.checkpoint("tokenizer/config.json")).expect("remove");
    says(&bench.refusal(), &["text_config.hidden_size", "expected 96", "found 2048", "--backbone-config"]);
}

#[test]
fn missing_and_cut_shards_are_named() {
    let bench = Bench::new(400_000);
    let shards: Vec<PathBuf> =
        fs::read_dir(bench.checkpoint("")).expect("folder").map(|e| e.expect("entry").path()).collect();
    let shard = shards.iter().find(|path| path.to_string_lossy().contains("model-00002-of")).expect("a second shard");
    let bytes = fs::read(shard).expect("shard");
    let name = shard.file_name().expect("name").to_string_lossy();
    fs::write(shard, &bytes[..bytes.len() - 1]).expect("write");
    says(&bench.refusal(), &[&name, &bytes.len().to_string(), &(bytes.len() - 1).to_string()]);
    for header in [&[][..], &[0xff; 8], &[9, 0, 0, 0, 0, 0, 0, 0, b'{']] {
        fs::write(shard, header).expect("write");
        says(&bench.refusal(), &[&name, "safetensors"]);
    }
    fs::remove_file(shard).expect("remove");
    says(&bench.refusal(), &["missing", &name]);
}

#[test]
fn a_shard_outside_the_folder_is_refused() {
    let bench = Bench::new(u64::MAX);
    fs::rename(bench.checkpoint("model.safetensors"), bench.scratch.path().join("checkpoint/tokenizer/w"))
        .expect("move");
    let index = r#"{"weight_map": {"a": "../checkpoint/tokenizer/w"}}"#;
    fs::write(bench.checkpoint("model.safetensors.index.json"), index).expect("write");
    says(&bench.refusal(), &["missing", "../checkpoint/tokenizer/w"]);
}

#[test]
fn statistics_that_are_not_used_may_be_nan_and_those_that_are_used_are_refused_by_key() {
    let bench = Bench::new(u64::MAX);
    let path = bench.checkpoint("statistics.json");
    let text = fs::read_to_string(&path).expect("text");
    let key = text.rfind("left_gripper").expect("statistics of the gripper");
    let with = |kind: &str| {
        let at = key + text[key..].find(&format!("\"{kind}\"")).expect("the kind");
        let number = at + text[at..].find(|c: char| c.is_ascii_digit() || c == '-').expect("a number");
        let end = number + text[number..].find(|c: char| !"-.0123456789e".contains(c)).expect("its end");
        fs::write(&path, format!("{}NaN{}", &text[..number], &text[end..])).expect("write");
    };
    with("max");
    says(&bench.refusal(), &["left_gripper.max[0]: expected a finite number, found NaN"]);
    with("std");
    bench.export().expect("no key of the demo is scaled by std");
    let written = bench.out().join("statistics.json");
    assert!(fs::read_to_string(&written).expect("text").contains("NaN"));
    with("max");
    fs::copy(&path, &written).expect("a file that was changed on the robot");
    let error = PolicyShape::load(&PolicySpec::load(&bench.out()).expect("a policy")).expect_err("refused at load");
    says(&error.to_string(), &["left_gripper.max[0]: expected a finite number, found NaN"]);
}

#[test]
fn a_tokenizer_without_image_tokens_is_refused() {
    let bench = Bench::new(u64::MAX);
    bench.edit("tokenizer/tokenizer.json", "<IMG_CONTEXT>", "<OTHER_CONTEXT>");
    says(&bench.refusal(), &["<IMG_CONTEXT>"]);
}

#[test]
fn a_processor_that_does_not_fit_the_network_is_refused() {
    let bench = Bench::new(u64::MAX);
    bench.edit("processor_config.json", r#""max_state_dim": 128"#, r#""max_state_dim": 64"#);
    says(&bench.refusal(), &["max_state_dim", "expected 128", "found 64"]);
    bench.edit("processor_config.json", r#""use_percentiles""#, r#""use_quantiles""#);
    says(&bench.refusal(), &["use_quantiles"]);
}

/// `policy.yaml` says that frames are padded.
fn letterbox(bench: &Bench) -> Option<bool> {
    PolicySpec::load(&bench.out()).expect("a policy").processor.letterbox
}

#[test]
fn keys_of_other_versions_and_other_embodiments_are_passed_over() {
    let plain = Bench::new(u64::MAX);
    plain.export().expect("exports");
    assert_eq!(letterbox(&plain), Some(false));
    let bench = Bench::new(u64::MAX);
    let kwargs = r#""processor_kwargs": {"letter_box_transform": false, "use_mean_std": false, "exclude_state": false,
        "state_dropout_prob": 0.2, "use_tactile": false, "extra_augmentation_config": null, "#;
    bench.edit("processor_config.json", r#""processor_kwargs": {"#, kwargs);
    let other = r#""modality_configs": {"oxe_droid": {"video": {"delta_indices": "none", "extra_key": NaN}}, "#;
    bench.edit("processor_config.json", r#""modality_configs": {"#, other);
    bench.edit(
        "config.json",
        r#""model_type""#,
        r#""dtype": "bfloat16", "transformers_version": "4.51.3", "model_type""#,
    );
    bench.export().expect("exports");
    let state = |bench: &Bench| {
        let spec = PolicySpec::load(&bench.out()).expect("a policy");
        spec.processor.load().expect("a processor")
    };
    assert_eq!(state(&bench), state(&plain));
    bench.edit("processor_config.json", r#""use_mean_std": false"#, r#""use_mean_std": true"#);
    bench.edit("processor_config.json", r#""exclude_state": false"#, r#""some_key": 7"#);
    let refusal = bench.refusal_beside(&["policy"]);
    says(&refusal, &["use_mean_std: expected off", "found true", "some_key: unknown key, found 7"]);
}

#[test]
fn the_letterbox_reaches_the_policy_as_the_file_or_the_option_says() {
    let mut bench = Bench::new(u64::MAX);
    bench.edit(
        "processor_config.json",
        r#""processor_kwargs": {"#,
        r#""processor_kwargs": {"letter_box_transform": true, "#,
    );
    for (option, padded) in [(Letterbox::AsFile, true), (Letterbox::Never, false), (Letterbox::Always, true)] {
        bench.request.letterbox = option;
        let summary = bench.export().expect("exports");
        assert_eq!((letterbox(&bench), summary.letterbox), (Some(padded), padded));
        let sizes: Vec<_> = summary.views.iter().map(|view| (view.width, view.height)).collect();
        assert_eq!(sizes, vec![if padded { (112, 112) } else { (140, 112) }; 3], "{option:?}");
        let spec = PolicySpec::load(&bench.out()).expect("a policy");
        assert_eq!(spec.processor.load().expect("a processor").image.letterbox, padded);
        let check = FrameSizes::load(&spec).expect("sizes");
        assert_eq!(check.check("top", 1280, 720).is_ok(), padded, "padded frames of any shape fit");
    }
}

#[test]
fn the_processors_files_are_found_in_their_folder_and_named_where_they_are_not() {
    let bench = Bench::new(u64::MAX);
    let expected = bench.export().expect("exports").fingerprint;
    let inside = bench.checkpoint("processor");
    fs::create_dir(&inside).expect("folder");
    for file in ["processor_config.json", "statistics.json", "embodiment_id.json"] {
        fs::rename(bench.checkpoint(file), inside.join(file)).expect("moved");
    }
    assert_eq!(bench.export().expect("exports").fingerprint, expected);

    fs::rename(&inside, bench.checkpoint("checkpoint-2000")).expect("moved");
    says(&bench.refusal_beside(&["policy"]), &["processor_config.json: ", "processor/", "checkpoint-2000"]);
    let steps = bench.checkpoint("checkpoint-2000/config.json");
    fs::rename(bench.checkpoint("config.json"), steps).expect("moved");
    let refusal = bench.refusal_beside(&["policy"]);
    says(&refusal, &["config.json: ", "expected a file of a GR00T checkpoint", "checkpoint-2000"]);
}

/// What the tool prints for an export with these arguments.
fn printed(bench: &Bench, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("export").arg("--checkpoint").arg(bench.checkpoint(""));
    command.arg("--tokenizer").arg(bench.checkpoint("tokenizer")).arg("-o").arg(bench.out());
    command.args(["--embodiment", "new_embodiment", "--step-s", "0.02"]).args(more);
    let output = command.output().expect("starts");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

#[test]
fn a_file_without_letterbox_is_warned_of_once_where_it_matters_and_nothing_was_decided() {
    let bench = Bench::new(u64::MAX);
    let cameras = |size: &str| ["top", "left_wrist", "right_wrist"].map(|name| format!("--camera={name}={size}"));
    let warnings = |size: &str, option: &str| {
        let cameras = cameras(size);
        let mut more: Vec<&str> = cameras.iter().map(String::as_str).collect();
        more.extend(["--letterbox", option]);
        let text = printed(&bench, &more);
        text.matches("letter_box_transform is false").count()
            + 10 * text.matches("letterbox: frames are padded").count()
    };
    assert_eq!(warnings("640x480", "as-file"), 0, "the file does not have the key");
    bench.edit(
        "processor_config.json",
        r#""processor_kwargs": {"#,
        r#""processor_kwargs": {"letter_box_transform": false, "#,
    );
    assert_eq!(warnings("640x480", "as-file"), 1);
    assert_eq!(warnings("480x480", "as-file"), 0, "square frames are not padded anyway");
    assert_eq!(warnings("640x480", "never"), 0);
    assert_eq!(warnings("640x480", "always"), 10);
    let cameras = cameras("640x480");
    let text = printed(&bench, &cameras.each_ref().map(String::as_str));
    says(&text, &["--letterbox always", "--letterbox never", "2026-06-18"]);
}

#[test]
fn a_tokenizer_that_python_reads_otherwise_is_warned_of() {
    let bench = Bench::new(u64::MAX);
    let cameras = ["top", "left_wrist", "right_wrist"].map(|name| format!("--camera={name}=640x480"));
    let warned = || {
        printed(&bench, &cameras.each_ref().map(String::as_str))
            .contains("names Qwen2TokenizerFast, whose pre_tokenizer")
    };
    let class = |name: &str| {
        let config = format!(r#"{{"tokenizer_class": "{name}"}}"#);
        fs::write(bench.checkpoint("tokenizer/tokenizer_config.json"), config).expect("write");
    };
    assert!(!warned(), "no class is named");
    class("PreTrainedTokenizerFast");
    assert!(!warned(), "this class takes what the file has");
    class("Qwen2TokenizerFast");
    assert!(warned(), "the demo's tokenizer cuts text more simply");
}

#[test]
fn a_checkpoint_of_lerobot_is_answered_with_its_network_and_the_way_to_another() {
    let bench = Bench::new(u64::MAX);
    let lerobot = |kind: &str, base: &str| {
        let config = format!(r#"{{"type": "{kind}", "base_model_path": "{base}", "max_state_dim": 64}}"#);
        fs::write(bench.checkpoint("config.json"), config).expect("write");
        bench.refusal()
    };
    let refusal = lerobot("groot", "nvidia/GR00T-N1.5-3B");
    says(&refusal, &["type 'groot'", "GR00T N1.5", "launch_finetune.py", "GR00T-N1.7-3B", "convert_v3_to_v2.py"]);
    fs::write(bench.checkpoint("train_config.json"), r#"{"dataset": {"repo_id": "me/cubes"}}"#).expect("write");
    says(&lerobot("groot", "nvidia/GR00T-N1.7-3B"), &["GR00T N1.7", "(me/cubes)"]);
    says(&lerobot("act", ""), &["LeRobot's policy act", "only GR00T N1.6 and N1.7"]);
}
