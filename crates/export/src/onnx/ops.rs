//! The operators the networks are made of, with their shape and type rules.

use half::{bf16, f16};

use super::graph::{Attribute, Graph, Value};
use super::pieces::Meaning;
use super::shape;
use crate::Error;
use vla_base::tensor::{DType, Dim, display_dims};
use vla_engines::operations::Activation;

fn show(values: &[&Value]) -> String {
    let parts: Vec<String> = values.iter().map(|v| format!("{} {}", v.dtype(), display_dims(v.dims()))).collect();
    parts.join(" and ")
}

impl Graph {
    fn misfit(&self, operator: &'static str, expected: impl Into<String>, found: &[&Value]) -> Error {
        Error::Graph { operator, scope: self.scope(), expected: expected.into(), found: show(found) }
    }

    /// INT64 constant, as ONNX wants shapes, axes and split sizes.
    fn ints(&mut self, values: &[i64]) -> Result<Value, Error> {
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(&format!("ints[{}]", text.join(",")), DType::I64, &[values.len()], &bytes)
    }

    fn bytes(&mut self, name: &str, dtype: DType, dims: &[usize], bytes: &[u8]) -> Result<Value, Error> {
        self.initializer(name, dtype, dims, |out| out.write_all(bytes))
    }

    /// A scalar constant of a floating-point type.
    pub fn scalar(&mut self, value: f32, dtype: DType) -> Result<Value, Error> {
        let bytes = match self.storage(dtype) {
            DType::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
            DType::BF16 => bf16::from_f32(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        let dtype = if matches!(dtype, DType::F16 | DType::BF16) { dtype } else { DType::F32 };
        self.bytes(&format!("scalar[{value:e}]{dtype}"), dtype, &[], &bytes)
    }

    /// An INT32 scalar constant.
    pub(crate) fn scalar_i32(&mut self, value: i32) -> Result<Value, Error> {
        self.bytes(&format!("scalar[{value}]i32"), DType::I32, &[], &value.to_le_bytes())
    }

    /// A table of INT32.
    pub(crate) fn table_i32(&mut self, name: &str, values: &[i32]) -> Result<Value, Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(name, DType::I32, &[values.len()], &bytes)
    }

    fn elementwise(
        &mut self,
        operator: &'static str,
        a: &Value,
        b: &Value,
        result: Option<DType>,
    ) -> Result<Value, Error> {
        let dims = shape::broadcast(a.dims(), b.dims()).filter(|_| a.dtype() == b.dtype());
        let dims = dims.ok_or_else(|| self.misfit(operator, "one type and shapes that broadcast", &[a, b]))?;
        Ok(self.node(operator, &[a, b], vec![], result.unwrap_or(a.dtype()), dims))
    }

    /// `a + b`, broadcasting.
    pub fn add(&mut self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.elementwise("Add", a, b, None)
    }

    /// `a * b`, broadcasting.
    pub(crate) fn mul(&mut self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.elementwise("Mul", a, b, None)
    }

    /// `a / b`, broadcasting.
    pub(crate) fn div(&mut self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.elementwise("Div", a, b, None)
    }

    /// `a > b`, broadcasting.
    pub fn greater(&mut self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.elementwise("Greater", a, b, Some(DType::Bool))
    }

    /// `a == b`, broadcasting.
    pub fn equal(&mut self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.elementwise("Equal", a, b, Some(DType::Bool))
    }

    /// `x + by` for INT32 `x`.
    pub fn shift(&mut self, x: &Value, by: i32) -> Result<Value, Error> {
        let by = self.scalar_i32(by)?;
        self.add(x, &by)
    }

    /// `x * factor`.
    pub fn scale(&mut self, x: &Value, factor: f32) -> Result<Value, Error> {
        let factor = self.scalar(factor, x.dtype())?;
        self.mul(x, &factor)
    }

    /// `condition ? a : b`, broadcasting.
    pub fn choose(&mut self, condition: &Value, a: &Value, b: &Value) -> Result<Value, Error> {
        let dims = shape::broadcast(a.dims(), b.dims()).and_then(|dims| shape::broadcast(condition.dims(), &dims));
        let dims = dims.filter(|_| condition.dtype() == DType::Bool && a.dtype() == b.dtype());
        let dims = dims.ok_or_else(|| {
            self.misfit("Where", "a bool and two values of one type that broadcast", &[condition, a, b])
        })?;
        Ok(self.node("Where", &[condition, a, b], vec![], a.dtype(), dims))
    }

    fn unary(&mut self, operator: &'static str, x: &Value) -> Value {
        self.node(operator, &[x], vec![], x.dtype(), x.dims().to_vec())
    }

    /// `-x`.
    pub fn neg(&mut self, x: &Value) -> Value {
        self.unary("Neg", x)
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: &Value) -> Value {
        self.unary("Relu", x)
    }

    /// `sqrt(x)`.
    pub fn sqrt(&mut self, x: &Value) -> Value {
        self.unary("Sqrt", x)
    }

    /// `x * sigmoid(x)`.
    pub fn silu(&mut self, x: &Value) -> Result<Value, Error> {
        let start = self.start();
        let gate = self.unary("Sigmoid", x);
        let result = self.mul(x, &gate)?;
        Ok(self.piece(start, Meaning::Activation { activation: Activation::Silu, x: x.clone() }, result))
    }

    /// Exact GELU, `x/2 (1 + erf(x / sqrt 2))`, in the order that runtimes recognise and fuse.
    pub(crate) fn gelu_erf(&mut self, x: &Value) -> Result<Value, Error> {
        let start = self.start();
        let root = self.scalar(std::f32::consts::SQRT_2, x.dtype())?;
        let one = self.scalar(1.0, x.dtype())?;
        let scaled = self.div(x, &root)?;
        let erf = self.unary("Erf", &scaled);
        let gate = self.add(&erf, &one)?;
        let product = self.mul(x, &gate)?;
        let result = self.scale(&product, 0.5)?;
        Ok(self.piece(start, Meaning::Activation { activation: Activation::GeluErf, x: x.clone() }, result))
    }

    /// GELU by tanh, `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, in the order that runtimes recognise and fuse.
    pub(crate) fn gelu_tanh(&mut self, x: &Value) -> Result<Value, Error> {
        let start = self.start();
        let three = self.scalar(3.0, x.dtype())?;
        let one = self.scalar(1.0, x.dtype())?;
        let cube = self.elementwise("Pow", x, &three, None)?;
        let cubic = self.scale(&cube, 0.044_715)?;
        let sum = self.add(x, &cubic)?;
        let inner = self.scale(&sum, (2.0 / std::f64::consts::PI).sqrt() as f32)?;
        let tanh = self.unary("Tanh", &inner);
        let gate = self.add(&tanh, &one)?;
        let half = self.scale(x, 0.5)?;
        let result = self.mul(&half, &gate)?;
        Ok(self.piece(start, Meaning::Activation { activation: Activation::GeluTanh, x: x.clone() }, result))
    }

    /// Conversion to another element type; `x` itself when it has it already.
    pub fn cast(&mut self, x: &Value, to: DType) -> Value {
        if x.dtype() == to {
            return x.clone();
        }
        let code = i64::from(super::proto::element_type(self.storage(to)));
        self.node("Cast", &[x], vec![("to", Attribute::Int(code))], to, x.dims().to_vec())
    }

    /// Matrix product over the last two axes, the others broadcast.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Result<Value, Error> {
        let dims = shape::matmul(a.dims(), b.dims()).filter(|_| a.dtype() == b.dtype());
        let dims = dims.ok_or_else(|| self.misfit("MatMul", "one type, [.., m, k] and [.., k, n]", &[a, b]))?;
        Ok(self.node("MatMul", &[a, b], vec![], a.dtype(), dims))
    }

    /// `x W (+ bias)` for `x` `[n, in]`; `W` is `[out, in]` when `transposed` (as PyTorch stores it), else `[in, out]`; `bias` is
    /// `[out]` or `[1, out]`. A term with rows is added by [`Self::add`]: quantisers read the third input of a Gemm as a vector.
    pub fn gemm(&mut self, x: &Value, w: &Value, bias: Option<&Value>, transposed: bool) -> Result<Value, Error> {
        let mut inputs = vec![x, w];
        inputs.extend(bias);
        let dims = match (x.dims(), w.dims()) {
            ([n, k], [a, b]) => {
                let (w_in, w_out) = if transposed { (b, a) } else { (a, b) };
                let is_row = |bias: &&Value| match bias.dims() {
                    [columns] | [Dim::Fixed(1), columns] => columns == w_out,
                    _ => false,
                };
                let fits = k == w_in && bias.as_ref().is_none_or(is_row);
                fits.then(|| vec![n.clone(), w_out.clone()])
            }
            _ => None,
        };
        let dims = dims.filter(|_| inputs.iter().all(|v| v.dtype() == x.dtype()));
        let dims =
            dims.ok_or_else(|| self.misfit("Gemm", "one type, [n, in], weights of `in` columns, bias [out]", &inputs))?;
        Ok(self.node("Gemm", &inputs, vec![("transB", Attribute::Int(i64::from(transposed)))], x.dtype(), dims))
    }

    /// The same elements in another shape. One size may be inferred; symbols stay symbols.
    pub fn reshape(&mut self, x: &Value, to: &[Dim]) -> Result<Value, Error> {
        let Some(constant) = shape::reshape(x.dims(), to) else {
            return Err(self.misfit("Reshape", format!("as many elements as {}", display_dims(to)), &[x]));
        };
        let constant = self.ints(&constant)?;
        Ok(self.node("Reshape", &[x, &constant], vec![], x.dtype(), to.to_vec()))
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]` of `x`.
    pub fn transpose(&mut self, x: &Value, order: &[usize]) -> Result<Value, Error> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if sorted.iter().copied().ne(0..x.dims().len()) {
            return Err(self.misfit("Transpose", format!("rank {} for the order {order:?}", order.len()), &[x]));
        }
        let dims = order.iter().map(|axis| x.dims()[*axis].clone()).collect();
        let perm = order.iter().map(|axis| *axis as i64).collect();
        Ok(self.node("Transpose", &[x], vec![("perm", Attribute::Ints(perm))], x.dtype(), dims))
    }

    /// Values joined along `axis`.
    pub fn concat(&mut self, values: &[&Value], axis: usize) -> Result<Value, Error> {
        let shapes: Vec<&[Dim]> = values.iter().map(|v| v.dims()).collect();
        let dims = shape::concat(&shapes, axis).filter(|_| values.windows(2).all(|w| w[0].dtype() == w[1].dtype()));
        let dims = dims.ok_or_else(|| self.misfit("Concat", format!("one type, equal but for axis {axis}"), values))?;
        Ok(self.node("Concat", values, vec![("axis", Attribute::Int(axis as i64))], values[0].dtype(), dims))
    }

    /// `x` cut along `axis` into pieces of the given sizes.
    pub fn split(&mut self, x: &Value, axis: usize, sizes: &[usize]) -> Result<Vec<Value>, Error> {
        if x.dim(axis) != Some(&Dim::Fixed(sizes.iter().sum())) {
            return Err(self.misfit("Split", format!("axis {axis} of {sizes:?} together"), &[x]));
        }
        let shapes = sizes.iter().map(|n| with_axis(x, axis, Dim::Fixed(*n))).collect();
        let sizes: Vec<i64> = sizes.iter().map(|n| *n as i64).collect();
        let sizes = self.ints(&sizes)?;
        Ok(self.split_node(&[x, &sizes], axis as i64, shapes))
    }

    /// Elements `from..to` along `axis`.
    pub fn slice(&mut self, x: &Value, axis: usize, from: usize, to: usize) -> Result<Value, Error> {
        if !matches!(x.dim(axis), Some(Dim::Fixed(n)) if from < to && to <= *n) {
            return Err(self.misfit("Slice", format!("{from}..{to} inside axis {axis}"), &[x]));
        }
        let (starts, ends, axes) = (self.ints(&[from as i64])?, self.ints(&[to as i64])?, self.ints(&[axis as i64])?);
        let dims = with_axis(x, axis, Dim::Fixed(to - from));
        Ok(self.node("Slice", &[x, &starts, &ends, &axes], vec![], x.dtype(), dims))
    }

    /// Element `index` along the first axis, without that axis.
    pub fn row(&mut self, x: &Value, index: usize) -> Result<Value, Error> {
        let row = self.slice(x, 0, index, index + 1)?;
        self.reshape(&row, &x.dims()[1..])
    }

    /// Rows of `x` named by the INT32 `index`, along the first axis.
    pub fn gather(&mut self, x: &Value, index: &Value) -> Result<Value, Error> {
        if index.dtype() != DType::I32 || x.dims().is_empty() {
            return Err(self.misfit("Gather", "a table and i32 indices", &[x, index]));
        }
        let dims = [index.dims(), &x.dims()[1..]].concat();
        Ok(self.node("Gather", &[x, index], vec![("axis", Attribute::Int(0))], x.dtype(), dims))
    }

    /// `x` repeated where `to` has a larger size than 1.
    pub fn expand(&mut self, x: &Value, to: &[Dim]) -> Result<Value, Error> {
        let fits = shape::broadcast(x.dims(), to).is_some_and(|dims| dims == to) && x.dims().len() == to.len();
        if !fits {
            return Err(self.misfit("Expand", format!("a value that broadcasts to {}", display_dims(to)), &[x]));
        }
        // 1 keeps an axis, so that a symbolic one needs no shape arithmetic.
        let keep = |(have, want): (&Dim, &Dim)| {
            if have == want {
                1
            } else if let Dim::Fixed(n) = want {
                *n as i64
            } else {
                1
            }
        };
        let constant: Vec<i64> = x.dims().iter().zip(to).map(keep).collect();
        let constant = self.ints(&constant)?;
        Ok(self.node("Expand", &[x, &constant], vec![], x.dtype(), to.to_vec()))
    }

    /// INT32 `[n]` counting 0, 1, .. along the first axis of `x` `[n, ..]`, whose size may be known at run time only.
    pub fn count(&mut self, x: &Value) -> Result<Value, Error> {
        let Some(dim) = x.dims().first() else {
            return Err(self.misfit("Shape", "at least one axis", &[x]));
        };
        let start = self.start();
        let size = self.node("Shape", &[x], vec![], DType::I64, vec![Dim::Fixed(x.dims().len())]);
        let first = self.bytes("scalar[0]i64", DType::I64, &[], &0_i64.to_le_bytes())?;
        let size = self.node("Gather", &[&size, &first], vec![("axis", Attribute::Int(0))], DType::I64, vec![]);
        let size = self.cast(&size, DType::I32);
        let (zero, one) = (self.scalar_i32(0)?, self.scalar_i32(1)?);
        let count = self.node("Range", &[&zero, &size, &one], vec![], DType::I32, vec![dim.clone()]);
        Ok(self.piece(start, Meaning::Count, count))
    }

    /// Softmax along the last axis.
    pub(crate) fn softmax(&mut self, x: &Value) -> Value {
        self.node("Softmax", &[x], vec![("axis", Attribute::Int(-1))], x.dtype(), x.dims().to_vec())
    }

    /// Mean along the last axis, kept as size 1.
    pub(crate) fn mean_last(&mut self, x: &Value) -> Result<Value, Error> {
        let Some(last) = x.dims().len().checked_sub(1) else {
            return Err(self.misfit("ReduceMean", "at least one axis", &[x]));
        };
        let attributes = vec![("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(1))];
        let dims = with_axis(x, last, Dim::Fixed(1));
        Ok(self.node("ReduceMean", &[x], attributes, x.dtype(), dims))
    }

    /// LayerNorm along the last axis with weights of that size.
    pub fn layer_norm(&mut self, x: &Value, weight: &Value, bias: &Value, eps: f32) -> Result<Value, Error> {
        let last = &x.dims()[x.dims().len().saturating_sub(1)..];
        if ![weight, bias].iter().all(|w| w.dims() == last && w.dtype() == x.dtype()) {
            return Err(self.misfit("LayerNormalization", "weights of the last axis, one type", &[x, weight, bias]));
        }
        let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps))];
        Ok(self.node("LayerNormalization", &[x, weight, bias], attributes, x.dtype(), x.dims().to_vec()))
    }
}

fn with_axis(x: &Value, axis: usize, dim: Dim) -> Vec<Dim> {
    let mut dims = x.dims().to_vec();
    dims[axis] = dim;
    dims
}
