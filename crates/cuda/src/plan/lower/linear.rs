//! Linear layers: products, and what ends them.

use vla_engines::operations::{Activation, Operation};

use super::Lowering;
use super::rows::activation_code;
use crate::launch::{
    Address, Arguments, ElementwiseArguments, Epilogue, Follows, Kernel, Launch, Matrix, Parts, Product,
    ProductArguments, Tile,
};
use crate::plan::Reason;
use crate::plan::fusions::Fusion;
use crate::plan::memory::View;
use crate::plan::operand::{Sized, bytes_of, element, int};
use crate::plan::weights::{Bias, width};
use crate::tactics::Key;

/// One product of a linear layer.
struct Piece {
    x: Sized,
    weight: Address,
    /// 0: none.
    bias: Address,
    transposed: bool,
    activation: Option<Activation>,
    residual: Option<Sized>,
    y: Sized,
}

impl Lowering<'_> {
    pub(super) fn linear(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        let Operation::Linear { x, parts, transposed, activation, residual, out } = operation else { return Ok(()) };
        let (transposed, activation) = (*transposed, *activation);
        let x = self.operand(x)?;
        let widths: Vec<usize> = parts.iter().map(|part| width(self.program, part, transposed)).collect();
        let y = self.result(*out, widths.iter().sum());
        let residual = residual.as_ref().map(|residual| self.operand(residual)).transpose()?;
        let bias = self.layout.bias(self.program, parts, transposed);
        let one = self.layout.stacked(self.program, parts, transposed).filter(|_| bias != Bias::Scattered);
        if let Some(weight) = one {
            let bias = match bias {
                Bias::Own => self.row(parts[0].bias.as_ref())?,
                Bias::Stacked(offset) => View { storage: 0, offset }.address(),
                Bias::None | Bias::Scattered => 0,
            };
            let weight = View { storage: 0, offset: weight }.address();
            let piece = Piece { x, weight, bias, transposed, activation, residual, y };
            return self.piece(&piece, self.fusion(index));
        }
        let mut column = 0;
        for (part, width) in parts.iter().zip(widths) {
            let weight = View { storage: 0, offset: self.layout.offset(part.weight) }.address();
            let bias = self.row(part.bias.as_ref())?;
            let columns = |matrix: Sized| matrix.part(0, column, matrix.rows, width);
            let (residual, y) = (residual.map(columns), columns(y));
            self.piece(&Piece { x, weight, bias, transposed, activation, residual, y }, None)?;
            column += width;
        }
        Ok(())
    }

    /// A product, and what ends it unless a later kernel does.
    fn piece(&mut self, piece: &Piece, fusion: Option<Fusion>) -> Result<(), Reason> {
        if let Some(fusion) = fusion {
            let (row, rows) = fusion.rows;
            let x = piece.x.part(row, 0, rows, piece.x.columns);
            let residual = piece.residual.map(|r| r.part(row, 0, rows, r.columns).matrix).unwrap_or_default();
            let parts = self.in_parts(piece, &x, fusion.follows)?;
            self.leave(fusion, residual, parts, piece.y.matrix);
            return Ok(());
        }
        match epilogue(piece) {
            Some(epilogue) => self.product(piece, epilogue),
            None => self.product_and_elementwise(piece),
        }
    }

    /// A product that the library ends.
    fn product(&mut self, piece: &Piece, epilogue: Epilogue) -> Result<(), Reason> {
        let zeros = View { storage: 0, offset: self.layout.zeros() }.address();
        let bias = if epilogue != Epilogue::None && piece.bias == 0 { zeros } else { piece.bias };
        let y = piece.y.matrix;
        let product = Product { bias, epilogue, y, ..plain(piece, &piece.x, Follows::Value)? };
        let split = self.choose.split(&Key::of(&product)).fitting(product.from);
        self.launch(launch(product, split.tile))
    }

    fn product_and_elementwise(&mut self, piece: &Piece) -> Result<(), Reason> {
        let arguments = ElementwiseArguments {
            parts: self.in_parts(piece, &piece.x, Follows::Elementwise)?,
            add: piece.residual.map(|residual| residual.matrix).unwrap_or_default(),
            y: piece.y.matrix,
            rows: int(piece.y.rows)?,
            columns: int(piece.y.columns)?,
            add_rows: int(piece.y.rows)?,
            activation: activation_code(piece.activation),
            ..Default::default()
        };
        self.kernel(Kernel::Elementwise(element(piece.x.dtype)?), Arguments::Elementwise(arguments))
    }

    /// The product of `x` in as many parts as is fastest, with the bias for the kernel that adds them.
    fn in_parts(&mut self, piece: &Piece, x: &Sized, follows: Follows) -> Result<Parts, Reason> {
        let product = plain(piece, x, follows)?;
        let split = self.choose.split(&Key::of(&product)).fitting(product.from);
        let size = if split.single { 4 } else { bytes_of(product.element) };
        let elements = (x.rows * piece.y.columns) as u64;
        let room = self.room(elements * u64::from(split.parts) * size);
        let y = Matrix { address: room.address(), stride: piece.y.columns as i64 };
        let parts = int(split.parts as usize)?;
        let (apart, single) = (if parts > 1 { elements as i64 } else { 0 }, split.single);
        self.launch(launch(Product { y, parts, apart, single, ..product }, split.tile))?;
        Ok(Parts { first: y, apart, bias: piece.bias, count: parts, single: i32::from(single) })
    }
}

/// The product by our own kernel where it takes it, else by the library.
pub(crate) fn launch(product: Product, tile: Option<Tile>) -> Launch {
    let Some(tile) = tile.filter(|tile| tile.takes(&product)) else { return Launch::Product(product) };
    let Product { element, x, weight, bias, y, rows, from, to, epilogue, parts, apart, single, .. } = product;
    let activation = match epilogue {
        Epilogue::None | Epilogue::Bias => None,
        Epilogue::BiasRelu => Some(Activation::Relu),
        Epilogue::BiasGelu => Some(Activation::GeluTanh),
    };
    let (single, activation) = (i32::from(single), activation_code(activation));
    let arguments = ProductArguments { x, weight, bias, y, apart, rows, from, to, parts, single, activation };
    Launch::Kernel { kernel: Kernel::Product(element, tile), arguments: Arguments::Product(arguments) }
}

/// The product alone, in one part, without a place for its result.
fn plain(piece: &Piece, x: &Sized, follows: Follows) -> Result<Product, Reason> {
    Ok(Product {
        element: element(x.dtype)?,
        x: x.matrix,
        weight: piece.weight,
        bias: 0,
        y: Matrix::default(),
        rows: int(x.rows)?,
        from: int(x.columns)?,
        to: int(piece.y.columns)?,
        transposed: piece.transposed,
        epilogue: Epilogue::None,
        parts: 1,
        apart: 0,
        single: false,
        follows,
    })
}

/// What the library applies; `None`: a kernel of ours has to.
fn epilogue(piece: &Piece) -> Option<Epilogue> {
    match (piece.residual, piece.activation) {
        (None, None) if piece.bias == 0 => Some(Epilogue::None),
        (None, None) => Some(Epilogue::Bias),
        (None, Some(Activation::Relu)) => Some(Epilogue::BiasRelu),
        (None, Some(Activation::GeluTanh)) => Some(Epilogue::BiasGelu),
        _ => None,
    }
}
