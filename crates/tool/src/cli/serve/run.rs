//! Loads the policy and runs the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{ProtocolName, ServeArguments};
use crate::cli::Outcome;
use crate::cli::settings::overrides;
use vla_offline::infer;
use vla_policy::{LoadOptions, PolicySpec};
use vla_runtime::parameters::{Overrides, Parameters, PolicyShape, Settings, Value};
use vla_runtime::session;
use vla_serve::{Description, Gr00t, Limits, Openpi, PolicyModel, Protocol, Server, Token};

/// Variable with the token.
const TOKEN: &str = "VLA_TRT_SERVE_TOKEN";

/// Runs the command.
///
/// # Errors
/// Errors of loading the policy, of listening, and of the policy while it is served.
pub(crate) fn run(args: &ServeArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(&args.policy)?;
    let settings = settings(&spec, args)?;
    let token = token(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the process at once, also while the policy is loaded.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop)).context("watching for signals")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("watching for signals")?;
    }
    // Before the policy is loaded, which takes long: the port may be taken.
    let server = listen(args)?;
    let options = options(&spec, &settings);
    let policy = vla_runtime::devices::load_policy(spec, options, &mut |_| {}).map_err(vla_offline::Error::from)?;
    let description = Description::of(&policy)?;
    let mut model = PolicyModel::new(policy, settings.denoise_steps, settings.seed);
    let (mut protocol, scheme) = match args.protocol {
        ProtocolName::Gr00t => (Protocol::Gr00t(Gr00t::new(description, token.clone())), "tcp"),
        ProtocolName::Openpi => (Protocol::Openpi(Openpi::new(description, token.clone())), "ws"),
    };
    if !args.bind.is_loopback() {
        let who = if token.is_some() { "every client with the token" } else { "every client" };
        tracing::warn!(
            "--bind {}: {who} that reaches this machine can send observations and read actions, unencrypted; an SSH tunnel to the \
             loopback is safer",
            args.bind
        );
    }
    let policy = model.policy();
    let (name, kind) = (&policy.spec().name, policy.engine_kind());
    println!("serving {name} on {kind} at {scheme}://{}; Ctrl-C ends", server.address()?);
    server.run(&mut protocol, &mut model, &|| stop.load(Ordering::Relaxed))?;
    println!("ended");
    Ok(Outcome::Success)
}

fn listen(args: &ServeArguments) -> anyhow::Result<Server> {
    let port = args.port.unwrap_or(match args.protocol {
        ProtocolName::Gr00t => 5555,
        ProtocolName::Openpi => 8000,
    });
    let limits = Limits { message_bytes: usize::from(args.max_message_mib) << 20, ..Limits::default() };
    Ok(Server::bind(SocketAddr::new(args.bind, port), limits)?)
}

fn token(args: &ServeArguments) -> anyhow::Result<Option<Token>> {
    if let Some(file) = &args.token_file {
        return Ok(Some(Token::read(file)?));
    }
    match std::env::var(TOKEN) {
        Ok(text) => Ok(Some(Token::new(TOKEN, &text)?)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(TOKEN),
    }
}

/// The policy takes arrays: its joints, poses and blank views are no matter of the parameters.
fn options(spec: &PolicySpec, settings: &Settings) -> LoadOptions {
    let LoadOptions { blank_views, state, poses, action, columns, .. } = infer::load_options(spec);
    LoadOptions { blank_views, state, poses, action, columns, ..session::load_options(settings) }
}

fn settings(spec: &PolicySpec, args: &ServeArguments) -> anyhow::Result<Arc<Settings>> {
    let mut overrides = overrides(args.params.as_deref(), &args.param)?;
    for warning in overrides.warnings() {
        tracing::warn!("{warning}");
    }
    overrides.set("policy", Value::String(spec.dir.to_string_lossy().into_owned()));
    let shape = PolicyShape::load(spec)?;
    name_joints(&shape, &mut overrides);
    let parameters = Parameters::new(shape, &overrides)?;
    if let Some(ignored) = parameters.ignored() {
        tracing::warn!("{ignored}");
    }
    Ok(Arc::clone(parameters.settings()))
}

/// Gives joints to the keys of which nothing is given: the parameters of a node want them, and no joint is read here.
fn name_joints(shape: &PolicyShape, overrides: &mut Overrides) {
    let of_state = |key: &str| shape.state.iter().any(|(state, _)| state == key);
    let state = shape.state.iter().map(|key| ("state", key));
    let action = shape.action_keys.iter().filter(|(key, _)| !of_state(key) && shape.eef_action(key).is_none());
    for (section, (key, width)) in state.chain(action.map(|key| ("action", key))) {
        let prefix = format!("{section}.{key}.");
        let names_source = |name: &str| name.strip_prefix(&prefix).is_some_and(|parameter| parameter != "delta");
        if !overrides.given().iter().any(|given| names_source(&given.name)) {
            let joints = (0..*width).map(|index| format!("{key}.{index}")).collect();
            overrides.set(&format!("{prefix}joints"), Value::StringArray(joints));
        }
    }
}
