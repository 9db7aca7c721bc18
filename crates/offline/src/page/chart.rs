//! Line charts.

use std::fmt::Write as _;

use super::axis::Axis;
use super::html::{Block, Html, Tone};

/// Side of the drawing in its own units. The browser stretches it to the size of the chart; lines keep their width.
pub(super) const SIDE: f64 = 1000.0;
/// Numbers along the axes.
const TICKS_X: usize = 6;
const TICKS_Y: usize = 4;

/// A curve.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Line {
    /// Name in the legend; lines of one name share an entry. Empty: none.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Whether it is thin: one of many.
    pub thin: bool,
    /// `[x, y]` in the units of the axes, x ascending. A value that is not finite breaks the curve.
    pub points: Vec<[f64; 2]>,
}

impl Line {
    /// A solid curve.
    pub fn new(name: &str, tone: Tone, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.to_owned(), tone, dashed: false, thin: false, points }
    }

    /// The same, thin.
    pub fn thin(self) -> Self {
        Self { thin: true, ..self }
    }

    /// The same, dashed.
    pub fn dashed(self) -> Self {
        Self { dashed: true, ..self }
    }
}

/// A range of y behind the curves: what lies beyond a limit, for example.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Band {
    /// Name in the legend; empty: none.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// Lower edge; minus infinity: the end of the chart.
    pub from: f64,
    /// Upper edge; infinity: the end of the chart.
    pub to: f64,
}

/// A moment: a line from top to bottom, or a tick at the bottom.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Mark {
    /// Name in the legend; marks of one name share an entry.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// Where.
    pub x: f64,
    /// A short tick, for moments that are many: at the bottom, or at the top where it is [`Tone::Warn`] or [`Tone::Bad`].
    pub small: bool,
}

/// Curves over one axis, with bands and moments.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LineChart {
    /// Heading.
    pub title: String,
    /// One line below the heading, or behind the title of the vertical axis where there is no heading; empty: none.
    pub note: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Drawn in this order, the last on top.
    pub lines: Vec<Line>,
    /// Behind the lines.
    pub bands: Vec<Band>,
    /// Between bands and lines.
    pub marks: Vec<Mark>,
    /// Without an own legend: one [`Legend`] explains several charts.
    pub legend_elsewhere: bool,
}

impl LineChart {
    /// An empty chart.
    pub fn titled(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// What its colours mean.
    pub fn legend(&self) -> Legend {
        let mut legend = Legend::default();
        self.lines
            .iter()
            .for_each(|line| legend.entry(&line.name, line.tone, if line.dashed { "dashed" } else { "line" }));
        self.bands.iter().for_each(|band| legend.entry(&band.name, band.tone, "area"));
        self.marks.iter().for_each(|mark| legend.entry(&mark.name, mark.tone, if mark.small { "tick" } else { "bar" }));
        legend
    }

    fn draw(&self, html: &mut Html) {
        for band in &self.bands {
            let edge = |value: f64, end: f64| if value.is_finite() { down(&self.y, value) } else { end };
            let (top, bottom) = (edge(band.to, 0.0), edge(band.from, SIDE));
            let height = bottom - top;
            let class = band.tone.class();
            if height > 0.0 {
                html.markup(format_args!(
                    "<rect class=\"area {class}\" x=\"0\" y=\"{top:.1}\" width=\"{SIDE}\" height=\"{height:.1}\"/>"
                ));
            }
        }
        // Moments that fall on one place are drawn once.
        let place = |mark: &Mark| (along(&self.x, mark.x) * 2.0).round() as i64;
        let mut seen: Vec<(&str, i64)> = self.marks.iter().map(|mark| (mark.name.as_str(), place(mark))).collect();
        seen.sort_unstable();
        seen.dedup();
        for (name, place) in seen {
            let Some(mark) = self.marks.iter().find(|mark| mark.name == name) else { continue };
            let (x, class) = (place as f64 / 2.0, mark.tone.class());
            let (top, bottom) = match (mark.small, mark.tone) {
                (false, _) => (0.0, SIDE),
                (true, Tone::Warn | Tone::Bad) => (0.0, 0.08 * SIDE),
                (true, _) => (0.92 * SIDE, SIDE),
            };
            html.markup(format_args!("<path class=\"mark {class}\" d=\"M{x:.1} {top}V{bottom}\"/>"));
        }
        for line in &self.lines {
            let (class, dashed) = (line.tone.class(), if line.dashed { " dashed" } else { "" });
            let thin = if line.thin { " thin" } else { "" };
            html.markup(format_args!("<path class=\"curve {class}{dashed}{thin}\""));
            html.attribute("data-name", &line.name);
            html.markup(format_args!(" d=\"{}\"/>", path(&self.x, &self.y, &line.points)));
        }
    }
}

impl Block for LineChart {
    fn write(&self, html: &mut Html) {
        let legend = if self.legend_elsewhere { Legend::default() } else { self.legend() };
        let (above, beside) = if self.title.is_empty() { ("", self.note.as_str()) } else { (self.note.as_str(), "") };
        figure(html, &self.title, above, &legend, |html| {
            plot(html, &self.title, beside, [&self.x, &self.y], |html| self.draw(html));
        });
    }
}

/// What the colours of charts mean.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Legend {
    entries: Vec<(String, Tone, &'static str)>,
}

impl Legend {
    /// Adds what another legend has more.
    pub fn merge(&mut self, other: &Self) {
        other.entries.iter().for_each(|(name, tone, shape)| self.entry(name, *tone, shape));
    }

    pub(super) fn entry(&mut self, name: &str, tone: Tone, shape: &'static str) {
        if !name.is_empty() && !self.entries.iter().any(|(known, ..)| known == name) {
            self.entries.push((name.to_owned(), tone, shape));
        }
    }
}

impl Block for Legend {
    fn write(&self, html: &mut Html) {
        if self.entries.is_empty() {
            return;
        }
        html.raw("<p class=\"legend\">");
        for (name, tone, shape) in &self.entries {
            html.markup(format_args!("<span><i class=\"{shape} {}\"></i>", tone.class()));
            html.text(name);
            html.raw("</span> ");
        }
        html.raw("</p>\n");
    }
}

/// A chart with heading, note and legend.
pub(super) fn figure(html: &mut Html, title: &str, note: &str, legend: &Legend, fill: impl FnOnce(&mut Html)) {
    html.raw("<figure>");
    if !title.is_empty() {
        html.element("figcaption", "", title);
    }
    if !note.is_empty() {
        html.element("p", "note", note);
    }
    html.add(legend);
    fill(html);
    html.raw("</figure>\n");
}

/// The frame of a drawing with its axes, horizontal and vertical. `note`: behind the title of the vertical one.
pub(super) fn plot(html: &mut Html, title: &str, note: &str, [x, y]: [&Axis; 2], draw: impl FnOnce(&mut Html)) {
    let (ticks_x, ticks_y) = (x.ticks(TICKS_X), y.ticks(TICKS_Y));
    html.raw("<p class=\"axis-title\">");
    html.text(&y.title());
    if !note.is_empty() {
        html.element("span", "beside", note);
    }
    html.raw("</p>\n");
    html.raw("<div class=\"plot\"><div class=\"y\">");
    for (value, text) in &ticks_y {
        html.markup(format_args!("<span style=\"top:{:.2}%\">{text}</span>", down(y, *value) / SIDE * 100.0));
    }
    html.raw("</div>");
    html.markup(format_args!("<svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" role=\"img\""));
    html.attribute("aria-label", &format!("{title}: {} over {}", y.title(), x.title()));
    html.markup(format_args!(" data-x=\"{} {}\" data-y=\"{} {}\"", x.low, x.high, y.low, y.high));
    html.attribute("data-units", &format!("{}|{}", x.unit, y.unit));
    html.raw("><path class=\"grid-line\" d=\"");
    ticks_y.iter().for_each(|(value, _)| html.markup(format_args!("M0 {:.1}H{SIDE}", down(y, *value))));
    ticks_x.iter().for_each(|(value, _)| html.markup(format_args!("M{:.1} 0V{SIDE}", along(x, *value))));
    html.raw("\"/>");
    draw(html);
    html.raw("</svg>");
    ticks_below(html, x);
    html.raw("</div>");
    if x.unit.is_empty() {
        html.element("p", "axis-title end", &x.label);
    }
}

/// The numbers of a horizontal axis, with their unit.
pub(super) fn ticks_below(html: &mut Html, axis: &Axis) {
    html.raw("<div class=\"x\">");
    for (value, text) in axis.ticks(TICKS_X) {
        html.markup(format_args!("<span style=\"left:{:.2}%\">{text} ", axis.share(value) * 100.0));
        html.text(&axis.unit);
        html.raw("</span>");
    }
    html.raw("</div>");
}

/// Where a value of the horizontal axis lies in the drawing, at most a little beside it.
pub(super) fn along(axis: &Axis, value: f64) -> f64 {
    (axis.share(value) * SIDE).clamp(-SIDE, 2.0 * SIDE)
}

/// The same of the vertical axis.
pub(super) fn down(axis: &Axis, value: f64) -> f64 {
    SIDE - along(axis, value)
}

fn path(x: &Axis, y: &Axis, points: &[[f64; 2]]) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    let mut pen = 'M';
    for (index, point) in points.iter().enumerate() {
        if !point.iter().all(|value| value.is_finite()) {
            pen = 'M';
            continue;
        }
        let (x, y) = (along(x, point[0]), down(y, point[1]));
        // Writing to a string does not fail.
        write!(path, "{pen}{x:.1} {y:.1}").ok();
        let next_breaks = points.get(index + 1).is_none_or(|next| !next.iter().all(|value| value.is_finite()));
        if pen == 'M' && next_breaks {
            // A point without neighbours: a line of no length shows as a dot.
            path.push_str("h0");
        }
        pen = 'L';
    }
    path
}
