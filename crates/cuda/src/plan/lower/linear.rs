//! Linear layers: products, and what ends them.

use vla_engines::operations::{Activation, Operation};

use super::rows::activation_code;
use super::{Lowering, Quantized};
use crate::launch::{
    Address, Arguments, DequantizeArguments, Element, ElementwiseArguments, Epilogue, Follows, Kernel, Launch, Matrix,
    Parts, Product, ProductArguments, QuantizeArguments, Scales, TensorProductArguments, Tile,
};
use crate::plan::Reason;
use crate::plan::fusions::Fusion;
use crate::plan::memory::View;
use crate::plan::operand::{Sized, bytes_of, element, int};
use crate::plan::weights::{Bias, width};
use crate::tactics::{Key, Split};

/// One product of a linear layer.
struct Piece {
    x: Sized,
    weight: Address,
    /// 0: the weight has no 8 bits.
    channel_scales: Address,
    /// 0: none.
    bias: Address,
    transposed: bool,
    may_tile: bool,
    activation: Option<Activation>,
    residual: Option<Sized>,
    y: Sized,
}

impl Lowering<'_> {
    pub(super) fn linear(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        let Operation::Linear { x, parts, transposed, activation, residual, out } = operation else { return Ok(()) };
        let (transposed, activation) = (*transposed, *activation);
        let may_tile = self.tileable.contains(&index);
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
            let channel_scales = self.channel_scales(parts[0].weight);
            let piece = Piece { x, weight, channel_scales, bias, transposed, may_tile, activation, residual, y };
            return self.piece(&piece, self.fusion(index));
        }
        let mut column = 0;
        for (part, width) in parts.iter().zip(widths) {
            let weight = View { storage: 0, offset: self.layout.offset(part.weight) }.address();
            let (channel_scales, bias) = (self.channel_scales(part.weight), self.row(part.bias.as_ref())?);
            let columns = |matrix: Sized| matrix.part(0, column, matrix.rows, width);
            let (residual, y) = (residual.map(columns), columns(y));
            let piece = Piece { x, weight, channel_scales, bias, transposed, may_tile, activation, residual, y };
            self.piece(&piece, None)?;
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
        let product = Product { bias, epilogue, y, ..self.plain(piece, &piece.x, Follows::Value)? };
        let split = self.split(&product);
        self.put(product, split.tile)
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

    /// How a product is divided.
    fn split(&self, product: &Product) -> Split {
        let key = Key::of(product);
        self.choose.split(&key).fitting(&key)
    }

    /// Launches a product with its addresses.
    fn put(&mut self, product: Product, tile: Option<Tile>) -> Result<(), Reason> {
        let integers = product.eight_bits && !tile.is_some_and(|tile| tile.takes(&product));
        let bytes = 4 * u64::from(product.rows.unsigned_abs()) * u64::from(product.to.unsigned_abs());
        let sums = if integers { self.room(bytes).address() } else { 0 };
        launches(product, tile, sums).into_iter().try_for_each(|launch| self.launch(launch))
    }

    fn channel_scales(&self, weight: usize) -> Address {
        self.layout.scales(weight).map_or(0, |offset| View { storage: 0, offset }.address())
    }

    /// The product alone, in one part, without a place for its result; its x in 8 bits where the weight has them.
    fn plain(&mut self, piece: &Piece, x: &Sized, follows: Follows) -> Result<Product, Reason> {
        let element = element(x.dtype)?;
        let eight_bits = piece.channel_scales != 0;
        let (rows, from) = (int(x.rows)?, int(x.columns)?);
        let (x, scales) = match eight_bits {
            true => self.quantized(x, piece.channel_scales)?,
            false => (x.matrix, Scales::default()),
        };
        Ok(Product {
            element,
            eight_bits,
            scales,
            x,
            weight: piece.weight,
            bias: 0,
            y: Matrix::default(),
            rows,
            from,
            to: int(piece.y.columns)?,
            transposed: piece.transposed,
            epilogue: Epilogue::None,
            parts: 1,
            apart: 0,
            single: false,
            follows,
            may_tile: piece.may_tile && !eight_bits && element != Element::F32,
        })
    }

    /// Room for a matrix in 8 bits.
    pub(super) fn room_in_eight_bits(&mut self, rows: usize, columns: usize) -> Quantized {
        let (bytes, scales) = (self.room((rows * columns) as u64), self.room(4 * rows as u64));
        let matrix = Matrix { address: bytes.address(), stride: columns as i64 };
        Quantized { matrix, scales: scales.address(), rows }
    }

    /// A matrix in 8 bits with a scale a row: as its norm made it, or by a kernel.
    fn quantized(&mut self, x: &Sized, channels: Address) -> Result<(Matrix, Scales), Reason> {
        let made = self.quantized.get(&x.matrix.address).copied();
        if let Some(made) = made.filter(|made| made.matrix.stride == x.columns as i64 && x.rows <= made.rows) {
            return Ok((made.matrix, Scales { rows: made.scales, channels }));
        }
        let Quantized { matrix: y, scales, .. } = self.room_in_eight_bits(x.rows, x.columns);
        let (rows, columns) = (int(x.rows)?, int(x.columns)?);
        let arguments = QuantizeArguments { x: x.matrix, y, scales, rows, columns, ..Default::default() };
        self.kernel(Kernel::Quantize(element(x.dtype)?), Arguments::Quantize(arguments))?;
        Ok((y, Scales { rows: scales, channels }))
    }

    /// The product of `x` in as many parts as is fastest, with the bias for the kernel that adds them.
    fn in_parts(&mut self, piece: &Piece, x: &Sized, follows: Follows) -> Result<Parts, Reason> {
        let product = self.plain(piece, x, follows)?;
        let mut split = self.split(&product);
        let size = if split.single { 4 } else { bytes_of(product.element) };
        let elements = (x.rows * piece.y.columns) as u64;
        let room = self.room(elements * u64::from(split.parts) * size);
        let y = Matrix { address: room.address(), stride: piece.y.columns as i64 };
        let apart = |split: Split| if split.parts > 1 { elements as i64 } else { 0 };
        let divided = |split: Split| {
            Ok::<_, Reason>(Product {
                y,
                parts: int(split.parts as usize)?,
                apart: apart(split),
                single: split.single,
                ..product
            })
        };
        // The library does not divide 8-bit factors, and the parts of a tile are not its own.
        let taken = divided(split).map(|product| split.tile.is_some_and(|tile| tile.takes(&product)))?;
        if !taken && (product.eight_bits || split.tile.is_some()) {
            split = Split::WHOLE;
        }
        let divided = divided(split)?;
        let Product { parts, apart, single, .. } = divided;
        self.put(divided, split.tile)?;
        Ok(Parts { first: y, apart, bias: piece.bias, count: parts, single: i32::from(single) })
    }
}

/// A product by our own kernel where it takes it, else by the library. `sums`: memory for the library's INT32 sums of 8-bit factors.
pub(crate) fn launches(product: Product, tile: Option<Tile>, sums: Address) -> Vec<Launch> {
    let tile = tile.filter(|tile| tile.takes(&product));
    if !product.eight_bits && tile.is_none() {
        return vec![Launch::Product(product)];
    }
    let Product { element, x, weight, bias, y, rows, from, to, epilogue, parts, apart, single, .. } = product;
    let activation = activation_code(match epilogue {
        Epilogue::None | Epilogue::Bias => None,
        Epilogue::BiasRelu => Some(Activation::Relu),
        Epilogue::BiasGelu => Some(Activation::GeluTanh),
    });
    let Scales { rows: row_scales, channels: channel_scales } = product.scales;
    let single = i32::from(single);
    if let Some(Tile::Tensor(tile)) = tile {
        let tiled = i32::from(product.may_tile);
        let factors = TensorProductArguments { x, weight, bias, y, apart, tiled, ..Default::default() };
        let arguments = TensorProductArguments { rows, from, to, parts, single, activation, ..factors };
        let kernel = Kernel::TensorProduct(element, tile);
        return vec![Launch::Kernel { kernel, arguments: Arguments::TensorProduct(arguments) }];
    }
    if let Some(Tile::Bytes(tile)) = tile {
        let arguments = ProductArguments {
            x,
            weight,
            bias,
            y,
            apart,
            rows,
            from,
            to,
            parts,
            single,
            activation,
            row_scales,
            channel_scales,
        };
        let kernel = Kernel::Product(element, tile);
        return vec![Launch::Kernel { kernel, arguments: Arguments::Product(arguments) }];
    }
    let x = Matrix { address: sums, stride: i64::from(to) };
    let integers = Product { bias: 0, scales: Scales::default(), y: x, ..product };
    let (columns, release) = (to, 0);
    let arguments = DequantizeArguments { x, row_scales, channel_scales, bias, y, rows, columns, activation, release };
    let dequantize =
        Launch::Kernel { kernel: Kernel::Dequantize(element), arguments: Arguments::Dequantize(arguments) };
    vec![Launch::Product(integers), dequantize]
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
