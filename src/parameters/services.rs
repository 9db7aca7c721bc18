//! The six parameter services, under the names that every ROS 2 client expects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::channel::mpsc::Receiver;
use futures::{FutureExt, StreamExt};
use r2r::rcl_interfaces::msg::{ListParametersResult, Parameter, SetParametersResult};
use r2r::rcl_interfaces::srv::{
    DescribeParameters, GetParameterTypes, GetParameters, ListParameters, SetParameters, SetParametersAtomically,
};
use r2r::{Node, QosProfile, ServiceRequest, WrappedServiceTypeSupport};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::ParameterServer;
use super::convert::{descriptor_message, value, value_message};
use super::pacer::ResponsePacer;
use crate::call_queue::{Intake, WAITING};
use crate::convert::clean;
use crate::error::Error;
use crate::respond::respond;
use vla_runtime::parameters::Value;

type Calls<S> = Receiver<ServiceRequest<S>>;

/// The services, created but not yet served.
pub(crate) struct ParameterServices {
    describe: Calls<DescribeParameters::Service>,
    get: Calls<GetParameters::Service>,
    get_types: Calls<GetParameterTypes::Service>,
    list: Calls<ListParameters::Service>,
    set: Calls<SetParameters::Service>,
    set_atomically: Calls<SetParametersAtomically::Service>,
}

impl ParameterServices {
    /// Creates the services.
    ///
    /// # Errors
    /// When the middleware refuses a name.
    pub(crate) fn create(node: &mut Node, intake: &mut Intake) -> Result<Self, Error> {
        Ok(Self {
            describe: create(node, intake, "~/describe_parameters")?,
            get: create(node, intake, "~/get_parameters")?,
            get_types: create(node, intake, "~/get_parameter_types")?,
            list: create(node, intake, "~/list_parameters")?,
            set: create(node, intake, "~/set_parameters")?,
            set_atomically: create(node, intake, "~/set_parameters_atomically")?,
        })
    }

    /// Starts one task a service.
    pub(crate) fn serve(self, parameters: &Arc<ParameterServer>) -> Vec<JoinHandle<()>> {
        vec![
            answer(self.describe, parameters, |parameters, request| {
                let descriptors = parameters
                    .read(|store| store.describe_parameters(&request.names).iter().map(descriptor_message).collect());
                DescribeParameters::Response { descriptors }
            }),
            answer(self.get, parameters, |parameters, request| {
                let values = parameters
                    .read(|store| store.get_parameters(&request.names).into_iter().map(value_message).collect());
                GetParameters::Response { values }
            }),
            answer(self.get_types, parameters, |parameters, request| {
                let types = parameters.read(|store| store.get_parameter_types(&request.names));
                GetParameterTypes::Response { types }
            }),
            answer(self.list, parameters, |parameters, request| {
                let listing = parameters.read(|store| store.list_parameters(&request.prefixes, request.depth));
                let texts = |texts: Vec<String>| texts.into_iter().map(clean).collect();
                let result = ListParametersResult { names: texts(listing.names), prefixes: texts(listing.prefixes) };
                ListParameters::Response { result }
            }),
            answer(self.set, parameters, |parameters, request| {
                // One by one, as rclcpp: the first may be set and the second refused.
                let set = |parameter| result(changes([parameter]).and_then(|changes| parameters.set(&changes)));
                SetParameters::Response { results: request.parameters.into_iter().map(set).collect() }
            }),
            answer(self.set_atomically, parameters, |parameters, request| {
                let set = changes(request.parameters).and_then(|changes| parameters.set(&changes));
                SetParametersAtomically::Response { result: result(set) }
            }),
        ]
    }
}

fn create<S: WrappedServiceTypeSupport + 'static>(
    node: &mut Node,
    intake: &mut Intake,
    name: &'static str,
) -> Result<Calls<S>, Error> {
    let calls = node.create_service::<S>(name, QosProfile::parameters());
    Ok(intake.queue(name, calls.map_err(|e| Error::endpoint("service", name, e))?))
}

fn answer<S>(
    mut calls: Calls<S>,
    parameters: &Arc<ParameterServer>,
    mut handle: impl FnMut(&ParameterServer, S::Request) -> S::Response + Send + 'static,
) -> JoinHandle<()>
where
    S: WrappedServiceTypeSupport + 'static,
    S::Request: Clone + Send,
    S::Response: Clone + Send,
{
    let parameters = parameters.clone();
    tokio::spawn(async move {
        let (mut waiting, mut pacer) = (VecDeque::new(), ResponsePacer::default());
        loop {
            if waiting.is_empty() {
                let Some(call) = calls.next().await else { return };
                waiting.push_back(call);
                pacer.came(Instant::now());
            }
            while waiting.len() < WAITING
                && let Some(Some(call)) = calls.next().now_or_never()
            {
                waiting.push_back(call);
                pacer.came(Instant::now());
            }
            let now = Instant::now();
            let wait = pacer.wait(waiting.len(), now);
            if !wait.is_zero() {
                // What comes meanwhile counts.
                tokio::time::sleep(wait).await;
                continue;
            }
            let Some(call) = waiting.pop_front() else { continue };
            pacer.answered(now);
            let response = handle(&parameters, call.message.clone());
            respond(&Handle::current(), call, response);
        }
    })
}

fn changes(parameters: impl IntoIterator<Item = Parameter>) -> Result<Vec<(String, Value)>, String> {
    let change = |parameter: Parameter| match value(parameter.value) {
        Ok(value) => Ok((parameter.name, value)),
        Err(reason) => Err(format!("parameter '{}': {reason}", parameter.name)),
    };
    parameters.into_iter().map(change).collect()
}

fn result(set: Result<(), String>) -> SetParametersResult {
    SetParametersResult { successful: set.is_ok(), reason: clean(set.err().unwrap_or_default()) }
}
