//! The template in config/ for the vendor's engines.

use std::collections::BTreeMap;
use std::fs;

use vla_base::tensor::DType;
use vla_export::inventory::inventory;
use vla_export::layout::Network;
use vla_export::weights::{Weight, Weights};
use vla_export::{Error, Model, Options, View, vendor};
use vla_policy::PolicySpec;

use super::options;

/// Zeros of every weight's shape.
struct Zeros(BTreeMap<String, Vec<usize>>);

impl Weights for Zeros {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let missing = || Error::MissingWeight { name: name.to_owned(), origin: "zeros".to_owned() };
        let dims = self.0.get(name).ok_or_else(missing)?.clone();
        let data = vec![0; dims.iter().product::<usize>() * 2].into();
        Ok(Weight { name: name.to_owned(), dtype: DType::BF16, dims, data })
    }
}

#[test]
fn the_template_of_the_vendors_engines_is_what_export_writes_at_n1d6s_sizes() {
    let scratch = tempfile::tempdir().expect("scratch");
    let model = Model::n1d6();
    let weights = Zeros(inventory(&model).into_iter().collect());
    let views = [View { camera: "front".to_owned(), width: 252, height: 252, images: 1 }];
    let network = Network { model: &model, views: &views, image_token: 151_669 };
    let options = Options { dtype: DType::BF16, text: [23, 39, 256], ..options() };
    let written = vendor::LAYOUT.write_stages(&weights, &network, &options, scratch.path()).expect("writes");

    let path = vla_trt_tests::root().join("config/gr00t_n1d6_vendor_engines.yaml");
    let text = fs::read_to_string(path).expect("the template");
    for file in ["tokenizer.json", "prompt.json", "processor_config.json", "statistics.json", "embedding.safetensors"] {
        fs::write(scratch.path().join(file), "").expect("write");
    }
    let template = PolicySpec::parse(scratch.path(), &text).expect("a policy");
    assert_eq!(template.stages.len(), written.len());
    for (found, expected) in template.stages.iter().zip(&written) {
        let at = &expected.name;
        assert_eq!(found.name, *at);
        assert_eq!((template.supplied.get(at), found.repeat), (expected.supplied.as_ref(), expected.repeat), "{at}");
        assert_eq!(found.file.file_name(), expected.files.model.file_name(), "{at}");
        assert_eq!(found.profile, expected.profile, "{at}");
        let network = |name: &str| {
            let renamed = expected.rename.iter().find(|(_, policy)| policy == name);
            renamed.map_or(name, |(network, _)| network).to_owned()
        };
        for (found, (expected, _)) in found.inputs.iter().zip(&expected.inputs) {
            assert_eq!((&found.name, &found.tensor), (&expected.name, &network(&expected.name)), "{at}");
            assert!(found.dims.as_ref().is_none_or(|dims| *dims == expected.dims), "{at}: {found:?}");
            assert!(found.dtype.is_none_or(|dtype| dtype == expected.dtype), "{at}: {found:?}");
        }
        for (found, (expected, feeds)) in found.outputs.iter().zip(&expected.outputs) {
            assert_eq!((&found.name, &found.tensor), (&expected.name, &network(&expected.name)), "{at}");
            assert_eq!((found.dims.as_ref(), found.dtype), (Some(&expected.dims), Some(expected.dtype)), "{at}");
            assert_eq!(found.feeds, *feeds, "{at}");
        }
        let edges = |inputs: usize, outputs: usize| (inputs, outputs);
        let expected = edges(expected.inputs.len(), expected.outputs.len());
        assert_eq!(edges(found.inputs.len(), found.outputs.len()), expected, "{at}");
    }
}
