//! What the role is told, by flags and by the environment; refused at start when wrong.

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Where Restate reaches the object.
    #[arg(long, env = "POSTHORN_WORKER_LISTEN", default_value = "127.0.0.1:9080")]
    pub listen: std::net::SocketAddr,
}
