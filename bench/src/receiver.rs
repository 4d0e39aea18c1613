//! The merchants' side: answers 200 to everything, and writes down what came.
//!
//! This is the only witness that the report believes. It keeps every arrival; nothing is merged
//! here, so that a duplicate is seen as one. It must not be the slow part: one short lock each.

use std::collections::HashSet;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use domain::PaymentId;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;

use crate::event::{Arrival, Event, Kind, micros_of, now_us};

/// Arrivals that are kept: 800 MB. A longer run is several runs.
const ARRIVALS_MAX: usize = 10_000_000;
/// Largest webhook: 256 KiB of payload and its envelope.
const BODY_BYTES_MAX: usize = 300 * 1024;

/// What came.
#[derive(Debug)]
pub(crate) struct Received {
    /// In the order in which they came.
    pub arrivals: Vec<Arrival>,
    distinct: HashSet<Event>,
    /// Requests that were no webhook of ours.
    pub odd: u64,
    /// When the last one came.
    pub last: Instant,
}

impl Received {
    /// Events that came at least once.
    pub(crate) fn distinct(&self) -> usize {
        self.distinct.len()
    }
}

/// The receiver. Clones share what came.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    received: Arc<Mutex<Received>>,
    address: SocketAddr,
}

impl Receiver {
    /// Listens at `address` and receives until the process ends.
    pub(crate) async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the receiver cannot listen on {address} (--receiver)"))?;
        let receiver = Self {
            received: Arc::new(Mutex::new(Received {
                arrivals: Vec::new(),
                distinct: HashSet::new(),
                odd: 0,
                last: Instant::now(),
            })),
            address: listener.local_addr()?,
        };
        tokio::spawn(receiver.clone().accept(listener));
        Ok(receiver)
    }

    /// Where the endpoint with this number is.
    pub(crate) fn url(&self, endpoint: u32) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// What came so far. Held shortly: requests wait meanwhile.
    pub(crate) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: some of them come back.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            // An answer that is held back is an endpoint that is slow.
            let _ = stream.set_nodelay(true);
            let receiver = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| receiver.clone().receive(request));
                // A connection that breaks is the sender's affair; it comes again.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn receive(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Empty<Bytes>>, Infallible> {
        let arrived_us = now_us();
        let (parts, body) = request.into_parts();
        let endpoint = parts.uri.path().trim_start_matches('/').parse().ok();
        let webhook = parts.headers.get("webhook-id").map(|id| {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            hasher.finish()
        });
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok();
        let arrival =
            body.and_then(|body| arrival_of(endpoint?, webhook?, arrived_us, &body.to_bytes()));
        self.write_down(arrival);
        Ok(Response::new(Empty::new()))
    }

    fn write_down(&self, arrival: Option<Arrival>) {
        let mut received = self.received();
        received.last = Instant::now();
        match arrival {
            Some(arrival) if received.arrivals.len() < ARRIVALS_MAX => {
                received.distinct.insert(arrival.event);
                received.arrivals.push(arrival);
            }
            _ => received.odd += 1,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    r#type: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    id: &'a str,
    status: &'a str,
}

fn arrival_of(endpoint: u32, webhook: u64, arrived_us: i64, body: &[u8]) -> Option<Arrival> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let payment: PaymentId = envelope.data.id.parse().ok()?;
    let kind = Kind::of_event_type(envelope.r#type)?;
    let happened = OffsetDateTime::parse(envelope.timestamp, &Rfc3339).ok()?;
    Some(Arrival {
        event: Event { endpoint, payment, kind },
        webhook,
        happened_us: micros_of(happened),
        arrived_us,
        is_refunded: envelope.data.status == "refunded",
    })
}
