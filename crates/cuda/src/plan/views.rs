//! Which memory each value has: its own, an input's or output's, or a place in that of another value.
//!
//! A copy that only moves a whole value is no launch where its two sides can be one piece of memory: parts of a concatenation are
//! written where they end up, and a value that only becomes an output is written there.

use vla_engines::operations::{Operand, Operation, Program, Source};

use super::WeightLayout;
use super::memory::{Home, Storage, View};
use super::operand::{Sizes, element_size};

/// Alignment of a value inside of another, for the wide loads of kernels and products.
const INNER_ALIGNMENT: u64 = 16;

/// Storages, and the view of each value.
pub(super) struct Views {
    pub(super) storages: Vec<Storage>,
    pub(super) views: Vec<View>,
}

/// The views of a program.
pub(super) fn views(program: &Program, layout: &WeightLayout, sizes: &Sizes<'_>) -> Views {
    let mut making = Making::new(program, sizes, layout);
    for operation in program.operations.iter().rev() {
        making.before(operation);
    }
    for operation in &program.operations {
        making.after(operation);
    }
    // Every value is an input or written by an operation.
    let views = making.views.into_iter().map(|view| view.unwrap_or(View { storage: 0, offset: 0 })).collect();
    Views { storages: making.storages, views }
}

struct Making<'a> {
    program: &'a Program,
    layout: &'a WeightLayout,
    sizes: &'a Sizes<'a>,
    storages: Vec<Storage>,
    views: Vec<Option<View>>,
}

impl<'a> Making<'a> {
    fn new(program: &'a Program, sizes: &'a Sizes<'a>, layout: &'a WeightLayout) -> Self {
        let views = vec![None; program.values.len()];
        let storages = vec![Storage { home: Home::Weights, bytes: layout.bytes() }];
        let mut making = Self { program, layout, sizes, storages, views };
        for (at, value) in program.inputs.iter().enumerate() {
            making.store(*value, Home::Input(at));
        }
        for (at, value) in program.outputs.iter().enumerate() {
            making.store(*value, Home::Output(at));
        }
        making
    }

    fn bytes(&self, value: usize) -> u64 {
        self.sizes.dims[value].iter().map(|n| *n as u64).product::<u64>()
            * element_size(self.program.values[value].dtype)
    }

    fn store(&mut self, value: usize, home: Home) -> View {
        let view = View { storage: self.storages.len(), offset: 0 };
        self.storages.push(Storage { home, bytes: self.bytes(value) });
        self.views[value] = Some(view);
        view
    }

    fn view(&mut self, value: usize) -> View {
        self.views[value].unwrap_or_else(|| self.store(value, Home::Arena(0)))
    }

    /// Last operation first: a value that has no memory yet is written where it is copied to.
    fn before(&mut self, operation: &Operation) {
        if let Operation::Concat { parts, out } = operation {
            let mut place = self.view(*out);
            let size = element_size(self.program.values[*out].dtype);
            for part in parts {
                let Some(rows) = self.sizes.of(&part.rows) else { return };
                if let Some(value) = self.whole(part)
                    && place.offset.is_multiple_of(INNER_ALIGNMENT)
                {
                    self.views[value].get_or_insert(place);
                }
                place = place.behind((rows * part.columns) as u64 * size);
            }
        }
        let out = operation.out();
        if let Some((Source::Value(x), 0)) = self.moved(operation)
            && self.bytes(x) == self.bytes(out)
            && let Some(view) = self.views[out]
        {
            self.views[x].get_or_insert(view);
        }
    }

    /// First operation first: a moved value is seen where it is; others get memory.
    fn after(&mut self, operation: &Operation) {
        let out = operation.out();
        if self.views[out].is_some() {
            return;
        }
        self.views[out] = match self.moved(operation) {
            Some((Source::Value(x), row)) => self.views[x].map(|view| view.behind(row)),
            Some((Source::Weight(w), row)) => Some(View { storage: 0, offset: self.layout.offset(w) + row }),
            None => None,
        };
        self.view(out);
    }

    /// Where the result of an operation begins in its source, in bytes, when it has the same elements in the same order.
    fn moved(&self, operation: &Operation) -> Option<(Source, u64)> {
        let x = match operation {
            Operation::Permute { x, dims, order, .. } => {
                let dims = dims.iter().map(|dim| self.sizes.of(dim)).collect::<Option<Vec<_>>>()?;
                let moved: Vec<usize> = order.iter().copied().filter(|axis| dims.get(*axis) != Some(&1)).collect();
                moved.is_sorted().then_some(x)?
            }
            Operation::Cast { x, out } if self.source_dtype(x) == self.program.values[*out].dtype => x,
            _ => return None,
        };
        let dense = x.column == 0 && self.source_dims(x.source).last() == Some(&x.columns);
        let offset = (x.row * x.columns) as u64 * element_size(self.source_dtype(x));
        dense.then_some((x.source, offset))
    }

    fn source_dtype(&self, x: &Operand) -> vla_base::tensor::DType {
        match x.source {
            Source::Value(value) => self.program.values[value].dtype,
            Source::Weight(weight) => self.program.weights[weight].dtype,
        }
    }

    fn source_dims(&self, source: Source) -> &[usize] {
        match source {
            Source::Value(value) => &self.sizes.dims[value],
            Source::Weight(weight) => &self.program.weights[weight].dims,
        }
    }

    /// The value of which an operand reads everything.
    fn whole(&self, operand: &Operand) -> Option<usize> {
        let Source::Value(value) = operand.source else { return None };
        let rows = self.sizes.of(&operand.rows)?;
        let all = rows * operand.columns == self.sizes.dims[value].iter().product::<usize>();
        (operand.row == 0 && operand.column == 0 && all).then_some(value)
    }
}
