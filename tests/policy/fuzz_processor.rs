//! Fuzz targets: no text makes the readers of processor_config.json and statistics.json panic, and what they accept
//! keeps its own promises.

use vla_trt_tests::fuzz;
use vla_trt_tests::processor as files;

use std::path::Path;

use vla_policy::encode::EvalTransform;
use vla_policy::processor::{ActionScaling, Conversion, Processor, ProcessorConfig, StateEncoding, Statistics};

fn seeds<const N: usize>(texts: [String; N]) -> Vec<Vec<u8>> {
    texts.into_iter().map(String::into_bytes).collect()
}

/// What every later stage takes for granted.
fn assert_consistent(processor: &Processor) {
    assert!(processor.encoded_state_width() <= processor.max_state_dim);
    assert!(processor.predicted_width() <= processor.max_action_dim);
    assert!((1..=processor.max_action_horizon).contains(&processor.rows()));
    assert!(!processor.cameras.is_empty() && !processor.state.is_empty() && !processor.action.is_empty());
    for key in &processor.state {
        match &key.encoding {
            StateEncoding::SinCos => {}
            StateEncoding::MeanStd { mean: a, std: b } | StateEncoding::Range { low: a, high: b } => {
                assert_eq!((a.len(), b.len()), (key.width, key.width));
            }
        }
    }
    for key in &processor.action {
        let (ActionScaling::MeanStd { mean: a, std: b } | ActionScaling::Range { low: a, high: b }) = &key.scaling;
        assert_eq!(a.len(), b.len());
        assert!(a.iter().chain(b).all(|value| value.is_finite()));
        let is_range = matches!(key.scaling, ActionScaling::Range { .. });
        assert!(a.iter().zip(b).all(|(a, b)| if is_range { a <= b } else { *b >= 0.0 }), "nothing turns a joint round");
        match key.conversion {
            Conversion::Absolute => assert_eq!(a.len(), key.width),
            Conversion::Delta { state, rows } => {
                assert_eq!((a.len(), processor.state[state].width, rows), (key.width, key.width, None));
            }
            Conversion::AddState { state } | Conversion::ComposePose { state, .. } => {
                assert_eq!(a.len(), processor.rows() * key.width);
                assert_eq!(processor.state[state].width, key.width);
            }
        }
    }
    let transform = EvalTransform::new(&processor.image);
    assert!(transform.output_size(640, 480).is_ok_and(|size| size.width > 0 && size.height > 0));
}

#[test]
fn no_text_makes_the_reader_of_processor_config_panic() {
    let statistics = Statistics::parse(Path::new("s"), &files::statistics().to_string()).expect("valid");
    let mut pose = files::config();
    pose["processor_kwargs"]["modality_configs"]["robot"]["state"]["sin_cos_embedding_keys"] =
        serde_json::json!(["arm"]);
    let mut stretched = files::config_n1d7();
    let kwargs = &mut stretched["processor_kwargs"];
    kwargs["use_albumentations"] = serde_json::json!(false);
    kwargs["image_target_size"] = serde_json::json!([256, 256]);
    kwargs["image_crop_size"] = serde_json::json!([230, 230]);
    let n1d7 = [files::config_n1d7().to_string(), stretched.to_string()];
    let seeds = seeds([
        files::config().to_string(),
        n1d7[0].clone(),
        n1d7[1].clone(),
        pose.to_string(),
        "[[[{\"processor_kwargs\":1e999}]]]".into(),
    ]);
    fuzz::check!(50_000, seeds).for_each(|bytes: &[u8]| {
        let Ok(config) = ProcessorConfig::parse(Path::new("c"), &String::from_utf8_lossy(bytes)) else { return };
        if let Ok(processor) = Processor::new(&config, &statistics, "robot") {
            assert_consistent(&processor);
        }
    });
}

#[test]
fn no_text_makes_the_reader_of_statistics_panic() {
    let config = ProcessorConfig::parse(Path::new("c"), &files::config().to_string()).expect("valid");
    let percentiles = files::config().to_string().replace("\"use_percentiles\":false", "\"use_percentiles\":true");
    let percentiles = ProcessorConfig::parse(Path::new("c"), &percentiles).expect("valid");
    let seeds =
        seeds([files::statistics().to_string(), "{\"robot\":{}}".into(), "{\"robot\":{\"state\":{\"\":{}}}}".into()]);
    fuzz::check!(50_000, seeds).for_each(|bytes: &[u8]| {
        let Ok(statistics) = Statistics::parse(Path::new("s"), &String::from_utf8_lossy(bytes)) else { return };
        for config in [&config, &percentiles] {
            if let Ok(processor) = Processor::new(config, &statistics, "robot") {
                assert_consistent(&processor);
            }
        }
    });
}
