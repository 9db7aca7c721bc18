//! Runs an ONNX file on ONNX Runtime's CPU provider, or says that the library is not there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use half::f16;
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use vla_base::tensor::{DType, Data, HostTensor};

/// ONNX Runtime from `ORT_DYLIB_PATH`, opened once a process; `None`, said aloud, when the variable is not set.
pub fn environment() -> Option<Environment> {
    static OPENED: Mutex<Option<Environment>> = Mutex::new(None);
    let Some(path) = std::env::var_os("ORT_DYLIB_PATH") else {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return None;
    };
    let mut opened = OPENED.lock().expect("no test failed while opening");
    let open = || ort::init_from(path).expect("ONNX Runtime loads").build().expect("ONNX Runtime starts");
    Some(opened.get_or_insert_with(open).clone())
}

/// One loaded ONNX file.
pub struct Runner(Session);

impl Runner {
    /// Loads a file.
    pub fn load(environment: &Environment, model: &Path) -> Self {
        let session = Session::builder(environment).and_then(|builder| Ok(builder.with_intra_threads(1)?));
        Self(session.and_then(|mut b| b.commit_from_file(model)).unwrap_or_else(|e| panic!("{}: {e}", model.display())))
    }

    /// Runs with inputs by name; outputs by name, in single or half precision.
    pub fn run(&mut self, inputs: &BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
        let wanted: Vec<String> = self.0.inputs().iter().map(|input| input.name().to_owned()).collect();
        let values: Vec<(String, SessionInputValue<'_>)> = wanted
            .into_iter()
            .map(|name| {
                let tensor = inputs.get(&name).unwrap_or_else(|| panic!("no input {name}"));
                let dims: Vec<i64> = tensor.dims().iter().map(|n| *n as i64).collect();
                let value: SessionInputValue<'_> = match tensor.data() {
                    Data::F32(v) => Tensor::from_array((dims, v.clone())).expect("tensor").into(),
                    Data::F16(v) => Tensor::from_array((dims, v.clone())).expect("tensor").into(),
                    Data::I32(v) => Tensor::from_array((dims, v.clone())).expect("tensor").into(),
                    other => panic!("{name}: {other:?}"),
                };
                (name, value)
            })
            .collect();
        let outputs = self.0.run(values).expect("the graph runs");
        outputs
            .iter()
            .map(|(name, value)| {
                let dims: Vec<usize> = value.shape().iter().map(|n| *n as usize).collect();
                let tensor = if let Ok((_, data)) = value.try_extract_tensor::<f16>() {
                    let mut tensor = HostTensor::zeros(DType::F16, &dims).expect("small");
                    *tensor.data_mut() = Data::F16(data.to_vec());
                    tensor
                } else {
                    let (_, data) = value.try_extract_tensor::<f32>().expect("f32 or f16 output");
                    HostTensor::from_f32(&dims, data.to_vec()).expect("whole")
                };
                (name.to_owned(), tensor)
            })
            .collect()
    }
}
