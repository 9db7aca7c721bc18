//! Nodes that are no part of a piece.

use vla_base::tensor::{DType, Dim, display_dims};
use vla_engines::operations::{Activation, LinearPart, NormKind, Operand, Operation, Size};

use super::lower::{Lowering, Place, Step, sizes};
use crate::onnx::graph::{Attribute, Node};

impl Lowering<'_> {
    /// Lowers one node; `Err` says what the operations do not express.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), String> {
        let (Some(x), Some(out)) = (node.inputs.first().copied(), node.outputs.first().copied()) else {
            return Err("expected an input and an output, found none".to_owned());
        };
        let second = || node.inputs.get(1).copied().ok_or("expected two inputs, found one");
        match node.operator {
            "Identity" => {
                let place = self.at(x)?;
                self.place(out, place);
                Ok(())
            }
            "Reshape" => self.reshape(x, out),
            "Transpose" => {
                let order: Vec<usize> =
                    ints(node, "perm").iter().filter_map(|axis| usize::try_from(*axis).ok()).collect();
                let view = self.view(x)?.transposed(&order).ok_or("expected an order of its axes")?;
                self.place(out, Place::View(view));
                Ok(())
            }
            "Split" => self.split(node, x),
            "Slice" => self.slice(node, x, out),
            "Gather" => self.gather(x, second()?, out),
            "Concat" => self.concat(node, out),
            "Gemm" => self.gemm(node, out),
            "MatMul" => {
                let (x, weight) = (self.operand(x)?, self.weight(second()?, 2)?);
                self.push(out, |out| linear(x, weight, None, false, out))
            }
            "LayerNormalization" => self.layer_norm(node, out),
            "Add" => {
                let (a, b) = self.pair(x, second()?, out)?;
                self.push(out, |out| Step::Operation(Operation::Add { a, b, out }))
            }
            "Mul" => {
                let (a, b) = self.pair(x, second()?, out)?;
                self.push(out, |out| Step::Multiply { a, b, out })
            }
            "Relu" => {
                let x = self.operand(x)?;
                let activation = Activation::Relu;
                self.push(out, |out| Step::Operation(Operation::Activate { activation, x, by: None, out }))
            }
            "Cast" => {
                let x = self.operand(x)?;
                self.push(out, |out| Step::Operation(Operation::Cast { x, out }))
            }
            operator => Err(format!("expected an operator that an operation expresses, found {operator}")),
        }
    }

    fn reshape(&mut self, x: usize, out: usize) -> Result<(), String> {
        let (_, dims) = self.shape(out);
        let (view, to) = (self.view(x)?, sizes(&dims)?);
        let view = match view.reshaped(&to) {
            Some(view) => view,
            None => self.in_order(&view, &dims)?,
        };
        self.place(out, Place::View(view));
        Ok(())
    }

    fn split(&mut self, node: &Node, x: usize) -> Result<(), String> {
        let axis = axis(node)?;
        let (view, mut from) = (self.view(x)?, 0);
        for out in &node.outputs {
            let (_, dims) = self.shape(*out);
            let Some(Dim::Fixed(size)) = dims.get(axis) else {
                return Err("expected pieces of fixed sizes".to_owned());
            };
            let piece = view.sliced(axis, from, Size::number(*size)).ok_or("expected an axis of fixed stride")?;
            self.place(*out, Place::View(piece));
            from += size;
        }
        Ok(())
    }

    fn slice(&mut self, node: &Node, x: usize, out: usize) -> Result<(), String> {
        let constant = |at: usize| node.inputs.get(at).and_then(|id| self.number(*id));
        let (Some(from), Some(axis)) = (constant(1), constant(3)) else {
            return Err("expected a constant start and axis".to_owned());
        };
        let (_, dims) = self.shape(out);
        let size = dims.get(axis).and_then(Size::of).ok_or("expected an axis of the result")?;
        let piece = self.view(x)?.sliced(axis, from, size).ok_or("expected an axis of fixed stride")?;
        self.place(out, Place::View(piece));
        Ok(())
    }

    /// The one number that an INT64 constant is.
    fn number(&self, id: usize) -> Option<usize> {
        let name = self.graph.names.get(id)?;
        let tensor = self.graph.initializers.iter().find(|tensor| tensor.name() == name)?;
        let bytes: [u8; 8] = tensor.raw_data.as_ref()?.as_ref().try_into().ok()?;
        usize::try_from(i64::from_le_bytes(bytes)).ok()
    }

    fn gather(&mut self, table: usize, index: usize, out: usize) -> Result<(), String> {
        match self.at(index)? {
            Place::Count(count) => {
                let rows = self.view(table)?.sliced(0, 0, count).ok_or("expected a table")?;
                self.place(out, Place::View(rows));
                Ok(())
            }
            Place::View(_) => {
                let (table, index) = (self.operand(table)?, self.column(index)?);
                self.push(out, |out| Step::Operation(Operation::Gather { table, index, out }))
            }
            Place::CausalMask => Err("expected indices, found a mask".to_owned()),
        }
    }

    fn concat(&mut self, node: &Node, out: usize) -> Result<(), String> {
        let (_, dims) = self.shape(out);
        if axis(node)? != 0 || dims.len() != 2 {
            return Err(format!("expected rows one below the other, found {}", display_dims(&dims)));
        }
        let parts = node.inputs.iter().map(|id| self.operand(*id)).collect::<Result<Vec<_>, _>>()?;
        self.push(out, |out| Step::Operation(Operation::Concat { parts, out }))
    }

    fn gemm(&mut self, node: &Node, out: usize) -> Result<(), String> {
        let [x, weight, bias @ ..] = node.inputs.as_slice() else { return Err("expected two inputs".to_owned()) };
        let transposed = matches!(attribute(node, "transB"), Some(Attribute::Int(1)));
        let (x, weight) = (self.operand(*x)?, self.weight(*weight, 2)?);
        let bias = bias.first().map(|id| self.operand(*id)).transpose()?;
        self.push(out, |out| linear(x, weight, bias, transposed, out))
    }

    fn layer_norm(&mut self, node: &Node, out: usize) -> Result<(), String> {
        let ([x, weight, bias], Some(Attribute::Float(eps))) = (node.inputs.as_slice(), attribute(node, "epsilon"))
        else {
            return Err("expected weight, bias and epsilon".to_owned());
        };
        let (weight, bias, eps) = (Some(self.weight(*weight, 1)?), Some(self.weight(*bias, 1)?), *eps);
        let x = self.operand(*x)?;
        self.push(out, |out| {
            let (kind, gain, shift) = (NormKind::Layer, None, None);
            Step::Operation(Operation::Norm { kind, x, eps, weight, bias, gain, shift, out })
        })
    }

    /// Two values whose elements are combined as `out`: the first has all its rows, those of the second repeat.
    fn pair(&mut self, a: usize, b: usize, out: usize) -> Result<(Operand, Operand), String> {
        let ((_, result), (dtype, _)) = (self.shape(out), self.shape(a));
        let [full, part] = match (self.shape(a).1 == result, self.shape(b).1 == result) {
            (true, _) => [a, b],
            (false, true) => [b, a],
            (false, false) => return Err(format!("expected a value {}, found none", display_dims(&result))),
        };
        let (_, dims) = self.shape(part);
        let leading = dims.iter().take_while(|dim| **dim == 1).count();
        // A row of one column has a last axis of 1.
        let own = dims.get(leading.min(dims.len().saturating_sub(1))..).unwrap_or_default();
        if !result.ends_with(own) || !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(format!("expected rows of {}, found {}", display_dims(&result), display_dims(&dims)));
        }
        Ok((self.operand(full)?, self.operand(part)?))
    }
}

fn linear(x: Operand, weight: usize, bias: Option<Operand>, transposed: bool, out: usize) -> Step {
    let parts = vec![LinearPart { weight, bias }];
    Step::Operation(Operation::Linear { x, parts, transposed, activation: None, residual: None, out })
}

fn attribute<'n>(node: &'n Node, name: &str) -> Option<&'n Attribute> {
    node.attributes.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn ints<'n>(node: &'n Node, name: &str) -> &'n [i64] {
    match attribute(node, name) {
        Some(Attribute::Ints(ints)) => ints,
        _ => &[],
    }
}

fn axis(node: &Node) -> Result<usize, String> {
    match attribute(node, "axis") {
        Some(Attribute::Int(axis)) => {
            usize::try_from(*axis).map_err(|error| format!("expected an axis, found {axis}: {error}"))
        }
        _ => Err("expected an axis, found none".to_owned()),
    }
}
