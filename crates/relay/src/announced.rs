//! When the last deliveries were committed, captured and on Kafka: `GET /announced/{delivery_id}`.
//!
//! For the timeline that `posthorn up` prints and for measuring, not for deciding: it remembers
//! only the last ones, of this process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use domain::DeliveryId;
use observability::metrics;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Deliveries remembered: some seconds of full load, half a megabyte.
const REMEMBERED_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Times {
    committed_at: OffsetDateTime,
    captured_at: OffsetDateTime,
    acknowledged_at: Option<OffsetDateTime>,
}

#[derive(Debug, Default)]
struct Ring {
    times: HashMap<DeliveryId, Times>,
    // The oldest first.
    order: VecDeque<DeliveryId>,
}

/// What is remembered. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announced {
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug, Serialize)]
struct Answer {
    committed_at: Option<String>,
    captured_at: Option<String>,
    acknowledged_at: Option<String>,
}

impl Announced {
    /// The relay has read a delivery whose transaction committed at `committed_at`.
    pub(crate) fn captured(&self, delivery: DeliveryId, committed_at: OffsetDateTime) {
        metrics::relay().captured();
        let captured_at = OffsetDateTime::now_utc();
        let mut ring = self.lock();
        let times = Times { committed_at, captured_at, acknowledged_at: None };
        if ring.times.insert(delivery, times).is_some() {
            return;
        }
        ring.order.push_back(delivery);
        if ring.order.len() > REMEMBERED_MAX
            && let Some(oldest) = ring.order.pop_front()
        {
            ring.times.remove(&oldest);
        }
    }

    /// Kafka has acknowledged a delivery on both topics.
    pub(crate) fn acknowledged(&self, delivery: DeliveryId) {
        let now = OffsetDateTime::now_utc();
        let mut ring = self.lock();
        let times = ring.times.get_mut(&delivery);
        let since_commit = times.map(|times| {
            times.acknowledged_at = Some(now);
            (now - times.committed_at).as_seconds_f64()
        });
        metrics::relay().announced(since_commit);
    }

    /// The route.
    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/announced/{delivery_id}", get(announced)).with_state(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        match self.ring.lock() {
            Ok(ring) => ring,
            // Times for people: a panic elsewhere is no reason to have none.
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

async fn announced(State(announced): State<Announced>, Path(id): Path<String>) -> Response {
    let delivery = match id.parse::<DeliveryId>() {
        Ok(delivery) => delivery,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let times = announced.lock().times.get(&delivery).copied();
    match times {
        Some(times) => Json(Answer {
            committed_at: micros(times.committed_at),
            captured_at: micros(times.captured_at),
            acknowledged_at: times.acknowledged_at.and_then(micros),
        })
        .into_response(),
        None => {
            (StatusCode::NOT_FOUND, "not among the last deliveries of this relay\n").into_response()
        }
    }
}

/// RFC 3339 with microseconds.
fn micros(at: OffsetDateTime) -> Option<String> {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    at.to_offset(time::UtcOffset::UTC).format(FORMAT).ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_one_that_comes_again_takes_no_second_place() {
        let announced = Announced::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        let delivery = |n: usize| DeliveryId::from(Uuid::from_u128(n as u128));
        announced.captured(delivery(0), now);
        for n in 0..=REMEMBERED_MAX {
            announced.captured(delivery(n), now);
        }
        announced.acknowledged(delivery(0));
        let ring = announced.lock();
        assert_eq!((ring.times.len(), ring.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(!ring.times.contains_key(&delivery(0)));
        assert!(ring.times.contains_key(&delivery(REMEMBERED_MAX)));
    }

    #[test]
    fn a_time_is_printed_with_six_digits() {
        assert_eq!(
            micros(OffsetDateTime::UNIX_EPOCH).as_deref(),
            Some("1970-01-01T00:00:00.000000Z")
        );
    }
}
