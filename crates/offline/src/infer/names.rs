//! Names of what an inference makes, as a checker expects them: the stages' own, and beside them those of the vendor's
//! code where a tensor is the same.

use std::collections::BTreeSet;

use vla_base::tensor::{Data, HostTensor};
use vla_policy::Family;
use vla_policy::trace::names::{DECODED, PIXEL_VALUES};

/// Destination of a named tensor.
type Give<'g> = &'g mut dyn FnMut(&str, &HostTensor);

/// Names the tensors of one inference, in the order in which they are made.
pub(super) struct Naming {
    /// Name of the tensor with the actions after a step.
    output: String,
    /// The vendor's name of `image_rows`.
    image_rows: &'static str,
    steps: u32,
    /// Actions before the current step.
    actions: Option<HostTensor>,
    /// Velocities from the difference of actions, for networks that do not show theirs.
    velocities: Vec<(String, HostTensor)>,
    /// Height and width of every view.
    image_sizes: Vec<i64>,
    /// Side of a patch, for `image_grid_thw`.
    grid_patch: Option<usize>,
    given: BTreeSet<String>,
}

impl Naming {
    pub(super) fn new(output: &str, family: &Family, steps: u32) -> Self {
        Self {
            output: output.to_owned(),
            image_rows: family.image_rows,
            steps,
            actions: None,
            velocities: Vec::new(),
            image_sizes: Vec::new(),
            grid_patch: family.grid_patch,
            given: BTreeSet::new(),
        }
    }

    /// Gives `tensor` on under its names.
    pub(super) fn name(&mut self, name: &str, repetition: Option<usize>, tensor: &HostTensor, give: Give<'_>) {
        let prefix = repetition.map(|index| format!("step{index}.")).unwrap_or_default();
        let tensor = &as_rows(name, tensor.to_single().into_owned());
        match (name, repetition) {
            ("input_ids" | "attention_mask" | "position_ids" | "embodiment_id" | "timestep", _) => {
                return self.give(format!("{prefix}{name}"), &wide(tensor), give);
            }
            ("image_mask" | "backbone_attention_mask", _) => return self.give(name.into(), &bytes(tensor), give),
            ("image_rows", _) => self.give(self.image_rows.into(), tensor, give),
            ("actions", None) => self.actions = Some(tensor.clone()),
            ("output", Some(_)) => self.give(format!("{prefix}dit_out"), tensor, give),
            (view, _) if view.starts_with(PIXEL_VALUES) => {
                self.image_sizes.extend(tensor.dims().iter().skip(1).map(|n| *n as i64));
            }
            _ => {}
        }
        if repetition.is_some() && name == self.output {
            self.step(&prefix, tensor, give);
        }
        self.give(format!("{prefix}{name}"), tensor, give);
    }

    /// Passes on tensors that no network has as an output.
    pub(super) fn finish(mut self, give: Give<'_>) {
        let sizes = std::mem::take(&mut self.image_sizes);
        if let Some(grid) = self.grid_patch.and_then(|patch| grid_thw(&sizes, patch)) {
            self.give("image_grid_thw".into(), &grid, give);
        }
        if let Some(sizes) = HostTensor::from_i64(&[sizes.len() / 2, 2], sizes) {
            self.give("image_sizes".into(), &sizes, give);
        }
        for (name, tensor) in std::mem::take(&mut self.velocities) {
            self.give(name, &tensor, give);
        }
    }

    /// The first tensor of a name.
    fn give(&mut self, name: String, tensor: &HostTensor, give: Give<'_>) {
        if !self.given.contains(&name) {
            give(&name, tensor);
            self.given.insert(name);
        }
    }

    fn step(&mut self, prefix: &str, after: &HostTensor, give: Give<'_>) {
        let Some(before) = self.actions.replace(after.clone()) else { return };
        self.give(format!("{prefix}actions_in"), &before, give);
        self.give(format!("{prefix}actions_out"), after, give);
        if let (Some(from), Some(to)) = (before.as_f32(), after.as_f32()) {
            // Euler: after = before + velocity / steps, strength being 1.
            let velocity = from.iter().zip(to).map(|(from, to)| (to - from) * self.steps as f32).collect();
            if let Some(velocity) = HostTensor::from_f32(after.dims(), velocity) {
                self.velocities.push((format!("{prefix}velocity"), velocity));
            }
        }
    }
}

/// Times, rows and columns of each image in patches, `[images, 3]`. An image has one time: both halves of a patch are the
/// same frame.
fn grid_thw(sizes: &[i64], patch: usize) -> Option<HostTensor> {
    let patch = i64::try_from(patch).ok().filter(|patch| *patch > 0)?;
    let grids = sizes.as_chunks::<2>().0.iter().flat_map(|[height, width]| [1, height / patch, width / patch]);
    HostTensor::from_i64(&[sizes.len() / 2, 3], grids.collect())
}

/// As the vendor's processor has them: i64.
fn wide(tensor: &HostTensor) -> HostTensor {
    let values = match tensor.data() {
        Data::I64(values) => values.clone(),
        _ => tensor.as_i32().unwrap_or_default().iter().map(|id| i64::from(*id)).collect(),
    };
    HostTensor::from_i64(tensor.dims(), values).unwrap_or_default()
}

/// A mask as u8.
fn bytes(tensor: &HostTensor) -> HostTensor {
    let values = tensor.as_i32().unwrap_or_default().iter().map(|value| u8::from(*value != 0)).collect();
    HostTensor::from_u8(tensor.dims(), values).unwrap_or_default()
}

/// `[1, rows, width]` without its batch axis, and the patches of all views as rows. Decoded actions have none: three axes
/// are rows of matrices.
fn as_rows(name: &str, tensor: HostTensor) -> HostTensor {
    match *tensor.dims() {
        _ if name.starts_with(DECODED) => tensor,
        [views, rows, width] if views == 1 || name == "vit_out" => {
            tensor.reshaped(&[views * rows, width]).unwrap_or_default()
        }
        _ => tensor,
    }
}
