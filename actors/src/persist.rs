//! Patience with the database: a hiccup of some seconds must not end a slice, because a request
//! whose outcome is lost is sent again.
//!
//! What is retried must be safe to repeat. Whoever calls keeps the outcome in hand meanwhile.

use std::future::Future;
use std::time::{Duration, Instant};

use domain::{DeliveryId, EndpointId};
use store::StoreError;
use tracing::field;

/// How long one statement is tried in all, but for one that was never tried again: a connection that
/// fell silent takes longer to be given up, and a new one may answer at once.
const PATIENCE: Duration = Duration::from_secs(8);
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What a statement is about, for its lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About<'a> {
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) delivery: Option<DeliveryId>,
    /// Of a trace that can be looked up.
    pub(crate) trace_id: Option<&'a str>,
}

impl From<EndpointId> for About<'_> {
    fn from(endpoint: EndpointId) -> Self {
        Self { endpoint: Some(endpoint), ..Self::default() }
    }
}

/// Runs `statement` until it succeeds, for some seconds; the last error if it never does.
pub(crate) async fn persist<T, F, Fut>(
    name: &'static str,
    about: About<'_>,
    statement: F,
) -> Result<T, StoreError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    let mut wait = WAIT_FIRST;
    let mut is_first = true;
    loop {
        match statement().await {
            Ok(value) => return Ok(value),
            // What is refused or cannot be read now is so in a second, too.
            Err(error) if !error.is_away() => return Err(error),
            Err(error) if !is_first && began.elapsed() + wait > PATIENCE => return Err(error),
            Err(error) => {
                tracing::warn!(
                    name,
                    endpoint = about.endpoint.map(field::display),
                    delivery = about.delivery.map(field::display),
                    trace_id = about.trace_id,
                    %error,
                    "the database did not take a statement; trying again"
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
                is_first = false;
            }
        }
    }
}
