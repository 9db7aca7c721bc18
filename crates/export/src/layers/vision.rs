//! Vision towers: pixels in, rows for the language model out. What a family's tower computes is a [`Tower`]; how its images are
//! grouped and its layers are cut into stages is the same for all.

use std::ops::Range;

use super::rope::Rotation;
use super::{Net, fixed};
use crate::model::{Vision, VisionAttention};
use crate::onnx::Value;
use crate::{Error, Model};

pub(crate) mod qwen3_vl;
pub(crate) mod siglip2;

/// One layer, by its number, on patches; attention is within each of so many groups of them.
type Layer = fn(&mut Net<'_>, &Vision, &Value, usize, usize, Option<&Rotation>) -> Result<Value, Error>;
/// Patches to `[rows, language width]`.
type Project = fn(&mut Net<'_>, &Model, &ViewGroup, &Value) -> Result<Value, Error>;
/// Patches to patches in another order.
type Order = fn(&mut Net<'_>, (&Vision, &ViewGroup), &Value) -> Result<Value, Error>;

/// What a vision tower computes. Patches are rows, `[patches, width]`, those of an image row by row, one image after the other.
pub struct Tower {
    /// `[images, 3, height, width]` in -1..1 to patches with their positions.
    pub(crate) embed: fn(&mut Net<'_>, &Vision, &ViewGroup, &Value) -> Result<Value, Error>,
    /// The rotation of the patches of an image, for a tower with rotary positions.
    pub(crate) rotation: fn(&mut Net<'_>, &Vision, &ViewGroup) -> Result<Option<Rotation>, Error>,
    /// Its layers.
    pub(crate) layer: Layer,
    /// What follows the last layer.
    pub(crate) finish: fn(&mut Net<'_>, &Vision, &Value) -> Result<Value, Error>,
    /// What makes the rows of the language model, and the name of that part of the network.
    pub(crate) project: (&'static str, Project),
    /// As `project`, for the output of the layer with this number in [`Vision::deepstack`].
    pub(crate) tap: fn(&mut Net<'_>, &Model, &ViewGroup, usize, &Value) -> Result<Value, Error>,
    /// Names for comparison.
    pub(crate) debug: DebugNames,
    /// Patches in the order that the vendor's code has them in.
    pub(crate) vendor_order: Order,
}

/// Names of inner tensors for comparison.
pub(crate) struct DebugNames {
    /// Embedded patches.
    pub(crate) embedded: &'static str,
    /// Output of a layer, whose number follows.
    pub(crate) layer: &'static str,
    /// What follows the last.
    pub(crate) last: &'static str,
    /// Rows of the language model, where they have a name of their own.
    pub(crate) rows: Option<&'static str>,
}

/// Views of one size, stacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewGroup {
    /// Name of the input.
    pub input: String,
    /// Number of images: one a view, or several with frames of several times.
    pub views: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ViewGroup {
    /// Patches along height and width.
    pub(crate) fn grid(&self, vision: &Vision) -> (usize, usize) {
        (self.height / vision.patch, self.width / vision.patch)
    }

    /// Patches of all these views.
    pub fn patches(&self, vision: &Vision) -> usize {
        let (high, wide) = self.grid(vision);
        self.views * high * wide
    }

    /// Number of rows of these views for the language model.
    pub fn rows(&self, vision: &Vision) -> usize {
        let (high, wide) = self.grid(vision);
        self.views * (high / 2) * (wide / 2)
    }

    /// Rows for the language model along height and width, of each image.
    pub(crate) fn cells(&self, vision: &Vision) -> impl Iterator<Item = (usize, usize)> {
        let (high, wide) = self.grid(vision);
        std::iter::repeat_n((high / 2, wide / 2), self.views)
    }
}

/// Encoder layers `layers` of the vision stage. From the first on: one input a group, `[views, 3, height, width]` in
/// -1..1, else what the stage before gives. To the last: `image_rows` `[rows, language width]` of all views in order,
/// else `vision.<next layer>.<input>` `[patches, width]` of each group. `deepstack_<k>`, as `image_rows`, with the layer that it is
/// taken from.
pub fn vision(
    net: &mut Net<'_>,
    model: &Model,
    groups: &[ViewGroup],
    layers: Range<usize>,
) -> Result<Vec<(String, Value)>, Error> {
    let end = layers.end;
    let tower = model.family.weights.tower;
    let Encoded { last, taps } = encode_groups(net, model, groups, layers)?;
    let mut outputs = taps;
    if end < model.vision.layers {
        outputs.extend(groups.iter().map(|group| between(end, group)).zip(last));
        return Ok(outputs);
    }
    debug(net, &model.vision, groups, tower, tower.debug.last, &last)?;
    let (part, project) = tower.project;
    let rows = groups.iter().zip(&last);
    let rows = rows.map(|(group, x)| net.part(format!("{part}.{}", group.input), |net| project(net, model, group, x)));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let rows = join(net, &rows)?;
    if let Some(name) = tower.debug.rows {
        net.tap(name, &rows)?;
    }
    outputs.push(("image_rows".to_owned(), rows));
    Ok(outputs)
}

/// Name of the tensor passed between stages before encoder layer `layer`.
pub fn between(layer: usize, group: &ViewGroup) -> String {
    format!("vision.{layer}.{}", group.input)
}

/// Name of what is taken from the layer with the number `tap` in [`Vision::deepstack`].
pub fn deepstack(tap: usize) -> String {
    format!("deepstack_{tap}")
}

/// Output of some layers.
struct Encoded {
    /// Patches of each group after the last of them.
    last: Vec<Value>,
    /// Rows that the language model takes from layers among them, by name.
    taps: Vec<(String, Value)>,
}

/// Patch embedding and encoder layers `layers`, with what follows the last: `[patches, width]` of each group.
/// Inputs as in [`vision`].
pub fn tower(
    net: &mut Net<'_>,
    model: &Model,
    groups: &[ViewGroup],
    layers: Range<usize>,
) -> Result<Vec<Value>, Error> {
    encode_groups(net, model, groups, layers).map(|encoded| encoded.last)
}

fn encode_groups(
    net: &mut Net<'_>,
    model: &Model,
    groups: &[ViewGroup],
    layers: Range<usize>,
) -> Result<Encoded, Error> {
    let (vision, tower) = (&model.vision, model.family.weights.tower);
    let mut last = enter(net, model, groups, layers.start)?;
    // The output of every layer, by group.
    let mut inner: Vec<Vec<Value>> = Vec::new();
    if net.options.attention == VisionAttention::CrossView {
        let patches: Vec<usize> = groups.iter().map(|group| group.patches(vision)).collect();
        let all = join(net, &last)?;
        let (encoded, each) = encode(net, model, &all, (1, None), &layers)?;
        last = if groups.len() == 1 { vec![encoded] } else { net.graph.split(&encoded, 0, &patches)? };
        inner.push(each);
    } else {
        for (group, x) in groups.iter().zip(&mut last) {
            let (encoded, each) = net.part(group.input.clone(), |net| {
                let rotation = (tower.rotation)(net, vision, group)?;
                encode(net, model, x, (group.views, rotation.as_ref()), &layers)
            })?;
            *x = encoded;
            inner.push(each);
        }
    }
    let mut taps = Vec::new();
    for (at, layer) in layers.clone().enumerate() {
        let views: Vec<Value> = inner.iter().filter_map(|each| each.get(at).cloned()).collect();
        debug(net, vision, groups, tower, &format!("{}{layer}", tower.debug.layer), &views)?;
        // Of a language model with fewer layers than there are taps, the rest is read by none.
        let tap = vision.deepstack.iter().position(|tapped| *tapped == layer);
        if let Some(tap) = tap.filter(|tap| *tap < model.language.layers) {
            let name = deepstack(tap);
            let rows = groups.iter().zip(&views);
            let rows = rows.map(|(group, x)| {
                net.part(format!("{name}.{}", group.input), |net| (tower.tap)(net, model, group, tap, x))
            });
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            taps.push((name, join(net, &rows)?));
        }
    }
    Ok(Encoded { last, taps })
}

/// Patches of each group before layer `start`.
fn enter(net: &mut Net<'_>, model: &Model, groups: &[ViewGroup], start: usize) -> Result<Vec<Value>, Error> {
    let (vision, tower) = (&model.vision, model.family.weights.tower);
    let mut embedded = Vec::new();
    for group in groups {
        if start > 0 {
            let dims = fixed([group.patches(vision), vision.width]);
            embedded.push(net.float_input(&between(start, group), &dims)?);
            continue;
        }
        let pixels = net.float_input(&group.input, &fixed([group.views, 3, group.height, group.width]))?;
        let embed = |net: &mut Net<'_>| (tower.embed)(net, vision, group, &pixels);
        embedded.push(net.part(format!("embeddings.{}", group.input), embed)?);
    }
    if start == 0 {
        debug(net, vision, groups, tower, tower.debug.embedded, &embedded)?;
    }
    Ok(embedded)
}

/// [`Net::tap`] of the patches of all views, joined and in the vendor's order; nothing is joined when no inner tensor is asked for.
fn debug(
    net: &mut Net<'_>,
    vision: &Vision,
    groups: &[ViewGroup],
    tower: &Tower,
    name: &str,
    views: &[Value],
) -> Result<(), Error> {
    if !net.options.debug_outputs {
        return Ok(());
    }
    // With attention to all views there is one value for them all.
    let ordered = match views.len() == groups.len() {
        true => {
            let pairs = groups.iter().zip(views);
            pairs.map(|(group, x)| (tower.vendor_order)(net, (vision, group), x)).collect::<Result<Vec<_>, _>>()?
        }
        false => views.to_vec(),
    };
    let all = join(net, &ordered)?;
    net.tap(name, &all)
}

fn join(net: &mut Net<'_>, values: &[Value]) -> Result<Value, Error> {
    match values {
        [one] => Ok(one.clone()),
        many => net.graph.concat(&many.iter().collect::<Vec<_>>(), 0),
    }
}

/// Encoder layers on `[groups * patches, width]`, in so many groups and with their rotation, and what follows the last. Returns the
/// result and each layer's output.
fn encode(
    net: &mut Net<'_>,
    model: &Model,
    x: &Value,
    (groups, rotation): (usize, Option<&Rotation>),
    layers: &Range<usize>,
) -> Result<(Value, Vec<Value>), Error> {
    let (vision, tower) = (&model.vision, model.family.weights.tower);
    let (mut x, mut each) = (x.clone(), Vec::new());
    for index in layers.clone() {
        x = net.part(format!("layers.{index}"), |net| (tower.layer)(net, vision, &x, index, groups, rotation))?;
        each.push(x.clone());
    }
    if layers.end == vision.layers {
        x = (tower.finish)(net, vision, &x)?;
    }
    Ok((x, each))
}
