//! The announcer: a delivery's record goes to both topics, and counts as announced when both have
//! acknowledged it.
//!
//! Records come in, numbered; the transactions whose rows are announced go out. On `webhook-wakes`
//! one record stands for many deliveries: its acknowledgement counts for all of them. What must
//! never happen: a delivery that counts as announced while one of its two records is not
//! acknowledged, or has one before it that stands for it; more deliveries in flight than memory is
//! meant for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::{DeliveryId, EndpointId};
use futures::future::BoxFuture;
use observability::{metrics, spans};
use rdkafka::error::KafkaError;
use store::StoreError;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tracing::Span;
use uuid::Uuid;

use crate::announced::Announced;
use crate::error::Error;
use crate::merge::{Merge, WINDOW, Wake};
use crate::publisher::{Acknowledgement, Publisher};
use crate::record::Record;
use crate::topics;
use crate::unlooked::{Unlooked, Verdict};

/// Deliveries in flight, beyond which nothing more is read: some 10 MB, and a fifth of a second
/// of Kafka's work.
const IN_FLIGHT_MAX: usize = 10_000;
/// Acknowledgements taken in one go.
const ACKNOWLEDGEMENTS_MAX: usize = 1024;
/// Shortest time between two questions whether somebody looked.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Without an acknowledgement for so long, both sides are dropped: a PostgreSQL that is asked to
/// stop waits for this relay's confirmations, and those wait for Kafka.
const STALL: Duration = Duration::from_secs(5);

/// Asks for endpoints' fences; see [`store::Store::fences`].
pub(crate) type Fences =
    Box<dyn Fn(Vec<EndpointId>) -> BoxFuture<'static, Result<Fenced, StoreError>> + Send + Sync>;
type Fenced = Vec<(EndpointId, Option<Uuid>)>;

struct Question {
    asked: Vec<EndpointId>,
    answer: JoinHandle<Result<Fenced, StoreError>>,
}

#[derive(Debug)]
struct InFlight {
    delivery: DeliveryId,
    // Where the row came from; None: not from the stream.
    transaction: Option<u64>,
    on_events: bool,
    on_wakes: bool,
    // Ends when it is dropped.
    span: Option<Span>,
}

/// Announces deliveries in the order in which they are given.
pub(crate) struct Announcer {
    publisher: Publisher,
    acknowledgements: UnboundedReceiver<Acknowledgement>,
    taken: Vec<Acknowledgement>,
    announced: Announced,
    merge: Merge<Record>,
    unlooked: Unlooked<Record>,
    fences: Fences,
    question: Option<Question>,
    may_ask_at: Instant,
    next_number: u64,
    in_flight: HashMap<u64, InFlight>,
    // Number of a wake → whose it is, and the deliveries it stands for.
    wakes: HashMap<u64, (EndpointId, Vec<u64>)>,
    // Records that Kafka has and has not acknowledged; when it last did, or they began.
    unacknowledged: usize,
    heard_at: Instant,
}

impl Announcer {
    pub(crate) fn new(
        publisher: Publisher,
        acknowledgements: UnboundedReceiver<Acknowledgement>,
        announced: Announced,
        fences: Fences,
    ) -> Self {
        Self {
            publisher,
            acknowledgements,
            taken: Vec::new(),
            announced,
            merge: Merge::new(WINDOW),
            unlooked: Unlooked::new(),
            fences,
            question: None,
            may_ask_at: Instant::now(),
            next_number: 0,
            in_flight: HashMap::new(),
            wakes: HashMap::new(),
            unacknowledged: 0,
            heard_at: Instant::now(),
        }
    }

    /// May more be announced now?
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// Is nothing in flight?
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Announces a delivery, whose row every reader sees. `span` ends when it is announced.
    pub(crate) fn announce(
        &mut self,
        record: Record,
        transaction: Option<u64>,
        span: Option<Span>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        self.close_windows(now)?;
        let number = self.next_number;
        self.next_number += 1;
        self.send(topics::EVENTS, &record, events_tag(number)?)?;
        self.in_flight.insert(
            number,
            InFlight {
                delivery: record.delivery,
                transaction,
                on_events: false,
                on_wakes: false,
                span,
            },
        );
        metrics::relay().in_flight(self.in_flight.len());
        match self.merge.announce(record.endpoint, number, record, now) {
            Some(wake) => self.offer(wake),
            None => Ok(()),
        }
    }

    /// Waits until deliveries are announced, and sends meanwhile what has been merged. The
    /// transactions that they came from, one for each. May be dropped while it waits.
    pub(crate) async fn announced(&mut self) -> Result<Vec<u64>, Error> {
        loop {
            let stalls_at = self.heard_at + STALL;
            let wakes_at = self.merge.next_end();
            let asks = self.question.is_none() && self.unlooked.has_a_question();
            tokio::select! {
                biased;
                taken = self.acknowledgements.recv_many(&mut self.taken, ACKNOWLEDGEMENTS_MAX) => {
                    if taken == 0 {
                        // The client is gone: nothing will be acknowledged any more.
                        return Err(KafkaError::Canceled.into());
                    }
                    let settled = self.settle()?;
                    if !settled.is_empty() || self.is_idle() {
                        return Ok(settled);
                    }
                }
                () = sleep_until(wakes_at.unwrap_or(stalls_at)), if wakes_at.is_some() => {
                    self.close_windows(Instant::now())?;
                }
                () = sleep_until(self.may_ask_at), if asks => self.ask(),
                fences = answer(&mut self.question) => {
                    let settled = self.answered(fences)?;
                    if !settled.is_empty() || self.is_idle() {
                        return Ok(settled);
                    }
                }
                () = sleep_until(stalls_at), if self.unacknowledged > 0 => {
                    return Err(Error::KafkaStalled { limit: STALL });
                }
            }
        }
    }

    fn close_windows(&mut self, now: Instant) -> Result<(), Error> {
        self.merge.close_ended(now).into_iter().try_for_each(|wake| self.offer(wake))
    }

    fn offer(&mut self, wake: Wake<Record>) -> Result<(), Error> {
        let wake = self.unlooked.offer(wake, Instant::now());
        wake.map_or(Ok(()), |wake| self.wake(wake))
    }

    fn ask(&mut self) {
        self.may_ask_at = Instant::now() + ASK_EVERY;
        let asked = self.unlooked.ask();
        let answer = tokio::spawn((self.fences)(asked.clone()));
        self.question = Some(Question { asked, answer });
    }

    /// Sends what is to be sent after all; the transactions of what is stood for.
    fn answered(&mut self, fences: Option<HashMap<EndpointId, Uuid>>) -> Result<Vec<u64>, Error> {
        let mut settled = Vec::new();
        let Some(Question { asked, .. }) = self.question.take() else { return Ok(settled) };
        let Some(fences) = fences else {
            self.unlooked.unanswered(&asked);
            return Ok(settled);
        };
        for endpoint in asked {
            let fence = fences.get(&endpoint).copied();
            match self.unlooked.answered(endpoint, fence, Instant::now()) {
                Some(Verdict::Send(wake)) => self.wake(wake)?,
                Some(Verdict::StoodFor(numbers)) => {
                    metrics::relay().stood_for(numbers.len());
                    for number in numbers {
                        self.settle_one(number, |delivery| delivery.on_wakes = true, &mut settled);
                    }
                }
                None => {}
            }
        }
        metrics::relay().in_flight(self.in_flight.len());
        Ok(settled)
    }

    fn wake(&mut self, wake: Wake<Record>) -> Result<(), Error> {
        let number = self.next_number;
        self.next_number += 1;
        self.send(topics::WAKES, &wake.record, wakes_tag(number)?)?;
        metrics::relay().wake_sent();
        self.wakes.insert(number, (wake.endpoint, wake.stands_for));
        Ok(())
    }

    fn send(&mut self, topic: &str, record: &Record, tag: usize) -> Result<(), Error> {
        if self.unacknowledged == 0 {
            self.heard_at = Instant::now();
        }
        self.publisher.send(topic, &record.key, &record.value, tag)?;
        self.unacknowledged += 1;
        Ok(())
    }

    fn settle(&mut self) -> Result<Vec<u64>, Error> {
        self.heard_at = Instant::now();
        let mut settled = Vec::new();
        for Acknowledgement { number: tag, result } in std::mem::take(&mut self.taken) {
            result?;
            self.unacknowledged -= 1;
            let number = (tag >> 1) as u64;
            if tag & 1 == 0 {
                self.settle_one(number, |delivery| delivery.on_events = true, &mut settled);
            } else {
                let Some((endpoint, stands_for)) = self.wakes.remove(&number) else { continue };
                self.unlooked.acknowledged(endpoint);
                for number in stands_for {
                    self.settle_one(number, |delivery| delivery.on_wakes = true, &mut settled);
                }
            }
        }
        metrics::relay().in_flight(self.in_flight.len());
        Ok(settled)
    }

    fn settle_one(
        &mut self,
        number: u64,
        mark: impl FnOnce(&mut InFlight),
        settled: &mut Vec<u64>,
    ) {
        let Some(delivery) = self.in_flight.get_mut(&number) else { return };
        mark(delivery);
        if delivery.on_events && delivery.on_wakes {
            self.announced.acknowledged(delivery.delivery);
            if let Some(span) = &delivery.span {
                spans::acknowledged(span);
            }
            settled.extend(delivery.transaction);
            self.in_flight.remove(&number);
        }
    }
}

/// The answer to the question that is asked; none when there was none to be had. Without a question it
/// never comes. May be dropped while it waits.
async fn answer(question: &mut Option<Question>) -> Option<HashMap<EndpointId, Uuid>> {
    match question {
        Some(question) => match (&mut question.answer).await {
            Ok(Ok(fences)) => {
                Some(fences.into_iter().filter_map(|(key, fence)| Some((key, fence?))).collect())
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "whether somebody looked is not to be had");
                None
            }
            Err(_) => None,
        },
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

// A record carries its number and, in the lowest bit, its topic.
fn events_tag(number: u64) -> Result<usize, Error> {
    // Would need 2^63 records, or a machine of 32 bits.
    usize::try_from(number << 1).map_err(|_| KafkaError::Canceled.into())
}

fn wakes_tag(number: u64) -> Result<usize, Error> {
    events_tag(number).map(|tag| tag | 1)
}
