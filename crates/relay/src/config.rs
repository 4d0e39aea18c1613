//! What the role is told, by flags and by the environment; refused at start when wrong.

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Kafka's bootstrap servers, host:port separated by commas.
    #[arg(long, env = "POSTHORN_KAFKA", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// Where health is served.
    #[arg(long, env = "POSTHORN_RELAY_LISTEN", default_value = "127.0.0.1:9101")]
    pub listen: std::net::SocketAddr,
}
