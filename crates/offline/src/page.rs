//! Reports as one HTML page: text, tables, pictures and charts in a file that needs nothing else.
//!
//! A [`Page`] is filled with [`Block`]s from top to bottom and written once. Every text is escaped; no element takes markup. Charts are
//! drawn as inline SVG, their labels as HTML, so that both keep a legible size at every width of the window. The page follows the
//! reader's light or dark theme. Its one script shows the values under the pointer; without it nothing is missing. The same blocks
//! give the same bytes.
//!
//! ```
//! use vla_offline::page::{Axis, Card, Cell, Line, LineChart, Page, Table, Tone};
//!
//! let mut page = Page::new("Evaluation of reach");
//! page.add(&[Card::new("0.013 rad", "mean absolute error")][..]);
//! page.section("Joints");
//! let recorded = Line::new("recorded", Tone::Grey, vec![[0.0, 0.1], [0.1, 0.2]]);
//! page.grid(|grid| {
//!     grid.add(&LineChart {
//!         x: Axis::of("time", "s", recorded.points.iter().map(|[x, _]| *x)),
//!         y: Axis::around("position", "rad", recorded.points.iter().map(|[_, y]| *y)),
//!         lines: vec![recorded],
//!         ..LineChart::titled("left_waist")
//!     });
//! });
//! page.add(&Table::new(["joint", "MAE, rad"]).row([Cell::text("left_waist"), Cell::number(0.01304, 3)]));
//! assert!(page.finish().starts_with("<!DOCTYPE html>"));
//! ```

mod axis;
mod bars;
mod chart;
mod html;
mod lanes;
mod picture;
mod stack;
mod table;
mod trace;

pub use axis::Axis;
pub use bars::{BarChart, BarRow, significant};
pub use chart::{Band, Legend, Line, LineChart, Mark};
pub use html::{Block, Html, Tone};
pub use lanes::{Lane, Lanes};
pub use picture::{Moment, Picture};
pub use stack::{StackChart, Stacked};
pub use table::{Card, Cell, Facts, Glossary, Table};
pub use trace::Trace;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/read.js");

/// A page under construction.
#[derive(Clone, Debug, Default)]
pub struct Page {
    title: String,
    body: Html,
}

impl Page {
    /// An empty page with this title, which is also its first heading.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), body: Html::default() }
    }

    /// Appends a block.
    pub fn add<B: Block + ?Sized>(&mut self, block: &B) {
        self.body.add(block);
    }

    /// Begins a section with a heading.
    pub fn section(&mut self, heading: &str) {
        self.body.element("h2", "", heading);
    }

    /// Appends a paragraph of explanation.
    pub fn text(&mut self, text: &str) {
        self.body.element("p", "text", text);
    }

    /// Appends a paragraph that must not be overlooked.
    pub fn warning(&mut self, text: &str) {
        self.body.element("p", "warning", text);
    }

    /// Appends blocks side by side, as many as the width of the window holds.
    pub fn grid(&mut self, fill: impl FnOnce(&mut Html)) {
        self.body.group("grid", fill);
    }

    /// Appends blocks that the reader opens with a click on `summary`.
    pub fn details(&mut self, summary: &str, fill: impl FnOnce(&mut Html)) {
        self.body.details(summary, fill);
    }

    /// The page's text.
    pub fn finish(&self) -> String {
        let mut out = Html::default();
        out.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
        out.text(&self.title);
        out.raw("</title>\n<style>\n");
        out.raw(STYLE);
        out.raw("</style>\n</head>\n<body>\n<main>\n");
        out.element("h1", "", &self.title);
        out.raw(self.body.as_str());
        out.raw("</main>\n<div id=\"reading\" hidden></div>\n<script>\n");
        out.raw(SCRIPT);
        out.raw("</script>\n</body>\n</html>\n");
        out.into()
    }
}

#[cfg(test)]
mod tests;
