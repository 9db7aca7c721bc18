//! Weight matrices in single precision, whatever the file has.

use half::{bf16, f16};
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::TensorProto;

use crate::Error;
use crate::matrix::Matrix;
use crate::product::products;

/// A product's weight `[input channels, output channels]`, however it is stored; one that several products share as the first
/// of them reads it. The file is mapped for the time of the call.
///
/// # Errors
/// [`Error::Weight`] when no product has it, and errors of reading.
pub fn read_weight(network: &Network, weight: &str) -> Result<Matrix, Error> {
    let products = products(network);
    let product = products.iter().find(|product| product.weight == weight);
    let tensor = network.graph().initializer.iter().find(|tensor| tensor.name() == weight);
    let (Some(product), Some(tensor)) = (product, tensor) else {
        let reason = format!("no product of {} has it", network.path.display());
        return Err(Error::Weight { weight: weight.to_owned(), reason });
    };
    let stored = Matrix {
        rows: if product.transposed { product.columns } else { product.rows },
        columns: if product.transposed { product.rows } else { product.columns },
        values: read(network, tensor)?,
    };
    Ok(if product.transposed { stored.transposed() } else { stored })
}

/// Elements of a floating-point tensor in single precision.
///
/// # Errors
/// [`Error::Weight`] for another type, and errors of reading.
pub(crate) fn read(network: &Network, tensor: &TensorProto) -> Result<Vec<f32>, Error> {
    let bytes = network.elements(tensor)?;
    let pairs = || bytes.as_chunks::<2>().0.iter();
    Ok(match tensor.data_type() {
        1 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        10 => pairs().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        16 => pairs().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => {
            let found = crate::product::type_of(tensor);
            let reason = format!("expected f32, f16 or bf16, found {found}");
            return Err(Error::Weight { weight: tensor.name().to_owned(), reason });
        }
    })
}
