//! The wake after a command: Restate is asked to look at the endpoint at once.
//!
//! Best effort, after the commit and beside the answer: the command stands in PostgreSQL, and the
//! sweeper comes by when Restate was away. It must never delay or fail a command.

use std::sync::Arc;
use std::time::Duration;

use domain::EndpointId;
use reqwest::{Client, Url};
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::Error;

/// Restate is next to us: what does not answer in this time is down.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Wakes under way at once. While Restate hangs, more would only pile up; the sweeper makes up.
const AT_ONCE_MAX: usize = 64;

/// A client of Restate's ingress. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    http: Client,
    base: Url,
    places: Arc<Semaphore>,
}

impl Waker {
    pub(crate) fn new(base: &str) -> Result<Self, Error> {
        let bad = || Error::Restate(base.to_owned());
        let url = Url::parse(base).ok().filter(Url::has_host).ok_or_else(bad)?;
        let http = Client::builder()
            .timeout(TIMEOUT)
            // Restate never redirects, and no proxy stands between us.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| bad())?;
        Ok(Self { http, base: url, places: Arc::new(Semaphore::new(AT_ONCE_MAX)) })
    }

    /// Sends a wake and does not wait for what becomes of it. `fence`: the endpoint's, as the
    /// command saw it under its lock; whatever is told until somebody looks shares one wake. None:
    /// it was deleted before.
    pub(crate) fn wake(&self, endpoint: EndpointId, fence: Option<Uuid>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(%endpoint, "too many wakes under way; the sweeper will come by");
            return;
        };
        let Ok(url) = self.base.join(&format!("/restate/send/Endpoint/{endpoint}/wake")) else {
            return;
        };
        let key = fence.map_or_else(|| "deleted".to_owned(), |fence| format!("command-{fence}"));
        let request = self
            .http
            .post(url)
            .header("idempotency-key", key)
            .json(&json!({ "because": "commanded" }));
        tokio::spawn(async move {
            let sent = request.send().await.and_then(reqwest::Response::error_for_status);
            if let Err(error) = sent {
                tracing::warn!(%endpoint, %error, "no wake after a command; the sweeper will come by");
            }
            drop(place);
        });
    }
}
