//! What others reach of the node by name, before tasks serve it.

use std::sync::Arc;

use crate::call_queue::Intake;
use crate::description_topic::DescriptionTopic;
use crate::diagnostics::Diagnostics;
use crate::error::Error;
use crate::graph::Names;
use crate::lifecycle::LifecycleServices;
use crate::operator::EnableTopic;
use crate::parameters::ParameterServices;
use crate::rosout::Rosout;
use crate::services::Services;
use crate::subscriptions::Subscriptions;
use crate::task::TaskEndpoints;
use r2r::Node;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::Settings;

/// Subscriptions and services, and the publishers of tasks.
pub(super) struct Endpoints {
    pub(super) enable: Option<EnableTopic>,
    pub(super) subscriptions: Subscriptions,
    pub(super) description: Option<DescriptionTopic>,
    pub(super) services: Services,
    pub(super) lifecycle: LifecycleServices,
    pub(super) task: TaskEndpoints,
    pub(super) parameters: ParameterServices,
    pub(super) diagnostics: Diagnostics,
    pub(super) rosout: Option<Rosout>,
    /// Calls of the services.
    pub(super) intake: Intake,
}

impl Endpoints {
    /// Creates them, with the inputs that the subscriptions feed.
    ///
    /// # Errors
    /// The first name that cannot be used.
    pub(super) fn create(
        node: &mut Node,
        names: &Names,
        settings: &Settings,
        rosout_logs: bool,
    ) -> Result<(Self, Arc<Inputs>), Error> {
        let inputs = Inputs::new(settings.inputs.clone());
        let enable = EnableTopic::create(node, names, settings)?;
        let inputs = Arc::new(if enable.is_some() { inputs.with_enable_switch() } else { inputs });
        inputs.set_instruction(&settings.instruction);
        let mut intake = Intake::default();
        let endpoints = Self {
            enable,
            subscriptions: Subscriptions::create(node, inputs.topics(), names, settings)?,
            description: DescriptionTopic::create(node, settings)?,
            services: Services::create(node, &mut intake)?,
            lifecycle: LifecycleServices::create(node, &mut intake)?,
            task: TaskEndpoints::create(node, &mut intake)?,
            parameters: ParameterServices::create(node, &mut intake)?,
            diagnostics: Diagnostics::create(node)?,
            rosout: if rosout_logs { Some(Rosout::create(node)?) } else { None },
            intake,
        };
        Ok((endpoints, inputs))
    }
}
