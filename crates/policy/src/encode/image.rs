//! The evaluation transform of camera frames, as the vendor's processor has it: padding to a square where the policy
//! letterboxes, shortest edge to a fixed length, centre crop, shortest edge again (all OpenCV `INTER_AREA`), sides to
//! the family's multiples (bicubic of its library), and `(u8 - 127.5) / 127.5` with channels first.

use std::cell::OnceCell;
use std::ops::Range;

use super::EncodeError;
use super::framing::FramingPlan;
use super::letterbox::{self, Padding};
use super::resize::{CHANNELS, FilterResize, FilterRows, Rows, Size, Window};
use crate::processor::{Framing, ImageTransformSpec};
use vla_base::sys::simd::Simd;
use vla_engines::frames::FrameTransform;
use vla_messages::Pixels;

/// Greatest ratio of the sides that the vendor's smart resize takes.
const MAX_RATIO: f64 = 200.0;
/// Sizes for which a plan is kept. A policy has a handful of cameras; a source that keeps changing its size is planned
/// anew each time and cannot grow memory.
const PLANS: usize = 8;

/// The planned transform. One serves all cameras: it keeps a plan for each frame size.
#[derive(Clone, Debug)]
pub struct EvalTransform {
    spec: ImageTransformSpec,
    simd: Simd,
    /// Most recently made last.
    plans: Vec<ResizePlan>,
}

#[derive(Clone, Debug)]
struct ResizePlan {
    input: Size,
    framing: FramingPlan,
    last: FilterResize,
    padding: Padding,
    /// The same for a device, once it was asked for.
    on_device: OnceCell<Option<FrameTransform>>,
}

impl EvalTransform {
    /// The transform that `spec` describes. Nothing is planned before the first frame.
    pub fn new(spec: &ImageTransformSpec) -> Self {
        Self { spec: *spec, simd: Simd::widest(), plans: Vec::new() }
    }

    /// The same with other instructions than the widest of this machine. The result is the same.
    pub fn with_simd(self, simd: Simd) -> Self {
        Self { simd, plans: Vec::new(), ..self }
    }

    /// Size of the result for a frame of `width` by `height`.
    ///
    /// # Errors
    /// [`EncodeError::Frame`] for an empty frame and for one that is too elongated.
    pub fn output_size(&self, width: usize, height: usize) -> Result<Size, EncodeError> {
        Ok(sizes(&self.spec, Size { width, height })?.output)
    }

    /// Size before the last step, which makes the sides multiples.
    ///
    /// # Errors
    /// As [`Self::output_size`].
    pub fn size_before_multiples(&self, width: usize, height: usize) -> Result<Size, EncodeError> {
        Ok(sizes(&self.spec, Size { width, height })?.grown)
    }

    /// Plans frames of `width` by `height` ahead, so that the first of them is as fast as the others.
    ///
    /// # Errors
    /// As [`Self::output_size`].
    pub fn prepare(&mut self, width: usize, height: usize) -> Result<Size, EncodeError> {
        let index = self.planned(Size { width, height })?;
        Ok(self.plans[index].last.size())
    }

    /// The model's view of `frame`: `[3, H, W]` in [-1, 1] into `out`; returns its width and height.
    ///
    /// # Errors
    /// [`EncodeError::Frame`] as [`Self::output_size`], [`EncodeError::Length`] when `out` is not `3 * H * W` long.
    pub fn apply(&mut self, frame: &Pixels<'_>, out: &mut [f32]) -> Result<Size, EncodeError> {
        let index = self.planned(size_of(frame))?;
        let size = self.plans[index].last.size();
        let plane = size.width * size.height;
        check_length("pixels", CHANNELS * plane, out.len())?;
        let (red, rest) = out.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        self.apply_rows(frame, 0..size.height, [red, green, blue])?;
        Ok(size)
    }

    /// As [`Self::apply`] for some rows of the view alone, `planes` being those rows of red, of green and of blue.
    ///
    /// # Errors
    /// As [`Self::apply`]; rows that are not of the view are a wrong length too.
    pub fn apply_rows(
        &mut self,
        frame: &Pixels<'_>,
        rows: Range<usize>,
        planes: [&mut [f32]; CHANNELS],
    ) -> Result<(), EncodeError> {
        let index = self.planned(size_of(frame))?;
        let plan = &mut self.plans[index];
        let size = plan.last.size();
        check_length("rows", rows.len(), rows.end.min(size.height).saturating_sub(rows.start))?;
        planes.iter().try_for_each(|plane| check_length("a plane", rows.len() * size.width, plane.len()))?;
        let [red, green, blue] = planes.map(|plane| plane.chunks_exact_mut(size.width));
        let mut source = plan.over(frame);
        for (y, ((red, green), blue)) in rows.zip(red.zip(green).zip(blue)) {
            source.planes(y, [red, green, blue], normalised);
        }
        Ok(())
    }

    /// As [`Self::apply`], before the normalisation: 8-bit `[H, W, 3]`.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_u8(&mut self, frame: &Pixels<'_>, out: &mut [u8]) -> Result<Size, EncodeError> {
        let index = self.planned(size_of(frame))?;
        let plan = &mut self.plans[index];
        let size = plan.last.size();
        check_length("pixels", CHANNELS * size.width * size.height, out.len())?;
        let mut rows = plan.over(frame);
        for (y, out) in out.chunks_exact_mut(CHANNELS * size.width).enumerate() {
            out.copy_from_slice(rows.row(y));
        }
        Ok(size)
    }

    /// The transform of frames of `width` by `height` as a device carries it out, to the same bits; `None` where none can.
    ///
    /// # Errors
    /// As [`Self::output_size`].
    pub fn on_device(&mut self, width: usize, height: usize) -> Result<Option<&FrameTransform>, EncodeError> {
        let index = self.planned(Size { width, height })?;
        let plan = &self.plans[index];
        Ok(plan.on_device.get_or_init(|| plan.describe(&self.spec)).as_ref())
    }

    /// Index of the plan for frames of `input`.
    fn planned(&mut self, input: Size) -> Result<usize, EncodeError> {
        if let Some(index) = self.plans.iter().position(|plan| plan.input == input) {
            return Ok(index);
        }
        let plan = ResizePlan::new(&self.spec, input, self.simd)?;
        if self.plans.len() == PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }
}

impl ResizePlan {
    fn new(spec: &ImageTransformSpec, input: Size, simd: Simd) -> Result<Self, EncodeError> {
        let sizes = sizes(spec, input)?;
        let framing = FramingPlan::new(&spec.framing, sizes.picture, sizes.resized, sizes.crop, sizes.grown, simd);
        let last = FilterResize::plan(sizes.grown, sizes.output, spec.smart_resize.filter);
        let planned = framing.zip(last);
        let (framing, last) = planned.ok_or_else(|| frame_error(input, "no recipe to resample it".into()))?;
        let last = last.with_simd(simd);
        let (padding, on_device) = (Padding::plan(input, sizes.picture), OnceCell::new());
        Ok(Self { input, framing, last, padding, on_device })
    }

    /// As a device takes it.
    fn describe(&self, spec: &ImageTransformSpec) -> Option<FrameTransform> {
        let Sizes { picture, resized, crop, grown, output } = sizes(spec, self.input).ok()?;
        let [mut first, second] = FramingPlan::describe(&spec.framing, picture, resized, crop, grown)?;
        let last = FilterResize::describe(grown, output, spec.smart_resize.filter)?;
        first.input = [self.input.width, self.input.height];
        first.offset = self.padding.offset().map(|rim| i32::try_from(rim).unwrap_or_default());
        FrameTransform::new(&[first, second, last])
    }

    fn over<'p>(&'p mut self, frame: &'p Pixels<'_>) -> FilterRows<'p, impl Rows> {
        self.last.over(self.framing.over(self.padding.over(frame)))
    }
}

/// `(value - 127.5) / 127.5` for a value from 0 to 255, to the last bit, without the division: 2/255 is
/// 2 * (2^-8 + 2^-16 + 2^-24 + ...), its first two terms have exact products here, and the rest has some bits to spare.
#[inline(always)]
const fn normalised(value: i32) -> f32 {
    const FIRST: f32 = 257.0 / 32_768.0;
    const REST: f32 = 65_793.0 / 65_536.0 / 8_388_608.0;
    let centred = value as f32 - 127.5;
    centred * FIRST + centred * REST
}

const _: () = {
    let mut value = 0;
    while value <= 255 {
        assert!(normalised(value) == (value as f32 - 127.5) / 127.5);
        value += 1;
    }
};

/// Sizes along the transform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sizes {
    /// The frame, or the square that it is padded to.
    picture: Size,
    resized: Size,
    crop: Window,
    grown: Size,
    output: Size,
}

fn sizes(spec: &ImageTransformSpec, input: Size) -> Result<Sizes, EncodeError> {
    if input.width == 0 || input.height == 0 {
        return Err(frame_error(input, "expected at least one pixel".into()));
    }
    let picture = if spec.letterbox { letterbox::square(input) } else { input };
    let (resized, crop, grown) = match spec.framing {
        Framing::ShortestEdge { edge, crop } => {
            let resized = shortest_edge(picture, edge);
            let crop = centre_crop(resized, crop);
            (resized, crop, shortest_edge(crop.size, edge))
        }
        Framing::Stretched { target, crop } => (target, torchvision_centre_crop(target, crop), target),
    };
    // The padding of a very thin frame would be most of the work.
    let judged = if spec.letterbox { input } else { grown };
    let ratio = judged.width.max(judged.height) as f64 / judged.width.min(judged.height).max(1) as f64;
    if ratio > MAX_RATIO {
        return Err(frame_error(input, format!("expected sides of a ratio of at most {MAX_RATIO}, found {ratio:.1}")));
    }
    Ok(Sizes { picture, resized, crop, grown, output: spec.smart_resize.size(grown) })
}

/// `albumentations.SmallestMaxSize`: the shorter side becomes `edge`, the other keeps the ratio, halves to even.
fn shortest_edge(size: Size, edge: usize) -> Size {
    let scale = edge as f64 / size.width.min(size.height) as f64;
    let scaled = |side: usize| ((side as f64 * scale).round_ties_even() as usize).max(1);
    if scale == 1.0 { size } else { Size { width: scaled(size.width), height: scaled(size.height) } }
}

fn centre_crop(size: Size, fraction: f64) -> Window {
    let kept = |side: usize| ((side as f64 * fraction) as usize).clamp(1, side);
    let kept = Size { width: kept(size.width), height: kept(size.height) };
    Window { x: (size.width - kept.width) / 2, y: (size.height - kept.height) / 2, size: kept }
}

/// `torchvision.transforms.CenterCrop` of a size that is no larger: offsets are rounded, halves to even.
fn torchvision_centre_crop(size: Size, crop: Size) -> Window {
    let offset = |side: usize, kept: usize| (side.saturating_sub(kept) as f64 / 2.0).round_ties_even() as usize;
    Window { x: offset(size.width, crop.width), y: offset(size.height, crop.height), size: crop }
}

fn size_of(frame: &Pixels<'_>) -> Size {
    Size { width: frame.width, height: frame.height }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), EncodeError> {
    if expected == found { Ok(()) } else { Err(EncodeError::Length { what, expected, found }) }
}

fn frame_error(size: Size, reason: String) -> EncodeError {
    EncodeError::Frame { width: size.width, height: size.height, reason }
}
