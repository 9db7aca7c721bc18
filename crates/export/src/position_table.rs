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
}
