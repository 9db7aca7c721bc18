//! Slots, their tables, and the transforms that fit.

use super::*;

/// Takes each `each`th pixel of an axis.
fn every(each: usize, output: usize) -> Axis {
    Axis { first: (0..output).map(|at| (at * each) as i32).collect(), taps: 1, weights: vec![1; output] }
}

fn step([width, height]: [usize; 2], each: usize) -> Resize {
    let (columns, rows) = (every(each, width / each), every(each, height / each));
    let sums = Sums::Fixed { columns: 0, rows: 0 };
    Resize { input: [width, height], offset: [0, 0], columns, rows, sums }
}

fn memory(images: usize) -> Vec<f32> {
    vec![f32::NAN; FrameSlots::words(images, [8, 4])]
}

#[test]
fn a_slot_holds_pixels_or_a_frame_and_says_which() {
    let mut memory = memory(2);
    let transform = FrameTransform::new(&[step([16, 8], 2)]).expect("a transform");
    let slots: Vec<FrameSlot<'_>> = FrameSlots::new(&mut memory, [8, 4]).images().collect();
    let [first, second] = <[_; 2]>::try_from(slots).expect("two");
    let frame = first.into_frame(&transform).expect("room");
    assert_eq!(frame.len(), 3 * 16 * 8);
    frame.fill(7);
    second.into_pixels().fill(0.5);
    let word = |at: usize| memory[at].to_bits();
    assert_eq!([word(0), word(TABLE_WORDS)], [1, 0], "steps of each");
    assert_eq!([word(FIRST_STEP), word(FIRST_STEP + 4), word(FIRST_STEP + 5)], [16, 8, 4], "sizes");
    let first_of_columns = word(FIRST_STEP + 8) as usize;
    assert_eq!([word(first_of_columns), word(first_of_columns + 7)], [0, 14]);
    assert_eq!([word(2 * TABLE_WORDS), word(2 * TABLE_WORDS + 96)], [0x0707_0707, 0.5_f32.to_bits()]);
    assert_eq!(FrameSlots::new(&mut memory, [8, 4]).into_pixels().len(), 2 * 96);
    assert_eq!([memory[0].to_bits(), memory[TABLE_WORDS].to_bits()], [0, 0]);
}

#[test]
fn a_frame_that_is_too_large_or_becomes_another_image_leaves_the_slot_to_pixels() {
    let mut memory = memory(1);
    let refused = |memory: &mut [f32], steps: &[Resize]| {
        let transform = FrameTransform::new(steps).expect("a transform");
        let slot = FrameSlots::new(memory, [8, 4]).images().next().expect("one");
        slot.into_frame(&transform).is_err()
    };
    assert!(!refused(&mut memory, &[step([16, 8], 2)]), "three bytes a pixel, and room for twelve");
    assert!(refused(&mut memory, &[step([24, 12], 3)]), "larger than its pixels");
    assert!(refused(&mut memory, &[step([8, 4], 2)]), "another size");
    assert!(refused(&mut memory, &[step([16, 8], 1), step([16, 8], 2)]), "larger than half between steps");
}

#[test]
fn a_transform_of_steps_that_do_not_go_together_is_none() {
    assert_eq!(FrameTransform::new(&[]), None);
    assert_eq!(FrameTransform::new(&[step([16, 8], 2), step([16, 8], 2)]), None, "the first makes 8 x 4");
    assert_eq!(FrameTransform::new(&[step([8, 8], 1), step([8, 8], 1), step([8, 8], 1), step([8, 8], 1)]), None);
    assert_eq!(FrameTransform::new(&[step([4 * TABLE_WORDS, 8], 4)]), None, "a table that is too long");
    let other = Resize { rows: Axis { taps: 2, ..every(1, 8) }, ..step([8, 8], 1) };
    assert_eq!(FrameTransform::new(&[other]), None, "weights that are not of the taps");
    let far = Resize { offset: [i32::MIN, 0], ..step([8, 8], 1) };
    let wide = Resize { sums: Sums::Fixed { columns: 0, rows: 32 }, ..step([8, 8], 1) };
    let single = Resize { sums: Sums::Linear, ..step([8, 8], 1) };
    assert_eq!([far, wide, single].map(|step| FrameTransform::new(&[step])), [None, None, None]);
}

#[test]
fn a_table_is_that_of_the_last_frame_whatever_the_slot_held_before() {
    let mut memory = memory(1);
    let [halved, cut] = [step([16, 8], 2), Resize { offset: [-4, -2], ..step([8, 4], 1) }]
        .map(|step| FrameTransform::new(&[step]).expect("a transform"));
    for transform in [Some(&halved), Some(&cut), Some(&halved), None, Some(&halved), Some(&cut), None, Some(&cut)] {
        let slot = FrameSlots::new(&mut memory, [8, 4]).images().next().expect("one");
        let Some(transform) = transform else {
            slot.into_pixels();
            assert_eq!(memory[STEPS].to_bits(), 0);
            continue;
        };
        slot.into_frame(transform).expect("room");
        let table: Vec<u32> = memory[..transform.table.len()].iter().map(|word| word.to_bits()).collect();
        assert_eq!(table, transform.table);
    }
}
