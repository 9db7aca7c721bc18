//! Progress of an export, in bytes of the weights that it reads.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::inventory::inventory;
use super::weights::{Weight, Weights, is_embodied};
use super::{Error, Model};
use vla_base::tensor::DType;

/// The current part of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Weights are read and written.
    Weights {
        /// Bytes so far.
        done: u64,
        /// Bytes of all weights.
        total: u64,
    },
    /// Reading the written files again, for the fingerprint.
    Fingerprint,
}

/// Weights that report when one is read for the first time.
pub(crate) struct Metered<'a> {
    inner: &'a dyn Weights,
    total: u64,
    elements: u64,
    state: RefCell<State<'a>>,
}

struct State<'a> {
    unread: BTreeMap<String, u64>,
    done: u64,
    report: &'a mut dyn FnMut(Progress),
}

impl<'a> Metered<'a> {
    /// Reports on those weights of `model` that are `read`; of one that holds all embodiments, the share of one counts.
    pub(crate) fn new(
        inner: &'a dyn Weights,
        model: &Model,
        read: fn(&str) -> bool,
        report: &'a mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let (mut unread, mut elements) = (BTreeMap::new(), 0);
        for (name, _) in inventory(model).into_iter().filter(|(name, _)| read(name)) {
            let shares = if is_embodied(&name) { model.head.embodiments.max(1) } else { 1 };
            let (dtype, dims) = inner.outline(&name)?;
            let share = (dims.iter().product::<usize>() / shares) as u64;
            elements += share;
            unread.insert(name, share * dtype.size() as u64);
        }
        let total = unread.values().sum();
        report(Progress::Weights { done: 0, total });
        Ok(Self { inner, total, elements, state: RefCell::new(State { unread, done: 0, report }) })
    }

    /// Numbers that the weights have together.
    pub(crate) fn elements(&self) -> u64 {
        self.elements
    }
}

impl Weights for Metered<'_> {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let weight = self.inner.get(name)?;
        let mut state = self.state.borrow_mut();
        if let Some(bytes) = state.unread.remove(name) {
            // What was asked for before is written by now.
            let done = state.done;
            (state.report)(Progress::Weights { done, total: self.total });
            state.done += bytes;
        }
        drop(state);
        Ok(weight)
    }

    fn outline(&self, name: &str) -> Result<(DType, Vec<usize>), Error> {
        self.inner.outline(name)
    }

    fn origin(&self, name: &str) -> String {
        self.inner.origin(name)
    }
}
