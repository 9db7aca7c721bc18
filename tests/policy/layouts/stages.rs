//! Stages of backbone-dit on their own: padding, and where image rows go.

use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec};
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, Inference, Pipeline, Stage, StageTime, Symbols};
use vla_export::backbone_dit;
use vla_policy::PolicySpec;

use super::{Arrays, Bench, Files, f32s, run, runs, says};

/// One stage of a policy on its own.
fn run_stage(spec: &PolicySpec, name: &str, inputs: &Arrays) -> Result<HostTensor, String> {
    let stage = spec.stages.iter().find(|stage| stage.name == name).expect("a stage");
    let mut stage = Stage { repeat: false, ..stage.clone() };
    stage.inputs.iter_mut().for_each(|input| input.constants = None);
    stage.outputs.truncate(1);
    let of = |name: &str| inputs.get(name).unwrap_or_else(|| panic!("no {name}"));
    let host: Vec<TensorSpec> = stage
        .inputs
        .iter()
        .map(|input| {
            let dims = of(&input.name).dims().iter().map(|n| Dim::Fixed(*n)).collect();
            TensorSpec { name: input.name.clone(), dtype: of(&input.name).dtype(), dims }
        })
        .collect();
    let device = Onnx::new(1).map_err(|error| error.to_string())?;
    let mut pipeline = Pipeline::load(device, &[stage.clone()], None, &host, Admission::default(), &mut |_| {})
        .map_err(|error| error.to_string())?;
    let length = inputs.get("input_ids").or(inputs.get("image_mask")).map_or(0, |ids| ids.dims()[1]);
    let symbols = Symbols::from([("S".to_owned(), length)]);
    pipeline.prepare(&symbols, 1).map_err(|error| error.to_string())?;
    for input in &stage.inputs {
        pipeline.write(&input.name, of(&input.name)).map_err(|error| error.to_string())?;
    }
    pipeline.execute(&mut [StageTime::default()]).map_err(|error| error.to_string())?;
    let output = pipeline.tensor(&stage.outputs[0].name).expect("an output");
    let dims: Vec<usize> = output.dims.iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { length }).collect();
    let mut out = HostTensor::zeros(DType::F32, &dims).expect("small");
    pipeline.read(&stage.outputs[0].name, &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

/// Whole numbers of a dump as INT32.
fn i32s(arrays: &Arrays, name: &str) -> Vec<i32> {
    match arrays[name].data() {
        Data::I64(values) => values.iter().map(|v| *v as i32).collect(),
        Data::U8(values) => values.iter().map(|v| i32::from(*v)).collect(),
        other => panic!("{name}: {other:?}"),
    }
}

/// One value a token.
fn row(values: Vec<i32>) -> HostTensor {
    HostTensor::from_i32(&[1, values.len()], values).expect("whole")
}

fn padded(mut values: Vec<i32>, padding: usize, value: i32) -> HostTensor {
    values.resize(values.len() + padding, value);
    row(values)
}

#[test]
fn padding_changes_nothing_of_what_is_no_padding() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let spec = bench.export(&bench.request(backbone_dit::LAYOUT));
    let found = run(&spec, Files::new()).expect("runs");
    let (ids, image) = (i32s(&found, "input_ids"), i32s(&found, "image_mask"));
    let (length, padding, width) = (ids.len(), 7, bench.model.language.width);
    let ones = || padded(vec![1; length], padding, 0);
    // On the left, where a causal mask does not hide it; rotary positions are relative.
    let on_the_left = |fill: i32, values: Vec<i32>| row([vec![fill; padding], values].concat());
    let inputs = Arrays::from([
        ("pixels".to_owned(), found["pixels"].clone()),
        ("input_ids".to_owned(), on_the_left(3, ids)),
        ("attention_mask".to_owned(), on_the_left(0, vec![1; length])),
    ]);
    let features = run_stage(&spec, "backbone", &inputs).expect("runs");
    let of_prompt = &features.as_f32().expect("f32")[padding * width..];
    assert!(close(of_prompt, f32s(&found, "backbone_features")), "backbone");

    let mut rows = f32s(&found, "vl_embs").to_vec();
    rows.extend((0..padding * width).map(|i| (i as f32).cos()));
    let tokens = found["step0.sa_embs"].clone();
    let dims = [&[1], tokens.dims()].concat();
    let inputs = Arrays::from([
        ("sa_embs".to_owned(), tokens.reshaped(&dims).expect("the same elements")),
        ("timestep".to_owned(), HostTensor::from_i32(&[1], vec![0]).expect("whole")),
        ("vl_embs".to_owned(), HostTensor::from_f32(&[1, length + padding, width], rows).expect("whole")),
        ("image_mask".to_owned(), padded(image, padding, 1)),
        ("backbone_attention_mask".to_owned(), ones()),
    ]);
    let same = |inputs: &Arrays| {
        let output = run_stage(&spec, "dit", inputs).expect("runs");
        close(output.as_f32().expect("f32"), f32s(&found, "step0.dit_out"))
    };
    assert!(same(&inputs), "dit");
    // The masks are read: one token more of the images, one more that counts.
    for (mask, at) in [("image_mask", 0), ("backbone_attention_mask", length)] {
        let mut changed = inputs.clone();
        let Some(Data::I32(values)) = changed.get_mut(mask).map(HostTensor::data_mut) else {
            panic!("{mask} is no i32")
        };
        values[at] = 1 - values[at];
        assert!(!same(&changed), "{mask}");
    }
}

#[test]
fn image_rows_go_to_image_tokens_in_order_and_no_further() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let spec = bench.export(&bench.request(backbone_dit::LAYOUT));
    let found = run(&spec, Files::new()).expect("runs");
    let (mut ids, image) = (i32s(&found, "input_ids"), i32s(&found, "image_mask"));
    let first = image.iter().position(|v| *v == 1).expect("an image token");
    let features = |ids: &[i32]| {
        let mask = row(vec![1; ids.len()]);
        let pixels = found["pixels"].clone();
        let inputs = [("pixels", pixels), ("input_ids", row(ids.to_vec())), ("attention_mask", mask)];
        run_stage(&spec, "backbone", &inputs.map(|(name, tensor)| (name.to_owned(), tensor)).into())
    };
    assert!(close(features(&ids).expect("runs").as_f32().expect("f32"), f32s(&found, "backbone_features")));
    // One token more than there are rows.
    let last = ids.len() - 1;
    ids[last] = ids[first];
    let error = features(&ids).expect_err("an image token without a row");
    says(&error, &["stage", "Gather"]);
}
