//! What a layout can and cannot do, before anything is written.

use super::Request;
use crate::backbone_dit::HEAD;
use crate::layout::sizes;
use crate::{Model, RopeFrequencies, View, VisionAttention};

/// What the layout cannot do.
pub(super) fn check(request: &Request, model: &Model, views: &[View], problems: &mut Vec<String>) {
    let (layout, family) = (&request.layout, model.family);
    if !family.layouts.contains(&layout.name) {
        // `head` is a part of one of them.
        let layouts: Vec<&str> = family.layouts.iter().copied().filter(|name| *name != HEAD.name).collect();
        let (layouts, title) = (layouts.join(" or "), family.title());
        problems.push(format!("--layout: expected {layouts} for {title}, found {}", layout.name));
    }
    let fused = model.head.fusion.is_some();
    let stages: Vec<&str> = layout.stages.iter().copied().filter(|stage| fused || *stage != "fusion").collect();
    for stage in request.dtype_of.keys().filter(|stage| !stages.contains(&stage.as_str())) {
        problems.push(format!(
            "--dtype-of: expected one of {} (the stages of --layout {}), found {stage}",
            stages.join(", "),
            layout.name
        ));
    }
    if layout.stacked && views.windows(2).any(|pair| (pair[0].width, pair[0].height) != (pair[1].width, pair[1].height))
    {
        problems.push(format!(
            "--camera: expected cameras of one final size, because --layout {} has one tensor for all views, found {}; \
             give the cameras frames of one shape, or use --layout split",
            layout.name,
            sizes(views)
        ));
    }
    if !layout.cuts && request.blocks_per_engine.is_some() {
        problems.push(format!(
            "--blocks-per-engine: expected with --layout split, found --layout {}, whose stages are not cut",
            layout.name
        ));
    }
    if !family.cross_view && request.attention != VisionAttention::default() {
        problems.push(format!(
            "--vision-attention: found `cross-view` with {}, whose patches attend to their own image in every fork; leave it out",
            family.title()
        ));
    }
    let others =
        "belongs to vision tower and language model, which this layout takes from files of your own; leave it out";
    if !layout.backbone && request.rope != RopeFrequencies::default() {
        problems.push(format!("--rope-inv-freq: found `exact` with --layout {}: it {others}", layout.name));
    }
    if !layout.backbone && request.attention != VisionAttention::default() {
        problems.push(format!("--vision-attention: found `cross-view` with --layout {}: it {others}", layout.name));
    }
}
