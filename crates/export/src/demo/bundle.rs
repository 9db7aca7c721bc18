//! The demo policy as a folder: an export of the demo checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::{CAMERAS, EMBODIMENT, STEP_S, STEPS, TEXT};
use crate::bundle;
use crate::bundle::{Camera, Features, Letterbox, Request};
use crate::staging::Staging;
use crate::synthetic_checkpoint;
use crate::synthetic_checkpoint::Size;
use crate::{Error, Family, RopeFrequencies, VisionAttention, split};
use vla_base::tensor::DType;

/// Size of the cameras' frames; the vendor's transform makes the same of every 4:3 camera.
const FRAME: (usize, usize) = (640, 480);

/// Writes a family's bundle to `out`, a new or empty folder or an earlier bundle, and returns its fingerprint.
///
/// # Errors
/// As [`bundle::write`].
pub fn write(family: &'static Family, out: &Path, seed: u64) -> Result<String, Error> {
    write_in(family, DType::F32, out, seed)
}

/// The same with networks in this element type.
///
/// # Errors
/// As [`write()`].
pub fn write_in(family: &'static Family, dtype: DType, out: &Path, seed: u64) -> Result<String, Error> {
    let checkpoint = Staging::scratch(out)?;
    let dir = checkpoint.dir();
    synthetic_checkpoint::fill_folder(family, Size::Demo, seed, dir, u64::MAX, &mut |_| {})?;
    bundle::write(&Request { dtype, ..request(family, dir) }, out, &mut |_| {}).map(|summary| summary.fingerprint)
}

/// What makes the demo policy of a family of the demo checkpoint in `dir`.
pub fn request(family: &Family, dir: &Path) -> Request {
    let camera = |name: &&str| Camera { name: (*name).to_owned(), width: FRAME.0, height: FRAME.1 };
    let [fewest, usual, most] = TEXT;
    Request {
        checkpoint: dir.to_path_buf(),
        lora: None,
        expected: Vec::new(),
        tokenizer: dir.join(synthetic_checkpoint::TOKENIZER),
        backbone: None,
        embodiment: EMBODIMENT.0.to_owned(),
        cameras: CAMERAS.iter().map(camera).collect(),
        blank_views: Vec::new(),
        name: "demo".to_owned(),
        about: Some(format!(
            "The demo policy: {}'s shape in small with seeded weights. It moves a robot nowhere useful.",
            family.title()
        )),
        layout: split::LAYOUT,
        deltas: BTreeMap::new(),
        letterbox: Letterbox::AsFile,
        step_s: STEP_S,
        steps: STEPS.to_vec(),
        max_text: most,
        usual_text: Some([fewest, usual]),
        dtype: DType::F32,
        dtype_of: BTreeMap::new(),
        precision: Some("fp16".to_owned()),
        rope: RopeFrequencies::default(),
        features: Features::default(),
        attention: VisionAttention::default(),
        blocks_per_engine: None,
        stacked_projections: false,
        debug_outputs: false,
    }
}
