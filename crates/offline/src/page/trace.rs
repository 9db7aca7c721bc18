//! A curve of any length in bounded memory.

/// Points of a stretch of the curve: the first, the last and the two extremes.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    first: [f64; 2],
    least: [f64; 2],
    greatest: [f64; 2],
    last: [f64; 2],
    samples: u64,
    /// The curve is broken before it.
    broken: bool,
}

impl Bucket {
    fn of(point: [f64; 2], broken: bool) -> Self {
        Self { first: point, least: point, greatest: point, last: point, samples: 1, broken }
    }

    fn absorb(&mut self, later: &Self) {
        self.last = later.last;
        if later.least[1] < self.least[1] {
            self.least = later.least;
        }
        if later.greatest[1] > self.greatest[1] {
            self.greatest = later.greatest;
        }
        self.samples += later.samples;
    }
}

/// A curve for a chart. It keeps every point up to a number of them; a longer one is thinned to the first, last, least and
/// greatest point of stretches of equal numbers of samples, so that no peak is lost. Breaks inside such a stretch are closed.
#[derive(Clone, Debug)]
pub struct Trace {
    buckets: Vec<Bucket>,
    most: usize,
    /// Samples of a full bucket.
    per: u64,
    broken: bool,
}

impl Trace {
    /// An empty curve of at most `most` stretches (at least two), each of up to four points.
    pub fn new(most: usize) -> Self {
        Self { buckets: Vec::new(), most: most.max(2), per: 1, broken: false }
    }

    /// Appends a point; x does not decrease. A y that is not finite breaks the curve.
    pub fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            self.broken = true;
            return;
        }
        let new = Bucket::of([x, y], std::mem::take(&mut self.broken));
        match self.buckets.last_mut().filter(|last| last.samples < self.per && !new.broken) {
            Some(last) => last.absorb(&new),
            None => {
                if self.buckets.len() == self.most {
                    self.halve();
                }
                self.buckets.push(new);
            }
        }
    }

    /// Whether points were left out.
    pub fn is_thinned(&self) -> bool {
        self.per > 1
    }

    /// The curve, with `[NaN, NaN]` where it is broken.
    pub fn points(&self) -> Vec<[f64; 2]> {
        let mut points: Vec<[f64; 2]> = Vec::with_capacity(2 * self.buckets.len());
        for bucket in &self.buckets {
            if bucket.broken && !points.is_empty() {
                points.push([f64::NAN; 2]);
            }
            let mut inner = [bucket.least, bucket.greatest];
            inner.sort_by(|one, other| one[0].total_cmp(&other[0]));
            let from = points.len();
            for point in [bucket.first, inner[0], inner[1], bucket.last] {
                if points.len() == from || points.last() != Some(&point) {
                    points.push(point);
                }
            }
        }
        points
    }

    /// The last point that was pushed; `None` of an empty curve.
    pub fn last(&self) -> Option<[f64; 2]> {
        self.buckets.last().map(|bucket| bucket.last)
    }

    /// Least and greatest value; `None` of an empty curve.
    pub fn range(&self) -> Option<(f64, f64)> {
        let first = self.buckets.first()?;
        let start = (first.least[1], first.greatest[1]);
        Some(
            self.buckets
                .iter()
                .fold(start, |(low, high), bucket| (low.min(bucket.least[1]), high.max(bucket.greatest[1]))),
        )
    }

    fn halve(&mut self) {
        let pairs = self.buckets.chunks(2).map(|pair| {
            let mut merged = pair[0];
            pair.iter().skip(1).for_each(|later| merged.absorb(later));
            merged
        });
        self.buckets = pairs.collect();
        self.per *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_curve_is_kept_point_by_point_with_its_breaks() {
        let mut trace = Trace::new(8);
        [1.0, 2.0, f64::NAN, f64::NAN, 3.0].iter().enumerate().for_each(|(x, y)| trace.push(x as f64, *y));
        let points = trace.points();
        assert_eq!((points[0], points[1], points[3]), ([0.0, 1.0], [1.0, 2.0], [4.0, 3.0]));
        assert!(points[2][1].is_nan() && points.len() == 4 && !trace.is_thinned());
        assert_eq!(trace.range(), Some((1.0, 3.0)));
    }

    #[test]
    fn a_long_curve_stays_small_and_loses_no_peak() {
        let mut trace = Trace::new(100);
        let value = |x: i32| {
            if x == 77_777 {
                9.0
            } else if x == 33_333 {
                -9.0
            } else {
                f64::from(x % 10) / 10.0
            }
        };
        (0..100_000).for_each(|x| trace.push(f64::from(x), value(x)));
        let points = trace.points();
        assert!(trace.is_thinned() && points.len() <= 400, "{}", points.len());
        assert!(points.contains(&[77_777.0, 9.0]) && points.contains(&[33_333.0, -9.0]));
        assert_eq!((points[0], *points.last().expect("points")), ([0.0, 0.0], [99_999.0, value(99_999)]));
        assert!(points.windows(2).all(|pair| pair[0][0] <= pair[1][0]), "in the order of x");
    }

    #[test]
    fn a_curve_that_is_all_breaks_has_no_points() {
        let mut trace = Trace::new(0);
        (0..10).for_each(|x| trace.push(f64::from(x), f64::INFINITY));
        assert_eq!((trace.points(), trace.range()), (Vec::new(), None));
    }
}
