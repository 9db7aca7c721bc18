//! A graph to a list of operations, one by one.

use std::collections::BTreeMap;

use vla_base::tensor::{DType, Dim, display_dims};
use vla_engines::operations::{ByHead, Operand, Operation, Program, Size, Source, Value, Weight};

use super::view::View;
use crate::onnx::Graph;
use crate::onnx::pieces::Piece;

/// What a value of the graph is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Elements of a value or weight of the program.
    View(View),
    /// 0, 1, .. so many.
    Count(Size),
    /// What makes a row attend to itself and those before it.
    CausalMask,
}

/// An operation of the list that is being made.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    /// As in the file.
    Operation(Operation),
    /// `a * b`, which is a part of another operation in the file.
    Multiply { a: Operand, b: Operand, out: usize },
}

/// The list that is being made.
pub(super) struct Lowering<'g> {
    pub(super) graph: &'g Graph,
    pub(super) values: Vec<Value>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    pub(super) weights: Vec<Weight>,
    pub(super) steps: Vec<Step>,
    /// Values whose elements are in order, whatever their dimensions: those of a permutation until a reader says its columns.
    loose: Vec<bool>,
    places: BTreeMap<usize, Place>,
}

/// Lowers a whole graph; `Err` says what the operations do not express.
pub(super) fn lower(graph: &Graph) -> Result<Lowering<'_>, String> {
    let mut lowering = Lowering {
        graph,
        values: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        weights: Vec::new(),
        steps: Vec::new(),
        loose: Vec::new(),
        places: BTreeMap::new(),
    };
    lowering.start()?;
    let mut at = 0;
    while let Some(node) = graph.nodes.get(at) {
        let outermost = graph.pieces.iter().filter(|piece| piece.nodes.start == at && !piece.nodes.is_empty());
        match outermost.max_by_key(|piece| piece.nodes.end) {
            Some(piece) => {
                lowering.piece(piece).map_err(|reason| in_piece(graph, piece, &reason))?;
                at = piece.nodes.end;
            }
            None => {
                lowering.node(node).map_err(|reason| format!("{}: {reason}", node.name))?;
                at += 1;
            }
        }
    }
    lowering.end()?;
    Ok(lowering)
}

fn in_piece(graph: &Graph, piece: &Piece, reason: &str) -> String {
    let last = piece.nodes.end.checked_sub(1).and_then(|last| graph.nodes.get(last));
    format!("{}: {reason}", last.map_or("", |node| node.name.as_str()))
}

/// Sizes of dimensions.
pub(super) fn sizes(dims: &[Dim]) -> Result<Vec<Size>, String> {
    let sizes = dims.iter().map(Size::of).collect::<Option<_>>();
    sizes.ok_or_else(|| format!("expected sizes, found {}", display_dims(dims)))
}

impl Lowering<'_> {
    fn start(&mut self) -> Result<(), String> {
        for input in &self.graph.inputs {
            let name = self.graph.names.get(input.id).cloned().unwrap_or_default();
            let view = self.value(self.graph.storage(input.dtype()), input.dims())?;
            if let Source::Value(index) = view.source {
                self.values[index].name = name;
                self.loose[index] = false;
                self.inputs.push(index);
            }
            self.places.insert(input.id, Place::View(view));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        for (id, spec) in &self.graph.outputs {
            let view = self.view(*id)?;
            let count = Size::product(&spec.dims).ok_or("expected outputs that fit 64 bits")?;
            let index = match view.source {
                Source::Value(index) if self.can_be_output(index, &view, &count, &spec.dims) => index,
                _ => self.copied(&view, &spec.dims)?,
            };
            let value = &mut self.values[index];
            (value.name, value.dims) = (spec.name.clone(), spec.dims.clone());
            self.loose[index] = false;
            self.outputs.push(index);
        }
        Ok(())
    }

    /// Whether the value of a view is this output itself.
    fn can_be_output(&self, index: usize, view: &View, count: &Size, dims: &[Dim]) -> bool {
        let value = &self.values[index];
        let whole = view.is_whole(count) && Size::product(&value.dims).as_ref() == Some(count);
        let fits = self.loose[index] || value.dims.last() == dims.last();
        whole && fits && !self.inputs.contains(&index) && !self.outputs.contains(&index)
    }

    /// A new value with the elements of a view in order.
    fn copied(&mut self, view: &View, dims: &[Dim]) -> Result<usize, String> {
        let dtype = self.dtype_of(view.source);
        let index = match self.matrix(view) {
            Some(x) => {
                let out = self.fresh(dtype, dims)?;
                self.steps.push(Step::Operation(Operation::Cast { x, out }));
                out
            }
            None => match self.in_order(view, dims)?.source {
                Source::Value(index) => index,
                Source::Weight(_) => return Err("expected a value".to_owned()),
            },
        };
        Ok(index)
    }

    /// A new value and its index.
    pub(super) fn fresh(&mut self, dtype: DType, dims: &[Dim]) -> Result<usize, String> {
        self.values.push(Value { name: String::new(), dtype, dims: dims.to_vec() });
        self.loose.push(false);
        sizes(dims).map(|_| self.values.len() - 1)
    }

    /// All of a new value.
    pub(super) fn value(&mut self, dtype: DType, dims: &[Dim]) -> Result<View, String> {
        let index = self.fresh(dtype, dims)?;
        View::whole(Source::Value(index), &sizes(dims)?).ok_or_else(|| "expected a size that fits 64 bits".to_owned())
    }

    /// Records what a value of the graph is.
    pub(super) fn place(&mut self, id: usize, place: Place) {
        self.places.insert(id, place);
    }

    /// Appends an operation that writes the value `out` of the graph, made by `make` of the index of a new value with its type and
    /// dimensions.
    pub(super) fn push(&mut self, id: usize, make: impl FnOnce(usize) -> Step) -> Result<(), String> {
        let (dtype, dims) = self.shape(id);
        let view = self.value(dtype, &dims)?;
        if let Source::Value(index) = view.source {
            self.steps.push(make(index));
        }
        self.place(id, Place::View(view));
        Ok(())
    }

    /// Element type and dimensions of a value of the graph.
    pub(super) fn shape(&self, id: usize) -> (DType, Vec<Dim>) {
        let (dtype, dims) = self.graph.shapes.get(id).cloned().unwrap_or((DType::F32, Vec::new()));
        (self.graph.storage(dtype), dims)
    }

    /// What a value of the graph is.
    pub(super) fn at(&mut self, id: usize) -> Result<Place, String> {
        if let Some(place) = self.places.get(&id) {
            return Ok(place.clone());
        }
        let name = self.graph.names.get(id).cloned().unwrap_or_default();
        let is_weight = self.graph.initializers.iter().any(|tensor| tensor.name() == name);
        if !is_weight {
            return Err(format!("expected a result of an operation, found {name}, which is inside of one"));
        }
        let (dtype, dims) = self.shape(id);
        let source = Source::Weight(self.weights.len());
        let view = View::whole(source, &sizes(&dims)?).ok_or("expected a weight that fits 64 bits")?;
        let fixed = |dim: &Dim| if let Dim::Fixed(n) = dim { Some(*n) } else { None };
        let dims = dims.iter().map(fixed).collect::<Option<_>>().ok_or("expected a weight of fixed dimensions")?;
        self.weights.push(Weight { name, dtype, dims });
        self.places.insert(id, Place::View(view.clone()));
        Ok(Place::View(view))
    }

    /// A value of the graph as a view.
    pub(super) fn view(&mut self, id: usize) -> Result<View, String> {
        match self.at(id)? {
            Place::View(view) => Ok(view),
            place => Err(format!("expected a tensor, found {place:?}")),
        }
    }

    /// Index of a whole weight of this rank.
    pub(super) fn weight(&mut self, id: usize, rank: usize) -> Result<usize, String> {
        let view = self.view(id)?;
        match view.source {
            Source::Weight(index)
                if view.axes.len() == rank
                    && self.weights[index].dims.len() == rank
                    && view.count().is_some_and(|count| view.is_whole(&count)) =>
            {
                Ok(index)
            }
            _ => Err(format!("expected a weight of rank {rank}, found {:?}", view.source)),
        }
    }

    /// A value of the graph as a matrix whose columns are its last axis; its elements are put in order where they are not.
    pub(super) fn operand(&mut self, id: usize) -> Result<Operand, String> {
        let view = self.view(id)?;
        if let Some(operand) = self.matrix(&view) {
            return Ok(operand);
        }
        let dims: Vec<Dim> = view.axes.iter().map(|axis| axis.size.dim()).collect();
        let ordered = self.in_order(&view, &dims)?;
        let operand =
            self.matrix(&ordered).ok_or_else(|| format!("expected a matrix, found {}", display_dims(&dims)))?;
        self.place(id, Place::View(ordered));
        Ok(operand)
    }

    /// A value `[n]` of the graph as a column.
    pub(super) fn column(&mut self, id: usize) -> Result<Operand, String> {
        let view = self.view(id)?;
        let count = view.count().ok_or("expected a size that fits 64 bits")?;
        let column = view.reshaped(&[count, Size::number(1)]).and_then(|column| self.matrix(&column));
        column.ok_or_else(|| format!("expected a vector, found {view:?}"))
    }

    /// `[groups, heads, rows, dim]` of the graph as rows for attention.
    pub(super) fn by_head(&mut self, id: usize) -> Result<ByHead, String> {
        let view = self.view(id)?;
        if let Some(rows) = self.rows_of_heads(&view) {
            return Ok(ByHead { rows, heads_first: false });
        }
        let (Source::Value(index), [groups, heads, rows, dim]) = (view.source, view.axes.as_slice()) else {
            return Err(format!("expected rows by head, found {view:?}"));
        };
        let count = view.count().ok_or("expected a size that fits 64 bits")?;
        let columns = heads.size.times(&dim.size).and_then(|columns| columns.fixed());
        let dims: Vec<Dim> = view.axes.iter().map(|axis| axis.size.dim()).collect();
        if let (Some(columns), Some(1)) = (columns, groups.size.fixed())
            && view.is_whole(&count)
            && self.values[index].dims == dims
        {
            let rows = Operand { source: view.source, rows: rows.size.dim(), row: 0, columns, column: 0 };
            return Ok(ByHead { rows, heads_first: true });
        }
        let rows_first = view.transposed(&[0, 2, 1, 3]).ok_or("expected four axes")?;
        let dims: Vec<Dim> = rows_first.axes.iter().map(|axis| axis.size.dim()).collect();
        let ordered = self.in_order(&rows_first, &dims)?.transposed(&[0, 2, 1, 3]).ok_or("expected four axes")?;
        let rows = self.rows_of_heads(&ordered).ok_or("expected rows by head")?;
        self.place(id, Place::View(ordered));
        Ok(ByHead { rows, heads_first: false })
    }

    /// `[groups, heads, rows, dim]` whose source has rows of all heads as `[groups * rows, heads * dim]`.
    fn rows_of_heads(&mut self, view: &View) -> Option<Operand> {
        let [groups, heads, rows, dim] = view.axes.as_slice() else { return None };
        let sizes = [groups.size.times(&rows.size)?, heads.size.times(&dim.size)?];
        let matrix = view.transposed(&[0, 2, 1, 3])?.reshaped(&sizes)?;
        self.matrix(&matrix)
    }

    /// A view as a matrix of its source whose columns are the last axis.
    fn matrix(&mut self, view: &View) -> Option<Operand> {
        let last = view.axes.last()?.size.fixed()?;
        if let Source::Value(index) = view.source
            && self.loose[index]
            && view.is_whole(&Size::product(&self.values[index].dims)?)
        {
            let rows = view.count()?.over(last)?;
            self.values[index].dims = vec![rows.dim(), Dim::Fixed(last)];
            self.loose[index] = false;
        }
        view.matrix(self.width(view.source, last)?)
    }

    /// Elements of a row of a source that is read `columns` at a time.
    fn width(&self, source: Source, columns: usize) -> Option<usize> {
        let (last, rank) = match source {
            Source::Value(index) => match self.values[index].dims.last()? {
                Dim::Fixed(n) => (Some(*n), self.values[index].dims.len()),
                Dim::Symbol(_) => (None, self.values[index].dims.len()),
            },
            Source::Weight(index) => (self.weights[index].dims.last().copied(), self.weights[index].dims.len()),
        };
        if rank == 1 && columns == 1 { Some(1) } else { last }
    }

    /// A new value of these dimensions with the elements of a view in order.
    pub(super) fn in_order(&mut self, view: &View, dims: &[Dim]) -> Result<View, String> {
        let width = self.width(view.source, 0).ok_or("expected rows of fixed width")?;
        let permutation = view.permutation(width);
        let permutation =
            permutation.ok_or_else(|| format!("expected axes of one tensor in some order, found {view:?}"))?;
        let ordered = self.value(self.dtype_of(view.source), dims)?;
        if let Source::Value(out) = ordered.source {
            self.loose[out] = true;
            let super::view::Permutation { x, dims, order } = permutation;
            self.steps.push(Step::Operation(Operation::Permute { x, dims, order, out }));
        }
        Ok(ordered)
    }

    pub(super) fn dtype_of(&self, source: Source) -> DType {
        match source {
            Source::Value(index) => self.values[index].dtype,
            Source::Weight(index) => self.weights[index].dtype,
        }
    }

    /// The program, without the values and weights that nothing uses; the hash of the ONNX file is left empty.
    pub(super) fn program(self) -> Result<Program, String> {
        let operation = |step| match step {
            Step::Operation(operation) => Ok(operation),
            Step::Multiply { a, b, .. } => {
                Err(format!("expected an operation that multiplies {a:?} by {b:?}, found none"))
            }
        };
        let operations = self.steps.into_iter().map(operation).collect::<Result<Vec<_>, _>>()?;
        let mut program = Program {
            format: 0,
            network: String::new(),
            values: self.values,
            inputs: self.inputs,
            outputs: self.outputs,
            weights: self.weights,
            operations,
        };
        compact(&mut program);
        Ok(program)
    }
}

/// Leaves out values and weights that nothing uses.
fn compact(program: &mut Program) {
    let mut values = vec![false; program.values.len()];
    let mut weights = vec![false; program.weights.len()];
    let edges = program.inputs.iter().chain(&program.outputs).copied();
    edges.chain(program.operations.iter().map(Operation::out)).for_each(|index| values[index] = true);
    for operation in &program.operations {
        operation.weights().into_iter().for_each(|index| weights[index] = true);
        for operand in operation.operands() {
            if let Source::Weight(index) = operand.source {
                weights[index] = true;
            }
        }
    }
    let numbered = |used: &[bool]| -> Vec<usize> {
        used.iter().scan(0, |next, used| Some(std::mem::replace(next, *next + usize::from(*used)))).collect()
    };
    let (value, weight) = (numbered(&values), numbered(&weights));
    let mut keep = values.iter();
    program.values.retain(|_| keep.next().copied().unwrap_or(false));
    let mut keep = weights.iter();
    program.weights.retain(|_| keep.next().copied().unwrap_or(false));
    program.inputs.iter_mut().chain(&mut program.outputs).for_each(|index| *index = value[*index]);
    for operation in &mut program.operations {
        *operation.out_mut() = value[operation.out()];
        operation.weights_mut().into_iter().for_each(|index| *index = weight[*index]);
        for operand in operation.operands_mut() {
            operand.source = match operand.source {
                Source::Value(index) => Source::Value(value[index]),
                Source::Weight(index) => Source::Weight(weight[index]),
            };
        }
    }
}
