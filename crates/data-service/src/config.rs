//! What the role is told, by flags and by the environment; refused at start when wrong.
//!
//! The URL of the database is a secret: it is never shown, by `--help` or by an error.

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Where it listens.
    #[arg(long, env = "POSTHORN_DATA_SERVICE_LISTEN", default_value = "127.0.0.1:3002")]
    pub listen: std::net::SocketAddr,
    /// Most connections to the database. One read of one row each, so few serve many.
    #[arg(
        long,
        env = "POSTHORN_DATA_SERVICE_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub database_connections: u32,
}
