//! What the role is told, by flags and by the environment; refused at start when wrong.

use std::net::SocketAddr;

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Most connections to PostgreSQL.
    #[arg(
        long,
        env = "POSTHORN_API_DATABASE_CONNECTIONS",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=200)
    )]
    pub database_connections: u32,
    /// Where gRPC is served; a loopback address, because no key is asked for.
    #[arg(long, env = "POSTHORN_GRPC_LISTEN", default_value = "127.0.0.1:50051")]
    pub grpc_listen: SocketAddr,
    /// Where HTTP/JSON and health are served; a loopback address, because no key is asked for.
    #[arg(long, env = "POSTHORN_HTTP_LISTEN", default_value = "127.0.0.1:3001")]
    pub http_listen: SocketAddr,
    /// Restate's ingress, by which an endpoint is woken after a command. The role works without it.
    #[arg(long, env = "POSTHORN_RESTATE_INGRESS_URL", default_value = "http://127.0.0.1:8080")]
    pub restate_ingress_url: String,
    /// Which URLs endpoints may have, and the keys that seal their secrets.
    #[command(flatten)]
    pub delivery: delivery::Config,
}
