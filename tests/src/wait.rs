//! Waiting for a condition, with a limit and a name.

use std::future::Future;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `condition` gives a value, at most for `limit`.
///
/// # Errors
/// When it never did: `what` was waited for, and the last reason why not.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, condition: F) -> anyhow::Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let began = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(error) if began.elapsed() > limit => {
                return Err(error.context(format!("waited {limit:?} for: {what}")));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
