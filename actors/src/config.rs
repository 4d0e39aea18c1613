//! What the worker, and its registration, are told; refused at start when wrong.

use std::net::SocketAddr;

use clap::Args;

/// Options of the worker.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Connections to PostgreSQL, at most. None is held while a merchant is waited for.
    #[arg(long, env = "POSTHORN_WORKER_CONNECTIONS", default_value_t = 16)]
    pub connections_max: u32,
    /// Where Restate reaches the Endpoint object (HTTP/2 without TLS).
    #[arg(long, env = "POSTHORN_WORKER_LISTEN", default_value = "127.0.0.1:9080")]
    pub listen: SocketAddr,
    /// Where health is served.
    #[arg(long, env = "POSTHORN_WORKER_HEALTH_LISTEN", default_value = "127.0.0.1:9102")]
    pub health_listen: SocketAddr,
    /// The data service, which has each payment as it is now.
    #[arg(long, env = "POSTHORN_DATA_SERVICE_URL", default_value = "http://127.0.0.1:3002")]
    pub data_service_url: String,
    /// Restate's ingress, by which the sweeper wakes endpoints.
    #[arg(long, env = "POSTHORN_RESTATE_INGRESS_URL", default_value = "http://127.0.0.1:8080")]
    pub restate_ingress_url: String,
    /// Restate's admin API, which is asked for its backlog, and whether it knows this build.
    #[arg(long, env = "POSTHORN_RESTATE_ADMIN_URL", default_value = "http://127.0.0.1:9070")]
    pub restate_admin_url: String,
    /// How merchants are reached.
    #[command(flatten)]
    pub delivery: delivery::Config,
}

/// What the registration with Restate is told.
#[derive(Debug, Clone, Args)]
pub struct RegisterConfig {
    /// Restate's admin API.
    #[arg(long, env = "POSTHORN_RESTATE_ADMIN_URL", default_value = "http://127.0.0.1:9070")]
    pub restate_admin_url: String,
    /// Where Restate reaches the worker.
    #[arg(long, env = "POSTHORN_WORKER_URL", default_value = "http://127.0.0.1:9080")]
    pub worker_url: String,
    /// Kafka's bootstrap servers, as Restate reaches them.
    #[arg(long, env = "POSTHORN_KAFKA", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// Restate has one node: its consumer then takes its place over at once after a crash of
    /// Restate or Kafka, instead of 6 s later. With more nodes, they would put each other out.
    #[arg(long, env = "POSTHORN_RESTATE_IS_ONE_NODE")]
    pub restate_is_one_node: bool,
}
