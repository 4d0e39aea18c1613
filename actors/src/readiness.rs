//! Does Restate send new work to this build, where somebody serves it, and does it read records for it?
//!
//! A worker that listens and is not registered gets no work, and nothing else would say so. It is
//! asked for as long as the worker runs: a Restate that lost its data has forgotten everything.

use std::time::Duration;

use observability::Health;
use tokio_util::sync::CancellationToken;

use crate::cdc::topics_read;
use crate::register::Serving;
use crate::restate::{Http, RestateError, reach};
use crate::worker::WakeTopic;

/// The part of health.
const PART: &str = "restate";
/// Between two looks: small questions to a part next to us.
const ROUND: Duration = Duration::from_secs(2);

/// Keeps the part `restate` of `health` true, and `topic`, until `shutdown`.
pub(crate) async fn run(
    admin: Http,
    topic: WakeTopic,
    health: Health,
    shutdown: CancellationToken,
) {
    loop {
        match missing(&admin, &topic).await {
            Ok(None) => health.ready(PART),
            Ok(Some(what)) => health.not_ready(PART, what),
            Err(error) => health.not_ready(PART, error.to_string()),
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn missing(admin: &Http, topic: &WakeTopic) -> Result<Option<String>, RestateError> {
    let read = topics_read(admin).await?.pop();
    if let Some(read) = &read {
        topic.is(read);
    }
    let Some(serving) = Serving::of(admin).await? else {
        return Ok(Some("Restate does not know this worker: run `posthorn register`".to_owned()));
    };
    let uri = &serving.uri;
    if !serving.is_this_build() {
        return Ok(Some(format!(
            "Restate sends new work to another build ({uri}): run `posthorn register`"
        )));
    }
    if let Err(error) = reach(uri).await {
        return Ok(Some(format!(
            "Restate sends new work to {uri}, where nobody listens ({error}): run `posthorn register`"
        )));
    }
    if read.is_none() {
        return Ok(Some(
            "Restate reads no topic for this worker: run `posthorn register`".to_owned(),
        ));
    }
    Ok(None)
}
