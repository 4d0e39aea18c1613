//! What the role is told, by flags and by the environment; refused at start when wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use domain::guard::{AllowedNetworks, NetworkError};

/// Options of the role. Not `Debug`: it may hold the keys.
#[derive(Clone, Args)]
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
    /// The file with the keys that seal endpoint secrets, one `key-id:base64 of 32 bytes` a line.
    #[arg(long, env = "POSTHORN_SECRET_KEYS_FILE", required_unless_present = "secret_keys")]
    pub secret_keys_file: Option<PathBuf>,
    /// The keys themselves, comma-separated, instead of a file.
    #[arg(
        long,
        env = "POSTHORN_SECRET_KEYS",
        hide_env_values = true,
        conflicts_with = "secret_keys_file"
    )]
    pub secret_keys: Option<String>,
    /// Networks, beside the public internet, in which endpoints may be; comma-separated.
    #[arg(long, env = "POSTHORN_ALLOW_NETWORKS", value_parser = networks, default_value = "")]
    pub allow_networks: AllowedNetworks,
    /// Lets endpoints be `http`, not only `https`.
    #[arg(long, env = "POSTHORN_ALLOW_HTTP")]
    pub allow_http: bool,
}

fn networks(text: &str) -> Result<AllowedNetworks, NetworkError> {
    let networks: Vec<_> = text
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(AllowedNetworks::parse_network)
        .collect::<Result<_, _>>()?;
    Ok(AllowedNetworks::public_only().with(networks))
}
