//! Resizing a table of learned positions to a patch grid.

/// Bilinear resampling with antialiasing, `align_corners = false`, of a `[from.0 * from.1, channels]` table to
/// `[to.0 * to.1, channels]`: PyTorch's `interpolate(mode="bilinear", antialias=True)`.
pub(crate) fn resize_bilinear(table: &[f32], from: (usize, usize), channels: usize, to: (usize, usize)) -> Vec<f32> {
    let (rows, columns) = (taps(from.0, to.0), taps(from.1, to.1));
    let mut out = Vec::with_capacity(to.0 * to.1 * channels);
    for row in &rows {
        for column in &columns {
            for channel in 0..channels {
                let mut sum = 0.0_f64;
                for (y, wy) in row {
                    for (x, wx) in column {
                        sum += wy * wx * f64::from(table[(y * from.1 + x) * channels + channel]);
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

/// Bilinear interpolation of a `[side * side, channels]` table at a grid whose corners are the table's corners, to
/// `[to.0 * to.1, channels]`; `round` is what becomes of a weight before it is used. transformers' `fast_pos_embed_interpolate`.
pub(crate) fn interpolate_corners(
    table: &[f32],
    side: usize,
    channels: usize,
    to: (usize, usize),
    round: fn(f32) -> f32,
) -> Vec<f32> {
    let (rows, columns) = (corner_taps(side, to.0), corner_taps(side, to.1));
    let mut out = Vec::with_capacity(to.0 * to.1 * channels);
    for row in &rows {
        for column in &columns {
            let taps = row.iter().flat_map(|(y, wy)| column.iter().map(move |(x, wx)| (y * side + x, round(wy * wx))));
            let taps: Vec<(usize, f32)> = taps.collect();
            let sum =
                |channel: usize| taps.iter().map(|(at, weight)| table[at * channels + channel] * weight).sum::<f32>();
            out.extend((0..channels).map(sum));
        }
    }
    out
}

/// For each of `to` places from corner to corner of `side` entries, the two entries around it with their weights.
fn corner_taps(side: usize, to: usize) -> Vec<[(usize, f32); 2]> {
    let last = side - 1;
    // torch.linspace: from the start in the first half, from the end in the second, in single precision.
    let step = if to > 1 { last as f32 / (to - 1) as f32 } else { 0.0 };
    let place = |i: usize| if i < to / 2 { step * i as f32 } else { last as f32 - step * (to - 1 - i) as f32 };
    let place = |i: usize| if to > 1 { place(i) } else { 0.0 };
    (0..to)
        .map(|i| {
            let lower = (place(i) as usize).min(last);
            let above = place(i) - lower as f32;
            [(lower, 1.0 - above), ((lower + 1).min(last), above)]
        })
        .collect()
}

/// For each output the inputs it is made of, with weights that add up to 1: a triangle as wide as one output
/// pixel when shrinking, as one input pixel when enlarging.
fn taps(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).floor().max(0.0) as usize;
            let last = ((centre + support + 0.5).floor() as usize).min(from);
            let weight = |j: usize| (1.0 - ((j as f64 - centre + 0.5) / support).abs()).max(0.0);
            let total: f64 = (first..last).map(weight).sum();
            (first..last).map(|j| (j, weight(j) / total)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_returns_the_table() {
        let table: Vec<f32> = (0..12).map(|i| i as f32 * 1.5).collect();
        assert_eq!(resize_bilinear(&table, (2, 3), 2, (2, 3)), table);
    }

    #[test]
    fn enlarging_interpolates_between_centres_and_holds_the_edges() {
        assert_eq!(resize_bilinear(&[0.0, 4.0], (1, 2), 1, (1, 4)), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn shrinking_averages_over_what_an_output_covers() {
        // interpolate(torch.tensor([0., 1., 2., 3.]).view(1, 1, 1, 4), (1, 2), mode="bilinear", antialias=True)
        let out = resize_bilinear(&[0.0, 1.0, 2.0, 3.0], (1, 4), 1, (1, 2));
        let expected = [5.0 / 7.0, 16.0 / 7.0];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn corners_are_kept_and_places_between_are_weighed() {
        let table = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0];
        let plain = |weight: f32| weight;
        assert_eq!(interpolate_corners(&table, 3, 1, (2, 2), plain), [0.0, 2.0, 20.0, 22.0]);
        assert_eq!(interpolate_corners(&table, 3, 1, (3, 3), plain), table);
        assert_eq!(interpolate_corners(&table, 3, 1, (1, 5), plain), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(interpolate_corners(&table, 3, 1, (1, 5), |weight| weight.round()), [0.0, 1.0, 1.0, 3.0, 2.0]);
    }
}
