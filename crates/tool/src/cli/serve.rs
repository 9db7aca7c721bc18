//! `vla-trt serve`: a policy behind the wire protocol of GR00T or openpi.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

#[cfg(feature = "serve")]
mod run;

#[cfg(feature = "serve")]
pub(crate) use run::run;

/// Serve a policy to simulators and robots that speak the protocol of GR00T's or openpi's policy server.
///
/// One observation is answered at a time; a request that does not fit is answered with an error. Without --params the policy runs
/// on ONNX Runtime; of a node's parameter file, engine.*, engines.*, memory.*, denoise.steps, seed, encode.* and
/// action.*.delta count. docs/serve.md has the protocols. Ctrl-C ends the server.
///
/// Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 an error; 2 wrong arguments; 4 the engines do not fit into memory.
#[derive(clap::Args, Debug)]
#[cfg_attr(not(feature = "serve"), allow(dead_code))]
pub(crate) struct ServeArguments {
    /// Policy folder.
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// What clients speak: gr00t (ZeroMQ, NVIDIA's PolicyClient) or openpi (WebSocket, openpi-client).
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    /// TCP port; default: 5555 for gr00t, 8000 for openpi, as the vendors' servers have them; 0: any free one.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Address of this machine to listen on. Others than the loopback let other machines in: neither protocol is encrypted.
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// File with the token that clients must have; else the variable VLA_TRT_SERVE_TOKEN, else none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Longest message, in MiB. Three 640x480 images take 2.7.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_message_mib: u16,
    /// Parameters: the node's own YAML file. Joints of the state may be missing.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// Set one parameter, as the node's `-p` does; may be given several times.
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE")]
    param: Vec<String>,
}

/// The wire protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum ProtocolName {
    Gr00t,
    Openpi,
}

/// Runs the command.
///
/// # Errors
/// Always: this build has no server.
#[cfg(not(feature = "serve"))]
pub(crate) fn run(_: &ServeArguments) -> anyhow::Result<super::Outcome> {
    anyhow::bail!("this build has no server: it was built without the feature `serve`; cargo build --features serve")
}
