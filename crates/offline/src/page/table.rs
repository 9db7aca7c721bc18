//! Tables, cards with the main figures, facts and explained words.

use super::bars::significant;
use super::html::{Block, Html, Tone};

/// A cell of a table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cell {
    text: String,
    is_number: bool,
    tone: Option<Tone>,
}

impl Cell {
    /// Text, aligned to the left.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A count, aligned to the right.
    pub fn count(count: u64) -> Self {
        Self { text: count.to_string(), is_number: true, tone: None }
    }

    /// A number with this many decimals; `-` when it is not finite.
    pub fn number(value: f64, decimals: usize) -> Self {
        let text = if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() };
        Self { text, is_number: true, tone: None }
    }

    /// A number with three significant figures; `-` when it is not finite.
    pub fn figure(value: f64) -> Self {
        let text = if value.is_finite() { significant(value) } else { "-".to_owned() };
        Self { text, is_number: true, tone: None }
    }

    /// The same, highlighted when `condition` holds.
    pub fn toned(self, tone: Tone, condition: bool) -> Self {
        Self { tone: condition.then_some(tone), ..self }
    }
}

/// Columns of a table that a narrow window still holds side by side.
const WIDE: usize = 4;

/// A table. In a narrow window one with more than four columns shows each row as a list; another scrolls where it is too wide.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// With one more row.
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.push(cells);
        self
    }

    /// Appends a row.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Block for Table {
    fn write(&self, html: &mut Html) {
        let is_number = |column: usize| {
            let cell = self.rows.first().and_then(|row| row.get(column));
            cell.is_some_and(|cell| cell.is_number)
        };
        let wide = if self.head.len() > WIDE { " class=\"wide\"" } else { "" };
        html.markup(format_args!("<div class=\"scroll\" tabindex=\"0\"><table{wide}><thead><tr>"));
        for (column, name) in self.head.iter().enumerate() {
            html.element("th", if is_number(column) { "number" } else { "" }, name);
        }
        html.raw("</tr></thead><tbody>\n");
        for row in &self.rows {
            html.raw("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let tone = cell.tone.map_or("", |tone| tone.class());
                let class = if cell.is_number { format!("number {tone}") } else { tone.to_owned() };
                html.raw("<td");
                if !class.is_empty() {
                    html.attribute("class", class.trim_end());
                }
                if let Some(name) = self.head.get(column).filter(|_| !wide.is_empty()) {
                    html.attribute("data-name", name);
                }
                html.raw(">");
                html.text(&cell.text);
                html.raw("</td>");
            }
            html.raw("</tr>\n");
        }
        html.raw("</tbody></table></div>\n");
    }
}

/// One of the main figures, shown large.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Card {
    value: String,
    label: String,
    tone: Option<Tone>,
}

impl Card {
    /// A figure and what it is.
    pub fn new(value: impl Into<String>, label: impl Into<String>) -> Self {
        Self { value: value.into(), label: label.into(), tone: None }
    }

    /// The same, highlighted when `condition` holds.
    pub fn toned(self, tone: Tone, condition: bool) -> Self {
        Self { tone: condition.then_some(tone), ..self }
    }
}

impl Block for [Card] {
    fn write(&self, html: &mut Html) {
        html.group("cards", |html| {
            for card in self {
                html.markup(format_args!("<div class=\"card {}\">", card.tone.map_or("", Tone::class)));
                html.element("b", "", &card.value);
                html.element("span", "", &card.label);
                html.raw("</div>");
            }
        });
    }
}

/// Names with their values: what was run, for example.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts(Vec<(String, String)>);

impl Facts {
    /// Appends a fact.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }
}

impl Block for Facts {
    fn write(&self, html: &mut Html) {
        html.raw("<dl class=\"facts\">");
        for (name, value) in &self.0 {
            html.element("dt", "", name);
            html.element("dd", "", value);
        }
        html.raw("</dl>\n");
    }
}

/// Explained words, in the order in which they are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glossary<'a>(pub &'a [(&'a str, &'a str)]);

impl Block for Glossary<'_> {
    fn write(&self, html: &mut Html) {
        html.raw("<dl class=\"glossary\">");
        for (word, meaning) in self.0 {
            html.element("dt", "", word);
            html.element("dd", "", meaning);
        }
        html.raw("</dl>\n");
    }
}
