//! `--family`: the releases of the model that checkpoints and the demo policy are made of.

use clap::ValueEnum;

use vla_export::family::{N1D6, N1D7};

/// A release of the model.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Family {
    /// GR00T N1.6.
    #[default]
    N1d6,
    /// GR00T N1.7.
    N1d7,
}

impl From<Family> for &'static vla_export::Family {
    fn from(family: Family) -> Self {
        match family {
            Family::N1d6 => &N1D6,
            Family::N1d7 => &N1D7,
        }
    }
}
