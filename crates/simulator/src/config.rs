//! What the role is told, by flags and by the environment; refused at start when wrong.

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Where it listens.
    #[arg(long, env = "POSTHORN_SIMULATOR_LISTEN", default_value = "127.0.0.1:4001")]
    pub listen: std::net::SocketAddr,
}
