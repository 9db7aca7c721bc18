//! Inputs that may be given as frames.

use super::*;
use crate::frames::{FrameBuffers, FrameSlots};

/// Two images of 8 x 4.
fn pictures(memory: Vec<f32>) -> (Pipeline<StandIn>, Diary) {
    let dims = || [2, 3, 4, 8].map(Dim::Fixed).to_vec();
    let diary = Diary::default();
    let backend = StandIn { diary: Rc::clone(&diary), memory, ..StandIn::default() };
    let host = [TensorSpec { name: "pixels".into(), dtype: DType::F32, dims: dims() }];
    let stages = [stage("vision", "pixels", "rows", dims())];
    let pipeline = Pipeline::load(backend, &stages, None, &host, Admission::default(), &mut |_| {});
    (pipeline.unwrap_or_else(|error| panic!("{error}")), diary)
}

#[test]
fn pixels_of_an_input_that_takes_frames_are_made_of_its_slots_in_each_pass() {
    let words = FrameSlots::words(2, [8, 4]);
    let (mut pipeline, diary) = pictures(vec![f32::NAN; words]);
    let plain = Instance::new(
        &mut pipeline.backend,
        &mut pipeline.engines,
        &pipeline.graph,
        &pipeline.tables,
        &Symbols::new(),
        1,
        &[],
    );
    drop(plain.unwrap_or_else(|error| panic!("{error}")));
    let each = 4 * 2 * 3 * 4 * 8;
    let allocated: Vec<String> = diary.borrow_mut().drain(..).filter(|entry| entry.starts_with("allocate")).collect();
    assert_eq!(allocated, [each, each].map(|bytes| format!("allocate {bytes}")));
    let accept = |pipeline: &mut Pipeline<StandIn>, name: &str| pipeline.only(name).is_some() && pipeline.accept(name);
    assert!(accept(&mut pipeline, "pixels") && accept(&mut pipeline, "pixels"));
    assert!(!accept(&mut pipeline, "rows") && !accept(&mut pipeline, "other"), "made by a stage, or none at all");
    prepare(&mut pipeline, 1).unwrap_or_else(|error| panic!("{error}"));
    execute(&mut pipeline).unwrap_or_else(|error| panic!("{error}"));
    let buffers = FrameBuffers { images: 2, size: [8, 4], slots: 2, between: 3, pixels: 0 };
    let sizes = [each, each, 4 * words, each];
    assert_eq!(sizes[2] + sizes[3], 4 * FrameSlots::words_beside(2, [8, 4]), "what the plan of memory says");
    let expected = sizes.map(|bytes| format!("allocate {bytes}")).into_iter().chain([format!("{buffers:?}")]);
    assert_eq!(diary.borrow_mut().drain(..).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // Pixels go to the slots, too.
    let Pipeline { instances, backend, graph, .. } = &mut pipeline;
    let pixels = HostTensor::from_f32(&[2, 3, 4, 8], vec![0.5; 192]).expect("a tensor");
    instances[0].write(backend, graph, 0, &pixels).unwrap_or_else(|error| panic!("{error}"));
    let found = instances[0].input_buffer_mut(backend, graph, 0);
    assert_eq!(found.as_deref(), pixels.as_f32());
    assert_eq!(*diary.borrow(), ["fill 2", "fill 2"]);
}

#[test]
fn a_backend_that_makes_no_pixels_of_frames_is_given_none() {
    let (mut pipeline, diary) = pictures(Vec::new());
    assert!(!pipeline.accept("pixels"));
    prepare(&mut pipeline, 1).unwrap_or_else(|error| panic!("{error}"));
    execute(&mut pipeline).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(diary.borrow().iter().filter(|entry| entry.starts_with("allocate")).count(), 2);
    assert!(pipeline.instances[0].frames_mut(&mut pipeline.backend, 0).is_none());
}
