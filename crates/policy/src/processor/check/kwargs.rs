//! The arguments of the vendor's processor class.

use super::super::known::Place;
use super::super::on_use::Number;
use super::super::raw::Entries;
use super::super::{Framing, ImageTransformSpec};
use super::Checker;
use super::object::Object;
use crate::encode::resize::Size;
use crate::family::{Family, RelativePoses};

/// Largest side that the shorter edge may be resized to; beyond it a number is a mistake, not a camera.
const LARGEST_EDGE: usize = 4096;
/// Largest ratio of an image's sides that the vendor's smart resize takes.
const LARGEST_RATIO: usize = 200;
/// Largest tensor dimension; the vendor's own is 128.
const LARGEST_DIM: usize = 1 << 16;

/// The arguments that something is computed from.
pub(super) struct Kwargs {
    pub image: Option<ImageTransformSpec>,
    pub formalize_language: bool,
    pub max_state_dim: usize,
    pub max_action_dim: usize,
    pub max_action_horizon: usize,
    pub use_percentiles: bool,
    pub clip_outliers: bool,
    pub apply_sincos_state_encoding: bool,
    pub use_relative_action: bool,
    pub exclude_state: bool,
    pub relative_poses: RelativePoses,
}

/// `letter_box_transform`, in Python's reading: null is false. `None`: the file does not have it.
pub(in super::super) fn letterbox(kwargs: &Entries) -> Option<bool> {
    let read = kwargs.get(LETTERBOX)?.read_as::<Option<bool>>();
    read.ok().map(Option::unwrap_or_default)
}

const LETTERBOX: &str = "letter_box_transform";

impl Checker {
    /// An absent key takes the default of the vendor's class.
    pub(super) fn kwargs(&mut self, family: &Family, entries: &Entries) -> Kwargs {
        let object = &mut Object::new("", Place::Kwargs, entries);
        self.model(family, object);
        let [max_state_dim, max_action_dim, max_action_horizon] =
            [("max_state_dim", 29), ("max_action_dim", 29), ("max_action_horizon", family.max_action_horizon)]
                .map(|(key, default)| self.dim(object, key, default));
        let kwargs = Kwargs {
            image: self.image(family, object),
            formalize_language: self.flag(object, "formalize_language", true),
            max_state_dim,
            max_action_dim,
            max_action_horizon,
            use_percentiles: self.flag(object, "use_percentiles", false),
            clip_outliers: self.flag(object, "clip_outliers", true),
            apply_sincos_state_encoding: self.flag(object, "apply_sincos_state_encoding", false),
            use_relative_action: self.flag(object, "use_relative_action", false),
            exclude_state: self.off_unless(family.switches.exclude_state, object, "exclude_state"),
            relative_poses: family.relative_poses,
        };
        self.off_unless(family.switches.ignores_use_mean_std, object, "use_mean_std");
        self.rest(object);
        kwargs
    }

    /// A switch that is computed with, or makes no difference, where `known`; else it has to be off. `null` is off.
    fn off_unless(&mut self, known: bool, object: &mut Object<'_>, key: &'static str) -> bool {
        let on = self.take::<Option<bool>>(object, key).flatten().unwrap_or_default();
        self.check(known || !on, || {
            format!("{key}: expected off: false or null, found true; this is not computed here")
        });
        on
    }

    /// The backbone that the processor prepares for.
    fn model(&mut self, family: &Family, object: &mut Object<'_>) {
        if let Some(found) = self.take::<String>(object, "model_name") {
            self.check(family.model_name.accepts(&found), || {
                let names = family.model_name.names.join("' or '");
                let within = if family.model_name.within_paths { " or a path with one of these names" } else { "" };
                format!("model_name: expected '{names}'{within}, found '{found}'")
            });
        }
        if let Some(found) = self.take::<String>(object, "model_type") {
            let expected = family.model_type;
            self.check(found == expected, || format!("model_type: expected '{expected}', found '{found}'"));
        }
    }

    fn flag(&mut self, object: &mut Object<'_>, key: &'static str, default: bool) -> bool {
        self.take(object, key).unwrap_or(default)
    }

    fn dim(&mut self, object: &mut Object<'_>, key: &'static str, default: usize) -> usize {
        let value = self.take(object, key).unwrap_or(default);
        self.check((1..=LARGEST_DIM).contains(&value), || format!("{key}: expected 1 to {LARGEST_DIM}, found {value}"));
        value
    }

    fn image(&mut self, family: &Family, object: &mut Object<'_>) -> Option<ImageTransformSpec> {
        let [target, crop] =
            ["image_target_size", "image_crop_size"].map(|key| self.take::<Option<[usize; 2]>>(object, key).flatten());
        let edge =
            self.take::<Option<usize>>(object, "shortest_image_edge").unwrap_or(Some(family.shortest_image_edge));
        let fraction = self.take::<Option<Number>>(object, "crop_fraction").unwrap_or(Some(Number(0.95)));
        let letterbox = self.take::<Option<bool>>(object, LETTERBOX).flatten().unwrap_or_default();
        let albumentations = self.flag(object, "use_albumentations", false);
        let framing = if !albumentations && family.switches.torchvision_transform {
            self.stretched(target, crop)?
        } else {
            self.check(albumentations, || {
                "use_albumentations: expected true, found false; the other image transform is not computed here".into()
            });
            self.shortest_edge(edge, fraction, target, crop)?
        };
        Some(ImageTransformSpec { letterbox, framing, smart_resize: family.smart_resize })
    }

    /// The transform of albumentations. The two sizes matter only where the edge or the fraction is null, as in the vendor's
    /// code.
    fn shortest_edge(
        &mut self,
        edge: Option<usize>,
        fraction: Option<Number>,
        target: Option<[usize; 2]>,
        crop: Option<[usize; 2]>,
    ) -> Option<Framing> {
        let [target, crop] = [target, crop].map(|size| size.map(|[height, _]| height));
        let edge = edge.or(target);
        let of_sizes = crop.zip(target).map(|(crop, target)| crop as f64 / target as f64);
        let crop = fraction.map(|Number(fraction)| fraction).or(of_sizes);
        self.check(edge.is_some(), || "shortest_image_edge: null, and no image_target_size to take it from".into());
        self.check(crop.is_some(), || {
            "crop_fraction: null, and no image_crop_size and image_target_size to take it from".into()
        });
        let (edge, crop) = edge.zip(crop)?;
        self.check((1..=LARGEST_EDGE).contains(&edge), || {
            format!("shortest_image_edge: expected 1 to {LARGEST_EDGE} pixels, found {edge}")
        });
        self.check(crop > 0.0 && crop <= 1.0, || {
            format!("crop_fraction: expected above 0 and at most 1, found {crop}")
        });
        Some(Framing::ShortestEdge { edge, crop })
    }

    /// The transform of torchvision, which needs both sizes.
    fn stretched(&mut self, target: Option<[usize; 2]>, crop: Option<[usize; 2]>) -> Option<Framing> {
        for (key, found) in [("image_target_size", target), ("image_crop_size", crop)] {
            self.check(found.is_some(), || {
                format!(
                    "{key}: expected [height, width], found null or no such key; use_albumentations: false needs it"
                )
            });
        }
        let (target, crop) = target.zip(crop)?;
        let sides = 1..=LARGEST_EDGE;
        self.check(target.iter().all(|side| sides.contains(side)), || {
            format!("image_target_size: expected sides of 1 to {LARGEST_EDGE} pixels, found {target:?}")
        });
        self.check(crop.iter().zip(target).all(|(crop, target)| (1..=target).contains(crop)), || {
            format!("image_crop_size: expected sides of 1 to those of image_target_size {target:?}, found {crop:?}")
        });
        self.check(target[0].max(target[1]) <= LARGEST_RATIO * target[0].min(target[1]), || {
            format!("image_target_size: expected sides of a ratio of at most {LARGEST_RATIO}, found {target:?}")
        });
        let size = |[height, width]: [usize; 2]| Size { width, height };
        Some(Framing::Stretched { target: size(target), crop: size(crop) })
    }
}
