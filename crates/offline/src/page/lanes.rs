//! Lanes of a time line: when what happened.

use super::axis::Axis;
use super::chart::ticks_below;
use super::html::{Block, Html, Tone};

/// Cells of a lane; moments closer together are drawn as one.
const CELLS: usize = 500;

/// One kind of thing that happens.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// From and to, in the unit of the axis; equal for a moment.
    pub spans: Vec<[f64; 2]>,
}

impl Lane {
    /// A lane of moments.
    pub fn of_moments(name: &str, tone: Tone, moments: impl IntoIterator<Item = f64>) -> Self {
        Self { name: name.to_owned(), tone, spans: moments.into_iter().map(|at| [at, at]).collect() }
    }

    /// First and last cell of each run of covered ones.
    fn runs(&self, x: &Axis) -> Vec<(usize, usize)> {
        let mut covered = vec![false; CELLS];
        for [from, to] in &self.spans {
            let cell = |value: f64| ((x.share(value) * CELLS as f64).max(0.0) as usize).min(CELLS - 1);
            if from.is_finite() && to.is_finite() {
                covered.iter_mut().take(cell(to.max(*from)) + 1).skip(cell(*from)).for_each(|covered| *covered = true);
            }
        }
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (cell, _) in covered.iter().enumerate().filter(|(_, covered)| **covered) {
            match runs.last_mut().filter(|(_, last)| *last + 1 == cell) {
                Some((_, last)) => *last = cell,
                None => runs.push((cell, cell)),
            }
        }
        runs
    }
}

/// Lanes above each other, on one axis.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Lanes {
    /// The axis.
    pub x: Axis,
    /// From top to bottom.
    pub lanes: Vec<Lane>,
}

impl Block for Lanes {
    fn write(&self, html: &mut Html) {
        html.raw("<figure class=\"lanes\">");
        for lane in &self.lanes {
            html.element("span", "name", &lane.name);
            html.markup(format_args!("<svg viewBox=\"0 0 {CELLS} 10\" preserveAspectRatio=\"none\" role=\"img\""));
            html.attribute("aria-label", &format!("{}: {} times", lane.name, lane.spans.len()));
            html.markup(format_args!("><path class=\"solid {}\" d=\"", lane.tone.class()));
            for (first, last) in lane.runs(&self.x) {
                html.markup(format_args!("M{first} 0H{}V10H{first}z", last + 1));
            }
            html.raw("\"/></svg>");
            html.element("span", "count", &lane.spans.len().to_string());
        }
        html.raw("<span></span>");
        ticks_below(html, &self.x);
        html.raw("</figure>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_moments_share_a_run_and_what_lies_outside_is_at_the_ends() {
        let x = Axis { low: 0.0, high: 500.0, ..Axis::default() };
        let lane = Lane::of_moments("chunks", Tone::Good, [0.0, 1.0, 2.5, 100.0, 700.0, -5.0, f64::NAN]);
        assert_eq!(lane.runs(&x), [(0, 2), (100, 100), (499, 499)]);
        let spans = Lane { spans: vec![[10.0, 12.0], [12.0, 14.0], [20.0, 19.0]], ..Lane::default() };
        assert_eq!(spans.runs(&x), [(10, 14), (20, 20)]);
    }
}
