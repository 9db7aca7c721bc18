//! Horizontal bars of named amounts.

use super::chart::{Legend, figure};
use super::html::{Block, Html, Tone};

/// One name with its amounts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BarRow {
    /// Name.
    pub name: String,
    /// One a series, in the chart's unit; what is not finite is shown as missing.
    pub values: Vec<f64>,
}

/// Bars of named amounts, one or several a name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BarChart {
    /// Heading.
    pub title: String,
    /// One line below the heading; empty: none.
    pub note: String,
    /// Unit of all amounts; empty without one.
    pub unit: String,
    /// Names of the series; the legend is left out for one without a name.
    pub series: Vec<String>,
    /// From top to bottom.
    pub rows: Vec<BarRow>,
}

impl Block for BarChart {
    fn write(&self, html: &mut Html) {
        let mut legend = Legend::default();
        self.series.iter().enumerate().for_each(|(index, name)| legend.entry(name, Tone::Series(index), "solid"));
        let finite =
            self.rows.iter().flat_map(|row| &row.values).map(|value| value.abs()).filter(|value| value.is_finite());
        let most = finite.fold(0.0, f64::max);
        figure(html, &self.title, &self.note, &legend, |html| {
            html.group("bars", |html| self.rows.iter().for_each(|row| write_row(html, row, most, &self.unit)));
        });
    }
}

fn write_row(html: &mut Html, row: &BarRow, most: f64, unit: &str) {
    html.element("span", "name", &row.name);
    html.raw("<div>");
    for (index, value) in row.values.iter().enumerate() {
        let share = if most > 0.0 && value.is_finite() { value.abs() / most * 100.0 } else { 0.0 };
        let class = Tone::Series(index).class();
        html.markup(format_args!(
            "<span class=\"bar\"><i class=\"solid {class}\" style=\"width:{share:.2}%\"></i></span>"
        ));
        let text = if value.is_finite() { format!("{} {unit}", significant(*value)) } else { "-".to_owned() };
        html.element("span", "value", text.trim_end());
    }
    html.raw("</div>");
}

/// Three significant figures.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let power = value.abs().log10().floor();
    if !(-4.0..6.0).contains(&power) {
        format!("{value:.2e}")
    } else {
        format!("{value:.*}", (2.0 - power).max(0.0) as usize)
    }
}
