//! Camera frames that a device makes pixels of, in place of the host: the transform in plain numbers, and the memory for frames.
//!
//! An input of pixels, `[images, 3, height, width]` in single precision, has a *slot* an image in memory that is uploaded: a table of
//! [`TABLE_WORDS`] words, and as many bytes as the image's pixels take. The slot holds either the pixels, or a frame of 8-bit RGB with a
//! [`FrameTransform`] in its table. A pass begins with a kernel that makes the pixels of either. So the host may choose anew for each
//! frame; what is uploaded has the size of the pixels and the tables.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words of the table of a slot.
pub const TABLE_WORDS: usize = 16 << 10;
/// Most resizes of a transform.
pub const MOST_STEPS: usize = 3;
/// Channels: red, green, blue.
const CHANNELS: usize = 3;

/// One axis of a resize: what each output pixel takes from the picture.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Axis {
    /// First pixel of the picture, one an output pixel.
    pub first: Vec<i32>,
    /// Consecutive pixels that are weighted.
    pub taps: usize,
    /// `[output, taps]`: bits of single-precision or of signed integers, as [`Sums`] says.
    pub weights: Vec<u32>,
}

/// How weighted pixels become an 8-bit value: first along columns for each row, then along rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sums {
    /// Weights and sums in single precision, added in the order of the taps without fused operations; times `scale`, to the nearest
    /// integer, halves to the even one. OpenCV's `INTER_AREA`, shrinking.
    Single {
        /// Of the sum.
        scale: f32,
    },
    /// The same of whole numbers, with halves rounded up.
    HalvesUp {
        /// Of the sum.
        scale: f32,
    },
    /// Integers with so many bits after the binary point; each axis is rounded and clamped to 8 bits. Pillow and torchvision.
    Fixed {
        /// Bits of weights along columns.
        columns: u32,
        /// Bits of weights along rows.
        rows: u32,
    },
    /// Two taps of 11 bits, rounded as OpenCV's `INTER_AREA` does it, enlarging.
    Linear,
}

/// One resize of an 8-bit RGB image.
#[derive(Clone, PartialEq, Debug)]
pub struct Resize {
    /// Width and height of the input.
    pub input: [usize; 2],
    /// Where the input's first pixel lies in the picture that is resized. Outside of the input the picture is black.
    pub offset: [i32; 2],
    /// Along columns.
    pub columns: Axis,
    /// Along rows.
    pub rows: Axis,
    /// How they are added.
    pub sums: Sums,
}

impl Resize {
    /// Width and height of the result.
    pub fn output(&self) -> [usize; 2] {
        [self.columns.first.len(), self.rows.first.len()]
    }
}

/// One step in a table, of [`MOST_STEPS`] from word 8 on: `ResampleStep` of the kernel. Places are words of the table.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ResampleStep {
    pub width: i32,
    pub height: i32,
    pub left: i32,
    pub top: i32,
    pub out_width: i32,
    pub out_height: i32,
    pub column_taps: i32,
    pub row_taps: i32,
    pub column_first: i32,
    pub column_weights: i32,
    pub row_first: i32,
    pub row_weights: i32,
    /// 0: [`Sums::Single`]; 1: [`Sums::HalvesUp`]; 2: [`Sums::Fixed`]; 3: [`Sums::Linear`].
    pub sums: i32,
    pub column_bits: i32,
    pub row_bits: i32,
    pub scale: f32,
}

/// Words of a step.
const STEP_WORDS: usize = size_of::<ResampleStep>() / 4;
/// Word of the number of steps; 0: the slot holds pixels.
const STEPS: usize = 0;
/// Words of the transform's number.
const NUMBER: [usize; 2] = [1, 2];
/// Word of the first step.
const FIRST_STEP: usize = 8;

/// How a frame becomes pixels: resized a few times, then `(value - 127.5) / 127.5`.
#[derive(Clone, PartialEq, Debug)]
pub struct FrameTransform {
    table: Vec<u32>,
    frame_bytes: usize,
    /// Largest image between two steps.
    between_bytes: usize,
    output: [usize; 2],
}

impl FrameTransform {
    /// A transform of these steps, one after the other. `None` where a device does not take it: more than [`MOST_STEPS`] steps, a table
    /// that is too long, a step that does not fit the one before, pixels far outside of a picture, other taps or bits than [`Sums`] takes.
    pub fn new(steps: &[Resize]) -> Option<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let (first, last) = (steps.first()?, steps.last()?);
        let fits = steps.windows(2).all(|pair| matches!(pair, [before, after] if before.output() == after.input));
        if !fits || steps.len() > MOST_STEPS {
            return None;
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mut table = vec![0; FIRST_STEP + MOST_STEPS * STEP_WORDS];
        table[STEPS] = steps.len() as u32;
        (table[NUMBER[0]], table[NUMBER[1]]) = (number as u32, (number >> 32) as u32);
        for (at, step) in steps.iter().enumerate() {
            let packed = step.pack(&mut table)?;
            table[FIRST_STEP + at * STEP_WORDS..][..STEP_WORDS]
                .copy_from_slice(bytemuck::cast_slice(&[packed.words()]));
        }
        let bytes = |[width, height]: [usize; 2]| width * height * CHANNELS;
        let between = steps.iter().take(steps.len() - 1).map(|step| bytes(step.output())).max();
        (table.len() <= TABLE_WORDS).then(|| Self {
            table,
            frame_bytes: bytes(first.input),
            between_bytes: between.unwrap_or(0),
            output: last.output(),
        })
    }
}

impl Resize {
    /// Whether the kernel's integers hold every place and shift.
    fn is_sound(&self) -> bool {
        const MOST: i32 = 1 << 24;
        let near = |place: &i32| (-MOST..=MOST).contains(place);
        let axis = |axis: &Axis| axis.first.iter().all(near) && axis.taps <= MOST as usize;
        let sums = match self.sums {
            Sums::Single { .. } | Sums::HalvesUp { .. } => true,
            Sums::Fixed { columns, rows } => columns < 31 && rows < 31,
            Sums::Linear => self.columns.taps == 2 && self.rows.taps == 2,
        };
        sums && axis(&self.columns) && axis(&self.rows) && self.offset.iter().all(near)
    }

    /// The step, with its axes put behind the table. `None` for sizes that are not of their axes.
    fn pack(&self, table: &mut Vec<u32>) -> Option<ResampleStep> {
        let small = |n: usize| i32::try_from(n).ok().filter(|_| self.is_sound());
        let mut axis = |axis: &Axis| {
            let consistent = axis.taps > 0 && axis.weights.len() == axis.first.len() * axis.taps;
            let first = small(table.len())?;
            table.extend(axis.first.iter().map(|&first| first.cast_unsigned()));
            let weights = small(table.len())?;
            table.extend(&axis.weights);
            consistent.then_some((first, weights))
        };
        let (column_first, column_weights) = axis(&self.columns)?;
        let (row_first, row_weights) = axis(&self.rows)?;
        let ([width, height], [left, top], [out_width, out_height]) = (self.input, self.offset, self.output());
        let (sums, column_bits, row_bits, scale) = match self.sums {
            Sums::Single { scale } => (0, 0, 0, scale),
            Sums::HalvesUp { scale } => (1, 0, 0, scale),
            Sums::Fixed { columns, rows } => (2, columns, rows, 1.0),
            Sums::Linear => (3, 0, 0, 1.0),
        };
        Some(ResampleStep {
            width: small(width)?,
            height: small(height)?,
            left,
            top,
            out_width: small(out_width)?,
            out_height: small(out_height)?,
            column_taps: small(self.columns.taps)?,
            row_taps: small(self.rows.taps)?,
            column_first,
            column_weights,
            row_first,
            row_weights,
            sums,
            column_bits: i32::try_from(column_bits).ok()?,
            row_bits: i32::try_from(row_bits).ok()?,
            scale,
        })
    }
}

impl ResampleStep {
    fn words(self) -> [u32; STEP_WORDS] {
        let integers = [
            self.width,
            self.height,
            self.left,
            self.top,
            self.out_width,
            self.out_height,
            self.column_taps,
            self.row_taps,
            self.column_first,
            self.column_weights,
            self.row_first,
            self.row_weights,
            self.sums,
            self.column_bits,
            self.row_bits,
        ];
        std::array::from_fn(|at| integers.get(at).map_or(self.scale.to_bits(), |integer| integer.cast_unsigned()))
    }
}

/// The slots of one input of pixels.
#[derive(Debug)]
pub struct FrameSlots<'s> {
    tables: &'s mut [f32],
    pixels: &'s mut [f32],
    size: [usize; 2],
}

impl<'s> FrameSlots<'s> {
    /// Words of the slots of images of this width and height.
    pub fn words(images: usize, [width, height]: [usize; 2]) -> usize {
        images.saturating_mul(Self::image([width, height]).saturating_add(TABLE_WORDS))
    }

    /// Words of images of this width and height between two steps.
    pub fn words_between(images: usize, size: [usize; 2]) -> usize {
        images.saturating_mul(Self::image(size))
    }

    /// Words that an input of so many images takes more as frames than as pixels alone.
    pub fn words_beside(images: usize, size: [usize; 2]) -> usize {
        Self::words(images, size).saturating_add(Self::words_between(images, size))
    }

    /// Words of the place of an image.
    fn image([width, height]: [usize; 2]) -> usize {
        CHANNELS.saturating_mul(width).saturating_mul(height)
    }

    /// Slots of images of this width and height in memory of that many words: all tables, then all images.
    pub fn new(memory: &'s mut [f32], size: [usize; 2]) -> Self {
        let tables = memory.len() / (TABLE_WORDS + Self::image(size)) * TABLE_WORDS;
        let (tables, pixels) = memory.split_at_mut(tables);
        Self { tables, pixels, size }
    }

    /// One an image, in their order.
    pub fn images(self) -> impl Iterator<Item = FrameSlot<'s>> {
        let Self { tables, pixels, size } = self;
        let places = pixels.chunks_exact_mut(Self::image(size).max(1));
        let slots = tables.chunks_exact_mut(TABLE_WORDS).zip(places);
        slots.map(move |(table, pixels)| FrameSlot { table, pixels, size })
    }

    /// All images as pixels.
    pub fn into_pixels(self) -> &'s mut [f32] {
        self.tables.chunks_exact_mut(TABLE_WORDS).for_each(|table| table[STEPS] = 0.0);
        self.pixels
    }
}

/// The slot of one image.
#[derive(Debug)]
pub struct FrameSlot<'s> {
    table: &'s mut [f32],
    pixels: &'s mut [f32],
    size: [usize; 2],
}

impl<'s> FrameSlot<'s> {
    /// The image as pixels, `[3, height, width]`.
    pub fn into_pixels(self) -> &'s mut [f32] {
        self.table[STEPS] = 0.0;
        self.pixels
    }

    /// The image as a frame that becomes it by `transform`: `[height, width, 3]` bytes. The slot itself where the frame does not fit, or
    /// does not become an image of this size.
    ///
    /// # Errors
    /// The slot.
    pub fn into_frame(self, transform: &FrameTransform) -> Result<&'s mut [u8], Self> {
        let room = size_of_val(self.pixels);
        // Images between steps have room of half of that each.
        if transform.output != self.size || transform.frame_bytes > room || transform.between_bytes > room / 2 {
            return Err(self);
        }
        let Self { table, pixels, .. } = self;
        let table: &mut [u32] = bytemuck::cast_slice_mut(table);
        // The rest of a table is that of its number.
        if table[..FIRST_STEP] != transform.table[..FIRST_STEP] {
            table[..transform.table.len()].copy_from_slice(&transform.table);
        }
        Ok(&mut bytemuck::cast_slice_mut(pixels)[..transform.frame_bytes])
    }
}

/// Buffers of an input of pixels that is made of frames: indices in the workspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameBuffers {
    /// Number of images.
    pub images: usize,
    /// Width and height of an image.
    pub size: [usize; 2],
    /// [`FrameSlots`], uploaded.
    pub slots: usize,
    /// Images between steps, `[images, 2]` of half as many bytes as an image's pixels take.
    pub between: usize,
    /// `[images, 3, height, width]` in single precision.
    pub pixels: usize,
}

#[cfg(test)]
mod tests;
