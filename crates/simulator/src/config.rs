//! What the role is told, by flags and by the environment; refused at start when wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Where it listens.
    #[arg(long, env = "POSTHORN_SIMULATOR_LISTEN", default_value = "127.0.0.1:4001")]
    pub listen: SocketAddr,
    /// A file that keeps the ledger across restarts; it is only ever appended to. None: the ledger
    /// ends with the process.
    #[arg(long, env = "POSTHORN_SIMULATOR_LEDGER", value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}
