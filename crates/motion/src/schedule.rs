//! Due times, and what has become late by the time of publication.

use super::Chunk;
use super::error::Error;
use vla_base::time::{Span, Stamp};

/// When the rows of a chunk are due, seen from the time of publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduled {
    /// Due time of row 0: observation stamp plus one step.
    pub start: Stamp,
    /// Time of publication that `late_rows` was counted at.
    pub now: Stamp,
    /// First row that is not late; always one of the chunk's.
    pub first_row: usize,
    /// Rows due at or before `now`.
    pub late_rows: u32,
}

/// Due times of a chunk that would be published at `now`. A row due exactly now is late: a controller wants
/// `time_from_start` above zero. A chunk of which every row is late is refused.
pub fn schedule(chunk: &Chunk, now: Stamp) -> Result<Scheduled, Error> {
    chunk.check()?;
    if chunk.step <= Span::ZERO {
        return Err(Error::Step { step: chunk.step });
    }
    let (start, end) = (chunk.due(0), chunk.due(chunk.rows - 1));
    if end <= now {
        return Err(Error::WhollyLate { rows: chunk.rows, start, end, now });
    }
    // Rows due at or before now: those up to and including floor((now - start) / step), none before the start.
    let late = if now < start { 0 } else { (now - start).nanos() / chunk.step.nanos() + 1 };
    let late_rows = u32::try_from(late).unwrap_or(u32::MAX);
    let first_row = usize::try_from(late).unwrap_or(usize::MAX).min(chunk.rows - 1);
    Ok(Scheduled { start, now, first_row, late_rows })
}

#[cfg(test)]
mod tests {
    use super::super::tests::chunk;
    use super::*;
    use proptest::prelude::*;

    const STEP: i64 = 20_000_000;

    /// Four rows observed at 1 s, 20 ms apart: due at 1.02, 1.04, 1.06 and 1.08 s.
    fn four_rows() -> Chunk {
        chunk(&["a"], &[0.0, 1.0, 2.0, 3.0])
    }

    fn at(ms: i64) -> Result<(usize, u32), Error> {
        schedule(&four_rows(), Stamp::from_nanos(ms * 1_000_000)).map(|s| (s.first_row, s.late_rows))
    }

    #[test]
    fn a_row_is_late_from_its_due_time_on() {
        assert_eq!(at(1000), Ok((0, 0)));
        assert_eq!(at(1019), Ok((0, 0)));
        assert_eq!(at(1020), Ok((1, 1)));
        assert_eq!(at(1041), Ok((2, 2)));
        assert_eq!(at(1079), Ok((3, 3)));
    }

    #[test]
    fn a_wholly_late_chunk_is_refused_with_the_numbers() {
        let error = at(1080).expect_err("the last row is due now");
        let text = error.to_string();
        for part in ["4 rows", "from 1.020000000 to 1.080000000", "now is 1.080000000", "0 ms after"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert!(matches!(at(5000), Err(Error::WhollyLate { rows: 4, .. })));
    }

    #[test]
    fn a_chunk_without_rows_or_step_is_refused() {
        let mut empty = four_rows();
        (empty.rows, empty.values) = (0, Vec::new());
        assert!(matches!(schedule(&empty, Stamp::default()), Err(Error::Shape { .. })));
        let mut still = four_rows();
        still.step = Span::ZERO;
        assert_eq!(schedule(&still, Stamp::default()), Err(Error::Step { step: Span::ZERO }));
    }

    proptest! {
        /// Late rows are exactly those due at or before now.
        #[test]
        fn late_rows_are_those_due_at_or_before_now(rows in 1usize..60, now in 0i64..3_000_000_000, step in 1i64..STEP) {
            let mut chunk = chunk(&["a"], &vec![0.0; rows]);
            chunk.step = Span::from_nanos(step);
            let now = Stamp::from_nanos(now);
            let late = (0..rows).filter(|&row| chunk.due(row) <= now).count();
            match schedule(&chunk, now) {
                Ok(scheduled) => {
                    prop_assert_eq!(scheduled.late_rows as usize, late);
                    prop_assert_eq!(scheduled.first_row, late);
                    prop_assert!(chunk.due(scheduled.first_row) > now);
                    prop_assert_eq!(scheduled.start, chunk.observation_stamp + chunk.step);
                }
                Err(error) => {
                    let wholly_late = matches!(error, Error::WhollyLate { .. });
                    prop_assert!(wholly_late);
                    prop_assert_eq!(late, rows);
                }
            }
        }
    }
}
