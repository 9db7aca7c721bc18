//! Checks of a request's options against the checkpoint, and the views of its cameras.

use super::{PROCESSOR, Request};
use crate::{Model, View};
use vla_base::time::Span;
use vla_policy::encode::image::EvalTransform;
use vla_policy::encode::resize::Size;
use vla_policy::processor::Processor;
use vla_policy::spec::STEP_S;

/// Longest control period of a data set, in s: the slowest ones that policies are trained on have about 1 Hz.
const LONGEST_PERIOD_S: f64 = 1.0;
/// Positions that the language model was trained for; each has a row in the networks.
const MOST_TEXT_TOKENS: usize = 1 << 15;
/// Maximum number of denoising steps: each has its own rows of constants.
pub(super) const MOST_STEPS: u32 = 100;

/// The processor belongs to the network's release.
pub(super) fn check_family(model: &Model, processor: &Processor, problems: &mut Vec<String>) {
    let (network, files) = (model.family.policy, processor.family);
    if network.processor_class != files.processor_class {
        problems.push(format!(
            "{PROCESSOR}: processor_class: expected {} (config.json is of {}), found {} ({}); the files of one checkpoint belong together",
            network.processor_class, network.title, files.processor_class, files.title
        ));
        return;
    }
    // A row of the language model is two patches high and wide, and the processor's count of rows goes by its multiple.
    let (patch, multiple) = (model.vision.patch, processor.image.smart_resize.multiple);
    if 2 * patch != multiple {
        problems.push(format!(
            "--backbone-config: vision_config.patch_size: expected {}, because {}'s processor makes the sides of images multiples of \
             {multiple}, found {patch}; name the config.json of its backbone ({})",
            multiple / 2,
            network.title,
            model.family.backbone.title
        ));
    }
}

/// Sizes of the processor and the network.
pub(super) fn check_sizes(model: &Model, processor: &Processor, problems: &mut Vec<String>) {
    let head = &model.head;
    let mut equal = |key: &str, config: usize, found: usize| {
        if config != found {
            problems.push(format!("{PROCESSOR}: {key}: expected {config} as in config.json, found {found}"));
        }
    };
    equal("max_state_dim", head.state_dims, processor.max_state_dim);
    equal("max_action_dim", head.action_dims, processor.max_action_dim);
    if processor.rows() > head.horizon {
        problems.push(format!(
            "{PROCESSOR}: action.delta_indices: expected at most {} (config.json's action_horizon), found {}",
            head.horizon,
            processor.rows()
        ));
    }
    if processor.state_deltas != [0] {
        problems.push(format!(
            "{PROCESSOR}: state.delta_indices: expected [0], found {:?}; a history of states is not computed here",
            processor.state_deltas
        ));
    }
}

/// The options by themselves.
pub(super) fn check(request: &Request, problems: &mut Vec<String>) {
    problems.extend(step_problem(request.step_s));
    let mut counts = request.steps.clone();
    counts.sort_unstable();
    counts.dedup();
    let valid = counts.len() == request.steps.len() && counts.iter().all(|count| (1..=MOST_STEPS).contains(count));
    if counts.is_empty() || !valid {
        problems.push(format!("--steps: expected different counts from 1 to {MOST_STEPS}, found {:?}", request.steps));
    }
    if request.max_text > MOST_TEXT_TOKENS {
        problems.push(format!("--max-text-tokens: expected at most {MOST_TEXT_TOKENS}, found {}", request.max_text));
    }
    if request.blocks_per_engine == Some(0) {
        problems.push("--blocks-per-engine: expected at least 1, found 0".to_owned());
    }
}

/// Why `--step-s` is no control period; a number of milliseconds is the usual reason.
fn step_problem(step_s: f64) -> Option<String> {
    let periods = *STEP_S.start()..=LONGEST_PERIOD_S;
    if periods.contains(&step_s) {
        return None;
    }
    let seconds = Span::from_millis(step_s).seconds();
    let hint = if step_s > LONGEST_PERIOD_S && periods.contains(&seconds) {
        format!("; for {step_s} ms give --step-s {seconds}")
    } else {
        String::new()
    };
    let (least, most) = periods.into_inner();
    Some(format!("--step-s: expected seconds between action rows, {least} to {most}, found {step_s}{hint}"))
}

/// The policy's cameras at the sizes that the vendor's transform makes of their frames.
pub(super) fn views(request: &Request, processor: &Processor, problems: &mut Vec<String>) -> Vec<View> {
    let expected = || processor.cameras.join(", ");
    for (index, camera) in request.cameras.iter().enumerate() {
        if !processor.cameras.contains(&camera.name) {
            problems.push(format!(
                "--camera {}: expected the policy's cameras ({}), found another",
                camera.name,
                expected()
            ));
        }
        if request.cameras[..index].iter().any(|earlier| earlier.name == camera.name) {
            problems.push(format!("--camera {}: expected once, found twice", camera.name));
        }
    }
    let transform = EvalTransform::new(&processor.image);
    let images = processor.video_deltas.len();
    let mut views = Vec::new();
    for name in &processor.cameras {
        let Some(camera) = request.cameras.iter().find(|camera| camera.name == *name) else {
            problems.push(format!("--camera {name}=WIDTHxHEIGHT is missing; the policy's cameras are {}", expected()));
            continue;
        };
        match transform.output_size(camera.width, camera.height) {
            Ok(Size { width, height }) => views.push(View { camera: name.clone(), width, height, images }),
            Err(error) => problems.push(format!("--camera {name}: {error}")),
        }
    }
    problems.extend(check_shapes(request, (&transform, processor.image.smart_resize.multiple), &views));
    views
}

/// The vendor's processor stacks the views of an observation before the last step of the transform and stops at views of different shape:
/// no policy was trained with such, which is warned about. With frames of several times the order of the images is open then, which is a
/// problem where the final size is one, because all go into one tensor by time, then view.
fn check_shapes(request: &Request, (transform, multiple): (&EvalTransform, usize), views: &[View]) -> Option<String> {
    let before = request.cameras.iter().filter_map(|camera| {
        let size = transform.size_before_multiples(camera.width, camera.height).ok()?;
        Some((format!("{} {}x{}", camera.name, size.width, size.height), size))
    });
    let before: Vec<(String, Size)> = before.collect();
    let equal = |sizes: &[(usize, usize)]| sizes.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    let last: Vec<_> = views.iter().map(|view| (view.width, view.height)).collect();
    let inner: Vec<_> = before.iter().map(|(_, size)| (size.width, size.height)).collect();
    if equal(&inner) {
        return None;
    }
    let found: Vec<&str> = before.iter().map(|(text, _)| text.as_str()).collect();
    let found =
        format!("found frames that become {} before the sides are made multiples of {multiple}", found.join(", "));
    if views.iter().any(|view| view.images > 1) && equal(&last) {
        return Some(format!(
            "--camera: with frames of several times (video.delta_indices) expected cameras of one shape, {found}; set the cameras to one size"
        ));
    }
    tracing::warn!(
        "--camera: {found}. NVIDIA's code refuses views of different shape, so a policy that it trained has not seen them: set the cameras \
         to one size, or export with --letterbox always if the policy was trained so"
    );
    None
}

/// Blank views are some of the policy's cameras, and not all of them.
pub(super) fn check_blank_views(request: &Request, processor: &Processor, problems: &mut Vec<String>) {
    let blank = &request.blank_views;
    for (index, name) in blank.iter().enumerate() {
        if !processor.cameras.contains(name) {
            let cameras = processor.cameras.join(", ");
            problems
                .push(format!("--blank-view {name}: expected one of the policy's cameras ({cameras}), found another"));
        }
        if blank.iter().take(index).any(|earlier| earlier == name) {
            problems.push(format!("--blank-view {name}: expected once, found twice"));
        }
    }
    if processor.cameras.iter().all(|camera| blank.contains(camera)) {
        problems.push("--blank-view: expected at least one camera that is not blank, found none".to_owned());
    }
}
