//! Configuration of a build: precisions, limits, tactic sources, layers in single precision.

use std::collections::BTreeMap;
use std::ptr;

use super::{Session, skip_unsupported};
use crate::build::options::{BuildOptions, Constraints, fits};
use crate::result::{Error, text};
use crate::sys;

impl Session<'_> {
    fn flag(&mut self, flag: i32, on: bool) -> Result<(), Error> {
        // SAFETY: a live build.
        self.call(|api, build| unsafe { (api.build_flag)(build, flag, i32::from(on)) })
    }

    /// Refuses a precision that the GPU does not accelerate, if this version reports it.
    fn gpu_has(&mut self, flag: i32) -> Result<(), Error> {
        // SAFETY: a live build.
        if unsafe { (self.library.api().build_platform_has)(self.build.as_ptr(), flag) } != 0 {
            return Ok(());
        }
        let name = if flag == sys::FLAG_INT8 { "int8" } else { "fp16" };
        Err(Error::Unsupported(format!("this GPU has no fast {name}: build without it")))
    }

    fn preview(&mut self, feature: i32, on: bool) -> Result<(), Error> {
        // SAFETY: a live build.
        self.call(|api, build| unsafe { (api.build_preview)(build, feature, i32::from(on)) })
    }

    pub(in crate::build) fn configure(&mut self, options: &BuildOptions) -> Result<(), Error> {
        if options.strongly_typed && (options.fp16 || options.bf16 || options.int8) {
            return Err(Error::Argument(
                "a strongly typed network has its own types: switch fp16, bf16 and int8 off".to_owned(),
            ));
        }
        for (flag, on) in
            [(sys::FLAG_FP16, options.fp16), (sys::FLAG_BF16, options.bf16), (sys::FLAG_INT8, options.int8)]
        {
            if on {
                self.gpu_has(flag)?;
                self.flag(flag, true)?;
            }
        }
        self.flag(sys::FLAG_TF32, options.tf32)?;
        match options.constraints {
            Constraints::Prefer => self.flag(sys::FLAG_PREFER_PRECISION, true)?,
            Constraints::Obey => self.flag(sys::FLAG_OBEY_PRECISION, true)?,
            Constraints::Ignore if !options.fp32_layers.is_empty() => self.flag(sys::FLAG_OBEY_PRECISION, true)?,
            Constraints::Ignore => {}
        }
        if options.monitor_memory {
            skip_unsupported(self.flag(sys::FLAG_MONITOR_MEMORY, true))?;
        }
        self.preview(sys::PREVIEW_SHARE_PROFILES, options.share_profiles)?;
        self.preview(sys::PREVIEW_FASTER_DYNAMIC_SHAPES, options.faster_dynamic_shapes)?;
        // SAFETY, for the calls below: a live build and plain numbers.
        for (pool, bytes) in
            [(sys::POOL_WORKSPACE, options.workspace_bytes), (sys::POOL_TACTIC_DRAM, options.tactic_dram_bytes)]
        {
            if let Some(bytes) = bytes {
                // SAFETY: as above.
                self.call(|api, build| unsafe { (api.build_pool)(build, pool, bytes) })?;
            }
        }
        if let Some(level) = options.optimization_level {
            if level > 5 {
                return Err(Error::Argument(format!("optimisation level {level}: TensorRT has 0 to 5")));
            }
            // SAFETY: as above.
            self.call(|api, build| unsafe { (api.build_level)(build, i32::from(level)) })?;
        }
        if !options.compute_capabilities.is_empty() {
            let raw: Vec<i32> = options.compute_capabilities.iter().map(|sm| i32::from(sm.number())).collect();
            let count = i32::try_from(raw.len()).unwrap_or(i32::MAX);
            // SAFETY: a live build and `count` numbers.
            self.call(|api, build| unsafe { (api.build_compute_capabilities)(build, raw.as_ptr(), count) })?;
        }
        if let Some(sources) = options.tactic_sources {
            // SAFETY: as above.
            self.call(|api, build| unsafe { (api.build_tactic_sources)(build, sources.mask()) })?;
        }
        if let Some(streams) = options.aux_streams {
            let streams = i32::try_from(streams).unwrap_or(i32::MAX);
            // SAFETY: as above.
            self.call(|api, build| unsafe { (api.build_aux_streams)(build, streams) })?;
        }
        // SAFETY: as above.
        self.call(|api, build| unsafe { (api.build_verbosity)(build, i32::from(options.detailed_layers)) })
    }

    /// Name and type of a layer.
    fn layer(&mut self, index: i32) -> Result<(String, i32), Error> {
        let (mut name, mut layer_type) = (ptr::null(), 0);
        // SAFETY: a live build, and places to write one pointer and a number to.
        self.call(|api, build| unsafe { (api.build_layer)(build, index, &raw mut name, &raw mut layer_type) })?;
        // SAFETY: the name lives as long as the network.
        Ok((unsafe { text(name) }.unwrap_or_default(), layer_type))
    }

    /// Number of layers of each type. Types that no network here has are counted by their number.
    pub(in crate::build) fn layer_types(&mut self) -> Result<BTreeMap<String, usize>, Error> {
        let mut types = BTreeMap::new();
        for index in 0..self.network_info()?.layers {
            let (_, raw) = self.layer(index)?;
            *types.entry(layer_type(raw)).or_default() += 1;
        }
        Ok(types)
    }

    /// Keeps every layer that matches one of `patterns` in single precision. Returns their number.
    pub(in crate::build) fn hold_in_fp32(&mut self, patterns: &[String]) -> Result<usize, Error> {
        let mut held = 0;
        let mut used = vec![false; patterns.len()];
        let layers = if patterns.is_empty() { 0 } else { self.network_info()?.layers };
        for index in 0..layers {
            let (name, _) = self.layer(index)?;
            let mut fitting = false;
            for (pattern, used) in patterns.iter().zip(&mut used) {
                if fits(pattern, &name) {
                    (*used, fitting) = (true, true);
                }
            }
            if fitting {
                let mut applied = 0;
                // SAFETY: a live build, and a place to write a number to; 0 is single precision.
                self.call(|api, build| unsafe { (api.build_layer_precision)(build, index, 0, &raw mut applied) })?;
                held += usize::from(applied != 0);
            }
        }
        match patterns.iter().zip(used).find(|(_, used)| !used) {
            Some((pattern, _)) => Err(Error::Argument(format!("no layer of the network fits '{pattern}'"))),
            None => Ok(held),
        }
    }
}

/// Name of an `nvinfer1::LayerType`.
fn layer_type(raw: i32) -> String {
    let name = match raw {
        0 => "convolution",
        1 => "cast",
        2 => "activation",
        6 => "softmax",
        8 => "concatenation",
        9 => "elementwise",
        11 => "unary",
        13 => "shuffle",
        14 => "reduce",
        16 => "gather",
        17 => "matrix_multiply",
        19 => "constant",
        20 => "identity",
        22 => "slice",
        23 => "shape",
        30 => "select",
        32 => "quantize",
        33 => "dequantize",
        45 => "normalization",
        47 => "squeeze",
        48 => "unsqueeze",
        other => return format!("type_{other}"),
    };
    name.to_owned()
}
