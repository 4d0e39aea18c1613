//! `/livez` and `/readyz`: is the process alive, and can it do its work now?
//!
//! Each part that a role needs is named; a role is ready when all of them are, and `/readyz` says
//! which one is not, and why. Never ready by default: a part counts from the moment it is named.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What a role knows about its own readiness. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health {
    // Name of a part → why it is not ready; None when it is.
    parts: Arc<RwLock<BTreeMap<&'static str, Option<String>>>>,
}

#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    parts: BTreeMap<&'static str, String>,
}

impl Health {
    /// A health in which `parts` are named and none of them is ready.
    pub fn new(parts: &[&'static str]) -> Self {
        let health = Self::default();
        for part in parts {
            health.not_ready(part, "starting");
        }
        health
    }

    /// `part` can do its work.
    pub fn ready(&self, part: &'static str) {
        self.set(part, None);
    }

    /// `part` cannot do its work, because of `reason` (a sentence without secrets).
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.set(part, Some(reason.into()));
    }

    /// Are all parts ready?
    pub fn is_ready(&self) -> bool {
        self.read().values().all(Option::is_none)
    }

    /// The two routes, and `/metrics` beside them.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
            .merge(crate::metrics::routes())
    }

    fn set(&self, part: &'static str, reason: Option<String>) {
        let mut parts = match self.parts.write() {
            Ok(parts) => parts,
            // A map of reasons has no state that a panic could have broken half-way.
            Err(poisoned) => poisoned.into_inner(),
        };
        parts.insert(part, reason);
    }

    fn read(&self) -> BTreeMap<&'static str, Option<String>> {
        match self.parts.read() {
            Ok(parts) => parts.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let parts = health.read();
    let ready = parts.values().all(Option::is_none);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts = parts
        .into_iter()
        .map(|(part, reason)| (part, reason.unwrap_or_else(|| "ready".to_owned())))
        .collect();
    (status, Json(Report { ready, parts }))
}

/// Serves a role's health on a port of its own, until `shutdown`.
///
/// # Errors
/// When the listener breaks.
pub async fn serve_health(
    listener: TcpListener,
    routes: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_ready_when_every_part_it_named_is() {
        let health = Health::new(&["database", "kafka"]);
        assert!(!health.is_ready());
        health.ready("database");
        assert!(!health.is_ready());
        health.ready("kafka");
        assert!(health.is_ready());
        health.not_ready("kafka", "no broker answers");
        assert!(!health.is_ready());
    }
}
