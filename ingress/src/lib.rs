//! The api role: gRPC services and the HTTP/JSON front.

mod config;

pub use config::Config;

use observability::Health;
use tokio_util::sync::CancellationToken;

/// Why the role could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Runs the role until `shutdown`.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(
    _config: Config,
    _health: Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    shutdown.cancelled().await;
    Ok(())
}
