//! What the benchmark is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How the load is shaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// `--rate` payments a second over all endpoints.
    Steady,
    /// As fast as `--concurrency` callers can.
    FlatOut,
    /// Steady, and in the middle of it `--burst` payments in one go for one more endpoint.
    Burst,
}

/// Where payments are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// The api role, as a client of the product would.
    Grpc,
    /// SQL, one transaction a payment, as an application on the same database would.
    Sql,
}

/// Options of the benchmark.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How the load is shaped.
    #[arg(long, value_enum, default_value = "steady")]
    pub scenario: Scenario,
    /// Payments a second (steady, burst).
    #[arg(long, default_value_t = 50.0, value_parser = parse_rate)]
    pub rate: f64,
    /// Seconds of load.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Merchants with one endpoint each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub endpoints: u32,
    /// Payments of the burst.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub burst: u32,
    /// Of 100 payments, so many are refunded at once: a second event of the same payment.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub refund_percent: u64,
    /// Where payments are made.
    #[arg(long, value_enum, default_value = "grpc")]
    pub via: Via,
    /// Payments that are made at the same time, at most.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,
    /// The state directory of the `up` that runs the stack: its processes and its addresses.
    #[arg(long, env = "POSTHORN_DIR", default_value = ".posthorn", value_name = "FOLDER")]
    pub dir: PathBuf,
    /// The api role's HTTP/JSON front, such as http://127.0.0.1:3001. None: as --dir says.
    #[arg(long)]
    pub api_url: Option<String>,
    /// The api role's gRPC front, such as http://127.0.0.1:50051. None: as --dir says.
    #[arg(long)]
    pub grpc_url: Option<String>,
    /// PostgreSQL, as a URL, for `--via sql`. None: as --dir says.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Where the receiver listens. It must be an address that deliveries may reach.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub receiver: SocketAddr,
    /// Kill this part or role with -9 in the middle of the load, by its name in `status.json`.
    #[arg(long, value_name = "NAME")]
    pub kill: Option<String>,
    /// After the load: give up when nothing has arrived for so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub quiet_seconds: u64,
    /// Also: how long each step of the way took, beside the figures of the reference design.
    #[arg(long)]
    pub breakdown: bool,
    /// Print the report as JSON instead of Markdown.
    #[arg(long)]
    pub json: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.1..=100_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("must be 0.1 to 100000 payments a second".to_owned())
    }
}
