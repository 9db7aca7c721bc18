//! Rows of the chunks that are drawn.

use vla_messages::ActionChunkMessage;

/// Chunks that are kept: at most twice as many.
const MOST: usize = 150;

/// The rows of a chunk.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    /// Due time of the first, in s of the record.
    pub start: f64,
    /// Time between rows, in s.
    pub step: f64,
    /// `[rows, columns]`.
    pub values: Box<[f32]>,
}

/// Rows of every chunk of a short run, and of every n-th of a long one.
#[derive(Clone, Debug)]
pub struct KeptRows {
    /// In order.
    pub kept: Vec<Rows>,
    /// One of so many chunks is kept.
    pub every: usize,
    seen: usize,
}

impl Default for KeptRows {
    fn default() -> Self {
        Self { kept: Vec::new(), every: 1, seen: 0 }
    }
}

impl KeptRows {
    /// Takes down a chunk whose first row is due at `start`, in s of the record.
    pub(super) fn push(&mut self, start: f64, chunk: &ActionChunkMessage) {
        let wanted = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        if !wanted {
            return;
        }
        self.kept.push(Rows { start, step: chunk.step.seconds(), values: chunk.values.as_slice().into() });
        if self.kept.len() > 2 * MOST {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_chunks_at_equal_distances() {
        let mut rows = KeptRows::default();
        (0..10_000).for_each(|index| rows.push(f64::from(index), &ActionChunkMessage::default()));
        assert!((MOST..=2 * MOST).contains(&rows.kept.len()), "{}", rows.kept.len());
        assert!(rows.kept.iter().enumerate().all(|(index, rows_of)| rows_of.start == (index * rows.every) as f64));
    }
}
