//! YUV to RGB, BT.601 limited range, in the 20-bit fixed point of OpenCV's `cvtColor` (which cv_bridge uses), so that
//! a policy sees the bytes that a Python pipeline would have given it.
//!
//! ```text
//! R = (1220542 max(Y - 16, 0) + 1673527 (V - 128) + 2^19) >> 20
//! G = (1220542 max(Y - 16, 0) - 409993 (U - 128) - 852492 (V - 128) + 2^19) >> 20
//! B = (1220542 max(Y - 16, 0) + 2116026 (U - 128) + 2^19) >> 20        each limited to 0..=255
//! ```

const SHIFT: u32 = 20;
const HALF: i32 = 1 << (SHIFT - 1);
/// 255 / 219 in fixed point, and so on: the standard's factors as OpenCV rounds them.
const Y_TO_RGB: i32 = 1_220_542;
const V_TO_R: i32 = 1_673_527;
const U_TO_G: i32 = -409_993;
const V_TO_G: i32 = -852_492;
const U_TO_B: i32 = 2_116_026;

/// A row of 4:2:2 with both colours in each four bytes, which `order` sorts into Y0, Y1, U, V.
pub(super) fn packed_row(row: &[u8], rgb: &mut [[u8; 3]], order: impl Fn([u8; 4]) -> [u8; 4]) {
    for (pair, &from) in rgb.as_chunks_mut::<2>().0.iter_mut().zip(row.as_chunks::<4>().0) {
        let [y0, y1, u, v] = order(from);
        let chroma = chroma(u, v);
        *pair = [rgb_of(y0, chroma), rgb_of(y1, chroma)];
    }
}

/// A row of 4:2:0 with the colours in a plane of their own, each two of whose bytes `order` sorts into U, V.
pub(super) fn semi_planar_row(ys: &[u8], colours: &[u8], rgb: &mut [[u8; 3]], order: impl Fn([u8; 2]) -> [u8; 2]) {
    let inputs = ys.as_chunks::<2>().0.iter().zip(colours.as_chunks::<2>().0);
    for (pair, (&[y0, y1], &colour)) in rgb.as_chunks_mut::<2>().0.iter_mut().zip(inputs) {
        let [u, v] = order(colour);
        let chroma = chroma(u, v);
        *pair = [rgb_of(y0, chroma), rgb_of(y1, chroma)];
    }
}

/// What a colour adds to red, green and blue, with the half that rounds.
fn chroma(u: u8, v: u8) -> [i32; 3] {
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [V_TO_R * v + HALF, U_TO_G * u + V_TO_G * v + HALF, U_TO_B * u + HALF]
}

fn rgb_of(y: u8, chroma: [i32; 3]) -> [u8; 3] {
    let y = Y_TO_RGB * (i32::from(y) - 16).max(0);
    chroma.map(|colour| ((y + colour) >> SHIFT).clamp(0, 255) as u8)
}
