//! Stand-in for the borrowed view of an image message, until the message room lands.

/// Layout of the bytes of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
}

/// A borrowed image.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from one row to the next.
    pub step: usize,
    /// Layout.
    pub format: PixelFormat,
    /// At least `step * height` bytes.
    pub data: &'a [u8],
}

impl Pixels<'_> {
    /// Row `y` as RGB, `3 * width` bytes: borrowed when the image is RGB already, else converted into `scratch`.
    pub fn row_rgb<'s>(&'s self, y: usize, scratch: &'s mut [u8]) -> &'s [u8] {
        let row = &self.data[y * self.step..][..3 * self.width];
        match self.format {
            PixelFormat::Rgb8 => row,
            PixelFormat::Bgr8 => {
                let scratch = &mut scratch[..3 * self.width];
                for (to, from) in scratch.chunks_exact_mut(3).zip(row.chunks_exact(3)) {
                    to.copy_from_slice(&[from[2], from[1], from[0]]);
                }
                scratch
            }
        }
    }
}
