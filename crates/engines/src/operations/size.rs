//! Sizes that depend on the inputs: numbers, symbols, and their sums and products (`T`, `T+324`, `6*T`).

use std::collections::BTreeMap;

use vla_base::tensor::Dim;

use crate::Symbols;

/// Most terms of a sum; more are no size of a network.
const MOST_TERMS: usize = 16;

/// The number that a dimension is for these values of the symbols; `None` where a symbol has no value, the text is no size, or the
/// number does not fit.
pub fn resolve(dim: &Dim, symbols: &Symbols) -> Option<usize> {
    Size::of(dim)?.resolve(symbols)
}

/// A sum of products of symbols, each with a factor; two are equal where they are for all values of the symbols.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Size(BTreeMap<Vec<String>, usize>);

impl Size {
    /// A number.
    pub fn number(n: usize) -> Self {
        Self::term(Vec::new(), n)
    }

    fn term(symbols: Vec<String>, factor: usize) -> Self {
        Self(if factor == 0 { BTreeMap::new() } else { BTreeMap::from([(symbols, factor)]) })
    }

    /// Of a dimension; `None` for a text that is none, numbers that do not fit, or too many terms.
    pub fn of(dim: &Dim) -> Option<Self> {
        let text = match dim {
            Dim::Fixed(n) => return Some(Self::number(*n)),
            Dim::Symbol(text) => text,
        };
        text.split('+').try_fold(Self::default(), |sum, product| {
            let product = product.split('*').try_fold(Self::number(1), |product, factor| {
                let factor = match factor.parse::<usize>() {
                    Ok(number) => Self::number(number),
                    Err(_) if is_name(factor) => Self::term(vec![factor.to_owned()], 1),
                    Err(_) => return None,
                };
                product.times(&factor)
            })?;
            sum.plus(&product)
        })
    }

    /// Product of all of `dims`, 1 of none; `None` as [`Self::of`].
    pub fn product(dims: &[Dim]) -> Option<Self> {
        dims.iter().try_fold(Self::number(1), |product, dim| product.times(&Self::of(dim)?))
    }

    /// The sum; `None` where a number does not fit.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let mut sum = self.0.clone();
        for (symbols, factor) in &other.0 {
            let entry = sum.entry(symbols.clone()).or_default();
            *entry = entry.checked_add(*factor)?;
        }
        (sum.len() <= MOST_TERMS).then_some(Self(sum))
    }

    /// The product; `None` where a number does not fit.
    pub fn times(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (a, n) in &self.0 {
            for (b, m) in &other.0 {
                let mut symbols = [a.as_slice(), b].concat();
                symbols.sort();
                product = product.plus(&Self::term(symbols, n.checked_mul(*m)?))?;
            }
        }
        Some(product)
    }

    /// `n` times less; `None` where it is not a multiple of `n` for all values of the symbols.
    pub fn over(&self, n: usize) -> Option<Self> {
        let divide = |(symbols, factor): (&Vec<String>, &usize)| {
            (n > 0 && factor.is_multiple_of(n)).then(|| (symbols.clone(), factor / n))
        };
        self.0.iter().map(divide).collect::<Option<_>>().map(Self)
    }

    /// The number that it is whatever the symbols are.
    pub fn fixed(&self) -> Option<usize> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get([].as_slice()).copied(),
            _ => None,
        }
    }

    /// Its symbols.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.0.keys().flatten().map(String::as_str)
    }

    /// The number for these values; `None` where a symbol has none or the number does not fit.
    pub fn resolve(&self, symbols: &Symbols) -> Option<usize> {
        self.0.iter().try_fold(0_usize, |sum, (names, factor)| {
            let value = |product: usize, name: &String| product.checked_mul(*symbols.get(name)?);
            sum.checked_add(names.iter().try_fold(*factor, value)?)
        })
    }

    /// As a dimension: symbols first, the number last.
    pub fn dim(&self) -> Dim {
        if let Some(n) = self.fixed() {
            return Dim::Fixed(n);
        }
        let text = |(symbols, factor): (&Vec<String>, &usize)| {
            let number = (*factor != 1 || symbols.is_empty()).then(|| factor.to_string());
            number.into_iter().chain(symbols.iter().cloned()).collect::<Vec<_>>().join("*")
        };
        // The term without a symbol is the first of the map.
        let (number, terms): (Vec<_>, Vec<_>) = self.0.iter().partition(|(symbols, _)| symbols.is_empty());
        Dim::Symbol(terms.into_iter().chain(number).map(text).collect::<Vec<_>>().join("+"))
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        Size::of(&Dim::Symbol(text.to_owned())).expect("a size")
    }

    fn symbols() -> Symbols {
        Symbols::from([("T".to_owned(), 5), ("S".to_owned(), 7)])
    }

    #[test]
    fn sums_and_products_take_the_symbols_values() {
        let resolved = |text: &str| resolve(&Dim::Symbol(text.to_owned()), &symbols());
        assert_eq!(resolve(&Dim::Fixed(3), &symbols()), Some(3));
        assert_eq!(resolved("T"), Some(5));
        assert_eq!(resolved("T+324"), Some(329));
        assert_eq!(resolved("6*T+S*T+1"), Some(66));
        for bad in [
            "",
            "U",
            "T+",
            "*T",
            "T 1",
            "-1",
            "18446744073709551615*T",
            "99999999999999999999",
            "T+99999999999999999999",
        ] {
            assert_eq!(resolved(bad), None, "{bad}");
        }
    }

    #[test]
    fn equal_for_all_values_is_equal_and_is_written_one_way() {
        assert_eq!(size("324+T"), size("T+324"));
        assert_eq!(size("2*T+T"), size("T*3"));
        assert_ne!(size("T"), size("S"));
        for (text, written) in [("324+T", "T+324"), ("T*6", "6*T"), ("T+T", "2*T"), ("S*T+1", "S*T+1")] {
            assert_eq!(size(text).dim(), Dim::Symbol(written.to_owned()));
        }
        assert_eq!(size("2*3").dim(), Dim::Fixed(6));
        assert_eq!(size("0*T").dim(), Dim::Fixed(0));
    }

    #[test]
    fn quotients_hold_for_all_values() {
        assert_eq!(size("6*T+4").over(2), Some(size("3*T+2")));
        assert_eq!(size("6*T+4").over(4), None);
        assert_eq!(size("6").over(0), None);
    }
}
