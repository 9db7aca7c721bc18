//! Buffers of an instance, and the order of its runs.

use super::BufferSpec;
use crate::Error;
use crate::frames::{FrameBuffers, FrameSlots};
use crate::graph::{Graph, Symbols, TensorOrigin, resolve};
use vla_base::tensor::DType;

/// Dimensions and buffers of the tensors of an instance.
pub(super) struct Layout {
    /// For each tensor: its dimensions.
    pub dims: Vec<Vec<usize>>,
    /// For each tensor: its buffer in the workspace, or one for each iteration for constants.
    pub buffers: Vec<Vec<usize>>,
    /// Inputs that may be given as frames: the tensor, and its buffers.
    pub frames: Vec<(usize, FrameBuffers)>,
}

impl Layout {
    /// `frames`: host tensors that may be given as frames.
    pub(crate) fn new(
        graph: &Graph,
        symbols: &Symbols,
        iterations: u32,
        frames: &[usize],
    ) -> Result<(Self, Vec<BufferSpec>), Error> {
        let mut layout = Self { dims: Vec::new(), buffers: Vec::new(), frames: Vec::new() };
        let mut specs = Vec::new();
        for tensor in &graph.tensors {
            let dims = resolve(&tensor.spec, symbols)?;
            let count = if matches!(tensor.origin, TensorOrigin::Constants(_)) { iterations as usize } else { 1 };
            let upload = tensor.origin == TensorOrigin::Host;
            let spec = BufferSpec { dtype: tensor.spec.dtype, dims: dims.clone(), upload, download: false };
            layout.buffers.push((specs.len()..specs.len() + count).collect());
            specs.extend(std::iter::repeat_n(spec, count));
            layout.dims.push(dims);
        }
        if let Some(result) = graph.result() {
            let buffer = layout.buffer(graph, result, (iterations as usize).saturating_sub(1));
            specs[buffer].download = true;
        }
        for &tensor in frames {
            let [images, 3, height, width] = layout.dims[tensor][..] else { continue };
            let (pixels, size) = (layout.buffers[tensor][0], [width, height]);
            specs[pixels].upload = false;
            let slots = FrameSlots::words(images, size);
            layout
                .frames
                .push((tensor, FrameBuffers { images, size, slots: specs.len(), between: specs.len() + 1, pixels }));
            let (upload, download) = (true, false);
            specs.push(BufferSpec { dtype: DType::F32, dims: vec![slots], upload, download });
            let between = FrameSlots::words_between(images, size);
            specs.push(BufferSpec { dtype: DType::F32, dims: vec![between], upload: false, download });
        }
        Ok((layout, specs))
    }

    /// Buffers of a tensor that may be given as frames.
    pub(crate) fn frames_of(&self, tensor: usize) -> Option<&FrameBuffers> {
        self.frames.iter().find(|(of, _)| *of == tensor).map(|(_, buffers)| buffers)
    }

    /// Buffer of a tensor in an iteration. Constants have one for each iteration. A loop-carried output and its target swap
    /// theirs at every iteration, so that the loop closes without a copy.
    pub(crate) fn buffer(&self, graph: &Graph, tensor: usize, iteration: usize) -> usize {
        if matches!(graph.tensors[tensor].origin, TensorOrigin::Constants(_)) {
            return self.buffers[tensor][iteration];
        }
        let source = || graph.tensors.iter().position(|other| other.carried_to == Some(tensor));
        match graph.tensors[tensor].carried_to.or_else(source) {
            Some(partner) if iteration % 2 == 1 => self.buffers[partner][0],
            _ => self.buffers[tensor][0],
        }
    }
}

/// Stages with their iterations, in run order.
pub(super) fn order(graph: &Graph, iterations: usize) -> Vec<(usize, usize)> {
    let stages = graph.stages.len();
    let group = graph.stages.iter().position(|stage| stage.repeat);
    let Some(first) = group else { return (0..stages).map(|stage| (stage, 0)).collect() };
    let after = graph.stages.iter().rposition(|stage| stage.repeat).map_or(first, |last| last + 1);
    let repeated = (0..iterations).flat_map(|iteration| (first..after).map(move |stage| (stage, iteration)));
    let last = iterations.saturating_sub(1);
    (0..first).map(|stage| (stage, 0)).chain(repeated).chain((after..stages).map(|stage| (stage, last))).collect()
}
