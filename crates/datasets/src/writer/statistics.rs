//! Minimum, maximum, mean and standard deviation of each element, for `meta/stats.json`.

use serde_json::{Value, json};

/// Statistics of one feature, over all rows.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    count: u64,
    elements: Vec<Element>,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of squared distances from the mean (Welford).
    squares: f64,
}

impl Statistics {
    pub(super) fn new(width: usize) -> Self {
        let element = Element { min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0, squares: 0.0 };
        Self { count: 0, elements: vec![element; width] }
    }

    pub(super) fn add(&mut self, values: &[f32]) {
        self.count += 1;
        for (element, value) in self.elements.iter_mut().zip(values) {
            let value = f64::from(*value);
            let distance = value - element.mean;
            element.mean += distance / self.count as f64;
            element.squares += distance * (value - element.mean);
            element.min = element.min.min(value);
            element.max = element.max.max(value);
        }
    }

    pub(super) fn json(&self) -> Value {
        let of = |pick: &dyn Fn(&Element) -> f64| self.elements.iter().map(pick).collect::<Vec<_>>();
        let deviation = |element: &Element| (element.squares / self.count.max(1) as f64).sqrt();
        json!({
            "min": of(&|element| element.min),
            "max": of(&|element| element.max),
            "mean": of(&|element| element.mean),
            "std": of(&deviation),
            "count": [self.count],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_values() {
        let mut statistics = Statistics::new(1);
        [1.0, 2.0, 4.0, 5.0].iter().for_each(|value| statistics.add(&[*value]));
        let json = statistics.json();
        assert_eq!((&json["min"][0], &json["max"][0], &json["mean"][0]), (&json!(1.0), &json!(5.0), &json!(3.0)));
        let deviation = json["std"][0].as_f64().expect("a number");
        assert!((deviation - 2.5f64.sqrt()).abs() < 1e-12, "{deviation}");
    }
}
