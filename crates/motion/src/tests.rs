//! The chunk as a whole.

use super::*;

/// Rows of these joints observed at 1 s, 20 ms apart.
pub(super) fn chunk(names: &[&str], values: &[f32]) -> Chunk {
    Chunk {
        names: names.iter().map(ToString::to_string).collect(),
        poses: Arc::default(),
        rows: values.len() / names.len(),
        values: values.to_vec(),
        observation_stamp: Stamp::from_nanos(1_000_000_000),
        inputs: vec![
            ("top".into(), Stamp::from_nanos(1_000_000_000)),
            ("joints".into(), Stamp::from_nanos(1_010_000_000)),
        ],
        seed: 7,
        step: Span::from_nanos(20_000_000),
    }
}

fn ms(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

#[test]
fn nan_and_infinity_are_refused_by_row_and_joint() {
    let mut chunk = chunk(&["a", "b"], &[0.0, 1.0, 2.0, f32::NAN]);
    let error = chunk.check_finite().expect_err("a NaN");
    assert_eq!(
        error.to_string(),
        "chunk: row 1, joint `b`: expected a finite position, found NaN; the chunk is not published"
    );
    chunk.values[3] = f32::INFINITY;
    assert!(matches!(chunk.check_finite(), Err(Error::NotFinite { row: 1, .. })));
    chunk.values[3] = 3.0;
    assert_eq!(chunk.check_finite(), Ok(()));
}

#[test]
fn a_chunk_whose_values_do_not_fill_it_is_refused_everywhere() {
    let mut chunk = chunk(&["a", "b"], &[0.0; 4]);
    chunk.values.pop();
    let shape = Error::Shape { rows: 2, joints: 2, values: 3 };
    assert_eq!(chunk.check_finite(), Err(shape.clone()));
    assert_eq!(schedule(&chunk, ms(0)), Err(shape));
}

#[test]
fn rows_are_due_one_step_after_the_observation_and_a_step_apart() {
    let chunk = chunk(&["a"], &[0.0, 1.0]);
    assert_eq!((chunk.due(0), chunk.due(1)), (ms(1020), ms(1040)));
    assert_eq!((chunk.row(1), chunk.row(2)), (Some(&[1.0][..]), None));
}
