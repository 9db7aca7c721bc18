//! EXIF orientations: how a stored picture is turned to be upright.

use super::pixels::Pixels;

/// Whether an orientation, 1 to 8, exchanges width and height.
pub(super) const fn swaps_sides(orientation: u8) -> bool {
    orientation >= 5
}

/// Writes `pixels` upright as RGB into `out`, and returns their width and height then: the result of Pillow's
/// `ImageOps.exif_transpose`. `scratch` is a buffer for one row.
pub(super) fn upright(
    pixels: &Pixels<'_>,
    orientation: u8,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, usize) {
    let (width, height) = (pixels.width, pixels.height);
    let turned = if swaps_sides(orientation) { (height, width) } else { (width, height) };
    scratch.resize(3 * width, 0);
    out.resize(3 * width * height, 0);
    let (rgb, _) = out.as_chunks_mut::<3>();
    // Where a stored pixel goes: the place of the first one, and the steps along a stored row and from row to row.
    let (w, h) = (turned.0, turned.1);
    let last = w * h - 1;
    let (first, along, down): (usize, isize, isize) = match orientation {
        2 => (w - 1, -1, w as isize),
        3 => (last, -1, -(w as isize)),
        4 => (last + 1 - w, 1, -(w as isize)),
        5 => (0, w as isize, 1),
        6 => (w - 1, w as isize, -1),
        7 => (last, -(w as isize), -1),
        8 => (last + 1 - w, -(w as isize), 1),
        _ => (0, 1, w as isize),
    };
    for y in 0..height {
        let (stored, _) = pixels.row_rgb(y, scratch).as_chunks::<3>();
        let start = down * y as isize;
        for (place, pixel) in (0..).map(|x: isize| start + along * x).zip(stored) {
            if let Some(slot) = first.checked_add_signed(place).and_then(|at| rgb.get_mut(at)) {
                *slot = *pixel;
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::PixelFormat;

    #[test]
    fn every_orientation_of_one_picture_is_turned_to_the_same() {
        // 2x3, one letter a pixel, and as each orientation stores it.
        let upright_picture = "abcdef";
        let stored = [
            (1, 2, "abcdef"),
            (2, 2, "badcfe"),
            (3, 2, "fedcba"),
            (4, 2, "efcdab"),
            (5, 3, "acebdf"),
            (6, 3, "bdface"),
            (7, 3, "fdbeca"),
            (8, 3, "ecafdb"),
        ];
        for (orientation, width, letters) in stored {
            let (mut scratch, mut out) = (Vec::new(), Vec::new());
            let mono =
                Pixels::new(PixelFormat::Mono8, width, 6 / width, width, letters.as_bytes()).expect("consistent");
            assert_eq!(upright(&mono, orientation, &mut scratch, &mut out), (2, 3), "orientation {orientation}");
            let grey: String = out.chunks(3).map(|rgb| char::from(rgb[0])).collect();
            assert_eq!(grey, upright_picture, "orientation {orientation}");
        }
    }
}
