//! From the node's settings to the options of a load.

use crate::parameters::Settings;
use vla_engines::{Admission, Launch};
use vla_policy::LoadOptions;

/// The settings as options of a load.
pub fn load_options(settings: &Settings) -> LoadOptions {
    let stages = &settings.engine.stages;
    LoadOptions {
        engine: settings.engine.kind,
        load_order: settings.engine.load_order.clone(),
        stage_files: stages.iter().filter_map(|(name, s)| Some((name.clone(), s.path.clone()?))).collect(),
        allow_unverified: stages.iter().filter(|(_, s)| s.allow_unverified).map(|(name, _)| name.clone()).collect(),
        allow_inaccurate: stages.iter().filter(|(_, s)| s.allow_inaccurate).map(|(name, _)| name.clone()).collect(),
        blank_views: settings.blank_views.clone(),
        state: settings.state.clone(),
        poses: settings.poses.clone(),
        action: settings.action.clone(),
        columns: settings.column_keys.iter().cloned().collect(),
        deltas: settings.deltas.clone(),
        denoise_steps: settings.denoise_steps,
        threads: settings.engine.threads,
        integer_kernels: settings.engine.integer_kernels,
        encode_threads: settings.encode_threads,
        encode_device: settings.encode_device,
        launch: if settings.engine.cuda_graph { Launch::Graph } else { Launch::StepByStep },
        release_host_copy: settings.memory.release_host_copy,
        admission: Admission {
            budget: settings.memory.budget_mib.map(|mib| mib << 20),
            reserve: settings.memory.reserve_mib << 20,
            count_available: settings.memory.count_available,
        },
    }
}
