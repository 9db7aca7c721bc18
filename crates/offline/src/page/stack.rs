//! Stacked columns along an axis: what an amount consists of, over time.

use super::axis::Axis;
use super::chart::{Legend, SIDE, along, down, figure, plot};
use super::html::{Block, Html, Tone};

/// Most columns of a chart. Of more than these, the highest of each stretch is drawn.
const MOST: usize = 250;

/// A column.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stacked {
    /// Where, in the unit of the horizontal axis.
    pub x: f64,
    /// One a part, in the unit of the vertical axis; 0 or more.
    pub parts: Vec<f64>,
}

impl Stacked {
    fn total(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// Stacked columns.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StackChart {
    /// Heading.
    pub title: String,
    /// One line below the heading; empty: none.
    pub note: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis, from zero.
    pub y: Axis,
    /// Names of the parts, from the bottom to the top.
    pub parts: Vec<String>,
    /// In the order of x.
    pub columns: Vec<Stacked>,
}

impl StackChart {
    /// Whether not every column is drawn.
    pub fn is_thinned(&self) -> bool {
        self.columns.len() > MOST
    }

    fn draw(&self, html: &mut Html) {
        let per = self.columns.len().div_ceil(MOST).max(1);
        let highest = |some: &'_ [Stacked]| {
            some.iter().max_by(|one, other| one.total().total_cmp(&other.total())).cloned().unwrap_or_default()
        };
        let drawn: Vec<Stacked> = self.columns.chunks(per).map(highest).collect();
        let gaps = drawn.windows(2).map(|pair| along(&self.x, pair[1].x) - along(&self.x, pair[0].x));
        let width = (0.8 * gaps.fold(SIDE / 20.0, f64::min)).max(SIDE / 600.0);
        for (part, _) in self.parts.iter().enumerate() {
            html.markup(format_args!("<path class=\"solid {}\" d=\"", Tone::Series(part).class()));
            for column in &drawn {
                let below: f64 = column.parts.iter().take(part).sum();
                let Some(value) = column.parts.get(part).filter(|value| **value > 0.0) else { continue };
                let (bottom, top) = (down(&self.y, below), down(&self.y, below + value));
                let left = along(&self.x, column.x) - width / 2.0;
                html.markup(format_args!("M{left:.1} {bottom:.1}V{top:.1}h{width:.1}V{bottom:.1}z"));
            }
            html.raw("\"/>");
        }
    }
}

impl Block for StackChart {
    fn write(&self, html: &mut Html) {
        let mut legend = Legend::default();
        self.parts.iter().enumerate().for_each(|(part, name)| legend.entry(name, Tone::Series(part), "solid"));
        figure(html, &self.title, &self.note, &legend, |html| {
            plot(html, &self.title, "", [&self.x, &self.y], |html| self.draw(html));
        });
    }
}
