//! Markup under construction: text goes in escaped.

use std::fmt::Write as _;

/// Part of a page.
pub trait Block {
    /// Appends its markup.
    fn write(&self, html: &mut Html);
}

/// What a colour means. Charts name it in their legend, so that no meaning depends on colour alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tone {
    /// Background data, measurements.
    #[default]
    Grey,
    /// One of several series of equal standing; eight colours, then they repeat.
    Series(usize),
    /// As expected.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

impl Tone {
    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        const SERIES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
        match self {
            Self::Grey => "grey",
            Self::Series(index) => SERIES[index % SERIES.len()],
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// Markup of a part of a page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Html(String);

impl Html {
    /// Appends a block.
    pub fn add<B: Block + ?Sized>(&mut self, block: &B) {
        block.write(self);
    }

    /// Appends a paragraph of explanation.
    pub fn paragraph(&mut self, text: &str) {
        self.element("p", "text", text);
    }

    /// Appends a heading below that of the section.
    pub fn heading(&mut self, text: &str) {
        self.element("h3", "", text);
    }

    /// Appends blocks that are kept together as one panel.
    pub fn panel(&mut self, fill: impl FnOnce(&mut Html)) {
        self.group("panel", fill);
    }

    /// Appends blocks that the reader opens with a click on `summary`.
    pub fn details(&mut self, summary: &str, fill: impl FnOnce(&mut Html)) {
        self.raw("<details>");
        self.element("summary", "", summary);
        fill(self);
        self.raw("</details>\n");
    }

    /// Appends markup as it is.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Appends formatted markup as it is: numbers and constant words only.
    pub(super) fn markup(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        self.0.write_fmt(markup).ok();
    }

    /// Appends text. Characters that browsers do not show or that reorder the text around them become `\u{FFFD}`.
    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&#39;"),
                '\n' | '\t' => self.0.push(c),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                _ if c.is_control() => self.0.push('\u{fffd}'),
                _ => self.0.push(c),
            }
        }
    }

    /// Appends ` name="text"`.
    pub(super) fn attribute(&mut self, name: &str, text: &str) {
        self.markup(format_args!(" {name}=\""));
        self.text(text);
        self.raw("\"");
    }

    /// Appends an element that holds text alone.
    pub(super) fn element(&mut self, tag: &str, class: &str, text: &str) {
        self.markup(format_args!("<{tag}"));
        if !class.is_empty() {
            self.attribute("class", class);
        }
        self.raw(">");
        self.text(text);
        self.markup(format_args!("</{tag}>"));
        if matches!(tag, "p" | "h1" | "h2" | "h3") {
            self.raw("\n");
        }
    }

    /// Appends a `div` of this class.
    pub(super) fn group(&mut self, class: &str, fill: impl FnOnce(&mut Html)) {
        self.markup(format_args!("<div class=\"{class}\">"));
        fill(self);
        self.raw("</div>\n");
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Html> for String {
    fn from(html: Html) -> Self {
        html.0
    }
}
