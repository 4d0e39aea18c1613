//! What the role is told, by flags and by the environment; refused at start when wrong.

use std::net::SocketAddr;

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Where Jaeger's user interface and its query paths are served.
    #[arg(long, env = "POSTHORN_TRACES_LISTEN", default_value = "127.0.0.1:16686")]
    pub listen: SocketAddr,
    /// Where spans are taken, by OTLP over gRPC.
    #[arg(long, env = "POSTHORN_TRACES_OTLP_LISTEN", default_value = "127.0.0.1:4317")]
    pub otlp_listen: SocketAddr,
    /// Spans that are kept, as they were sent; the traces that were quiet for longest go first. The
    /// process takes two to four times as much memory.
    #[arg(
        long,
        env = "POSTHORN_TRACES_MEMORY_MIB",
        default_value_t = 64,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536),
        value_name = "MIB"
    )]
    pub memory_mib: usize,
}
