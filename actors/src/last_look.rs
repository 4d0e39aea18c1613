//! The look with which a wake ends. Most often nothing is due any more: then one question is enough,
//! which takes no turn. What must never happen: a wake that ends on its word when it was asked before
//! the slice before it was acknowledged (see `domain::wake`), or on what a slice said before something
//! happened to the endpoint: after a crash this look is made again, and the one that was lost may have
//! settled what Restate never heard of.

use std::time::Instant;

use domain::EndpointId;
use observability::metrics::WaitedFor;
use observability::spans::Invocation;

use crate::persist::persist;
use crate::report::{SliceReport, millis};
use crate::slice::{self, FenceLost, elapsed_ms};
use crate::worker::Worker;

/// The slice after `before`, by which nothing was left: most often there is still nothing, and it is
/// over with one question.
///
/// # Errors
/// As [`slice::run`].
pub(crate) async fn run(
    worker: &Worker,
    endpoint: EndpointId,
    invocation: &Invocation,
    waited_for: WaitedFor,
    before: SliceReport,
) -> Result<SliceReport, FenceLost> {
    let began = Instant::now();
    match persist("last look", endpoint.into(), || worker.store.last_look(endpoint)).await {
        Ok(Some(saw)) if !saw.is_due && before.is_of(saw.version) => Ok(SliceReport {
            now_ms: millis(saw.now),
            took_ms: elapsed_ms(began),
            next_due_ms: saw.next_due.map(millis),
            ..before
        }),
        // Something came or happened, or the endpoint went, or the database did: a slice says which.
        _ => slice::run(worker, endpoint, invocation, waited_for).await,
    }
}
