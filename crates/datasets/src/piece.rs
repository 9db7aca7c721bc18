//! A part of a column: `observation.state[0:7]`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::Error;

/// Elements of a column, one after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Piece {
    /// The column: name of a feature.
    pub column: String,
    /// Its elements; `None`: all.
    pub elements: Option<Range<usize>>,
}

impl Piece {
    /// All elements of a column.
    pub fn whole(column: impl Into<String>) -> Self {
        Self { column: column.into(), elements: None }
    }

    /// These elements of a column.
    pub fn of(column: impl Into<String>, elements: Range<usize>) -> Self {
        Self { column: column.into(), elements: Some(elements) }
    }

    /// Number of elements, of a column of `width`.
    pub fn width(&self, width: usize) -> usize {
        self.elements.as_ref().map_or(width, ExactSizeIterator::len)
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.elements {
            Some(elements) => write!(f, "{}[{}:{}]", self.column, elements.start, elements.end),
            None => f.write_str(&self.column),
        }
    }
}

impl FromStr for Piece {
    type Err = Error;

    /// `column`, `column[i]` or `column[first:end]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason: &str| Error::Syntax { text: text.to_owned(), reason: reason.to_owned() };
        let Some((column, elements)) = text.split_once('[') else {
            return if text.is_empty() { Err(refused("expected the name of a column")) } else { Ok(Self::whole(text)) };
        };
        let expected = "expected COLUMN, COLUMN[INDEX] or COLUMN[FIRST:END], such as observation.state[0:7]";
        let elements = elements.strip_suffix(']').ok_or_else(|| refused(expected))?;
        let number = |text: &str| text.trim().parse::<usize>().ok().ok_or_else(|| refused(expected));
        let range = match elements.split_once(':') {
            Some((first, end)) => number(first)?..number(end)?,
            None => {
                let index = number(elements)?;
                index..index.checked_add(1).ok_or_else(|| refused(expected))?
            }
        };
        if column.is_empty() || range.is_empty() {
            return Err(refused(expected));
        }
        Ok(Self::of(column, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_a_column_or_elements_of_it() {
        let parsed = |text: &str| text.parse::<Piece>().expect("a piece");
        assert_eq!(parsed("action"), Piece::whole("action"));
        assert_eq!(parsed("observation.state[3]"), Piece::of("observation.state", 3..4));
        assert_eq!(parsed("observation.state[0:7]"), Piece::of("observation.state", 0..7));
        assert_eq!(parsed("observation.state[0:7]").to_string(), "observation.state[0:7]");
        for wrong in ["", "[0:7]", "a[7:7]", "a[7:6]", "a[", "a[x]", "a[0:7]b", "a[18446744073709551615]", "a[-1:2]"] {
            assert!(wrong.parse::<Piece>().is_err(), "{wrong}");
        }
    }
}
