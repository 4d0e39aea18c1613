//! Makes payments at a pace and writes down each one that was acknowledged, with when its call
//! began and when it returned.
//!
//! The load does not wait for deliveries, so a slow product gets a backlog and not a rest. A call
//! that was not acknowledged is asked again under the same key; one that stays unanswered is
//! counted as given up, and is neither created nor lost.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use domain::MerchantId;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::event::{Event, Kind, Made, now_us};
use crate::way::{Refusal, Way};

/// A part that was killed is back long before.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Between two times of asking.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(200);

/// The load.
#[derive(Debug)]
pub struct Load {
    way: Way,
    merchants: Vec<MerchantId>,
    refund_percent: u64,
    made: Mutex<Vec<Made>>,
    /// Calls that were asked more than once, and why the first of them was.
    pub repeated: AtomicU64,
    pub first_refusal: OnceLock<String>,
    /// Calls that were never acknowledged.
    pub given_up: AtomicU64,
    /// How far the load fell behind its pace at worst.
    pub lag_us_max: AtomicI64,
}

/// A row of payments.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The endpoints that take turns: from this number on, so many.
    pub first_endpoint: u32,
    pub endpoints: u32,
    /// Payments a second; none: as fast as the callers can.
    pub rate: Option<f64>,
    pub callers: u16,
    pub end: End,
}

/// When a stream ends.
#[derive(Debug, Clone)]
pub enum End {
    At(Instant),
    After(u64),
    When(Arc<AtomicBool>),
}

impl End {
    fn is_reached(&self, number: u64) -> bool {
        match self {
            Self::At(end) => Instant::now() >= *end,
            Self::After(count) => number >= *count,
            Self::When(flag) => flag.load(Ordering::Relaxed),
        }
    }
}

impl Load {
    pub fn new(way: Way, merchants: Vec<MerchantId>, refund_percent: u64) -> Self {
        Self {
            way,
            merchants,
            refund_percent,
            made: Mutex::new(Vec::new()),
            repeated: AtomicU64::new(0),
            first_refusal: OnceLock::new(),
            given_up: AtomicU64::new(0),
            lag_us_max: AtomicI64::new(0),
        }
    }

    /// What was acknowledged so far.
    pub fn made(&self) -> MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a stream to its end.
    pub async fn run(self: &Arc<Self>, stream: Stream) -> anyhow::Result<()> {
        let next = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..stream.callers {
            let (load, stream, next) = (Arc::clone(self), stream.clone(), Arc::clone(&next));
            callers.spawn(async move { load.call(&stream, &next, begin).await });
        }
        while let Some(ended) = callers.join_next().await {
            ended.context("a caller panicked")??;
        }
        Ok(())
    }

    /// All payments of a burst in one transaction where the way allows it (SQL); else as fast as
    /// `callers` can.
    pub async fn burst(
        self: &Arc<Self>,
        endpoint: u32,
        count: u32,
        callers: u16,
    ) -> anyhow::Result<()> {
        let Way::Sql(store) = &self.way else {
            let end = End::After(u64::from(count));
            let stream =
                Stream { first_endpoint: endpoint, endpoints: 1, rate: None, callers, end };
            return self.run(stream).await;
        };
        let ids: Vec<_> = (0..count).map(|_| Uuid::now_v7().into()).collect();
        let begun_us = now_us();
        store.load_payments(&ids, &self.merchants[endpoint as usize]).await?;
        let done_us = now_us();
        let made = |payment| {
            let event = Event { endpoint, payment, kind: Kind::Succeeded };
            Made { event, begun_us, done_us }
        };
        self.made().extend(ids.into_iter().map(made));
        Ok(())
    }

    async fn call(&self, stream: &Stream, next: &AtomicU64, begin: Instant) -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if let Some(rate) = stream.rate {
                #[allow(clippy::cast_precision_loss)] // Exact for more payments than we make.
                let planned = begin + Duration::from_secs_f64(number as f64 / rate);
                // A caller whose turn is after the end does not wait for it.
                if matches!(stream.end, End::At(end) if planned >= end) {
                    return Ok(());
                }
                tokio::time::sleep_until(planned).await;
                let lag = i64::try_from(planned.elapsed().as_micros()).unwrap_or(i64::MAX);
                self.lag_us_max.fetch_max(lag, Ordering::Relaxed);
            }
            if stream.end.is_reached(number) {
                return Ok(());
            }
            let turn = u32::try_from(number % u64::from(stream.endpoints))?;
            let is_refunded = (number * self.refund_percent) % 100 < self.refund_percent;
            self.pay(stream.first_endpoint + turn, is_refunded).await?;
        }
    }

    async fn pay(&self, endpoint: u32, is_refunded: bool) -> anyhow::Result<()> {
        let merchant = &self.merchants[endpoint as usize];
        let key = Uuid::now_v7();
        let begun_us = now_us();
        let Some(payment) = self.until_acknowledged(|| self.way.create(merchant, key)).await?
        else {
            return Ok(());
        };
        let event = Event { endpoint, payment, kind: Kind::Succeeded };
        self.made().push(Made { event, begun_us, done_us: now_us() });
        if is_refunded {
            let key = Uuid::now_v7();
            let begun_us = now_us();
            if self.until_acknowledged(|| self.way.refund(payment, key)).await?.is_some() {
                let event = Event { kind: Kind::Refunded, ..event };
                self.made().push(Made { event, begun_us, done_us: now_us() });
            }
        }
        Ok(())
    }

    /// None: given up. An error: it can never go through, so the whole run is pointless.
    async fn until_acknowledged<T, F>(&self, call: impl Fn() -> F) -> anyhow::Result<Option<T>>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let begun = Instant::now();
        let mut is_first = true;
        loop {
            match call().await {
                Ok(answer) => return Ok(Some(answer)),
                Err(Refusal::Final(error)) => return Err(error.context("a payment was refused")),
                Err(Refusal::Passing(error)) if begun.elapsed() > ASK_AGAIN_MAX => {
                    eprintln!("given up after {} s: {error:#}", ASK_AGAIN_MAX.as_secs());
                    self.given_up.fetch_add(1, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(Refusal::Passing(error)) => {
                    self.first_refusal.get_or_init(|| format!("{error:#}"));
                    self.repeated.fetch_add(u64::from(is_first), Ordering::Relaxed);
                    is_first = false;
                    tokio::time::sleep(ASK_AGAIN_PAUSE).await;
                }
            }
        }
    }
}
