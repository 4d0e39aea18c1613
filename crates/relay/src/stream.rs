//! The stream: batches of rows from the WAL to the announcer, confirmations back.
//!
//! What has arrived since the last batch is the next one. Its transactions must be visible to
//! readers before the first row is announced; the slot is confirmed up to what is announced, and
//! never further. Any error ends the stream and both its sides: the next one starts over from
//! what was confirmed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use observability::{Health, spans};
use pgwire_replication::Lsn;
use pgwire_replication::client::{ReplicationClient, ReplicationEvent};
use store::{DeliveryText, Store};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::announced::Announced;
use crate::announcer::Announcer;
use crate::error::Error;
use crate::keeper::Keeper;
use crate::parking;
use crate::pgoutput::{Decoder, Odd, Unreadable};
use crate::progress::Progress;
use crate::record::Record;
use crate::session::Sessions;
use crate::visibility::wait_until_visible;

/// Rows of a batch: one question about visibility for so many.
const BATCH_ROWS_MAX: usize = 500;
/// Frames of a batch: transactions without rows and keepalives count as well.
const BATCH_FRAMES_MAX: usize = 2000;
/// A server that said nothing for so long is gone: it asks for a sign of life every 2.5 s, half of
/// `wal_sender_timeout`.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Readers see a transaction within milliseconds of its commit; later than this is worth a word.
const LATE: Duration = Duration::from_secs(2);
/// When asked to stop: longest wait for Kafka's last acknowledgements.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);
/// When asked to stop: longest wait until the server has heard of the last confirmation. The
/// status interval, and a little.
const REPORT_TIMEOUT: Duration = Duration::from_millis(1300);
/// Pause between two looks whether it has.
const REPORT_PAUSE: Duration = Duration::from_millis(20);

/// What a stream works with.
pub(crate) struct Stream<'a> {
    client: ReplicationClient,
    announcer: Announcer,
    store: &'a Store,
    announced: &'a Announced,
    health: &'a Health,
    keeper: Keeper,
    progress: Progress,
    decoder: Decoder,
    transaction: Option<Transaction>,
}

/// The transaction whose frames are coming in.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    number: u64,
    xid: u32,
    lsn: Lsn,
    committed_at: OffsetDateTime,
}

struct Captured {
    transaction: Transaction,
    row: Result<(Record, Option<Span>), (Odd, Bytes)>,
}

#[derive(Default)]
struct Batch {
    rows: Vec<Captured>,
    // Of the transactions that the rows belong to.
    xids: Vec<u32>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(
        client: ReplicationClient,
        announcer: Announcer,
        sessions: &'a Sessions,
        keeper: Keeper,
    ) -> Self {
        Self {
            client,
            announcer,
            store: &sessions.store,
            announced: &sessions.announced,
            health: &sessions.health,
            keeper,
            progress: Progress::default(),
            decoder: Decoder::default(),
            transaction: None,
        }
    }

    /// Streams until `shutdown`, or until something breaks.
    pub(crate) async fn run(
        mut self,
        away: impl Future<Output = Error>,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let mut away = std::pin::pin!(away);
        let mut heard_at = Instant::now();
        loop {
            if !self.announcer.has_room() {
                // Nobody listens, so silence means nothing.
                heard_at = Instant::now();
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.finish().await,
                error = &mut away => return Err(error),
                settled = self.announcer.announced(), if !self.announcer.is_idle() => {
                    self.settle(&settled?);
                }
                event = self.client.recv(), if self.announcer.has_room() => {
                    let batch = self.capture(event?.ok_or(Error::StreamEnded)?)?;
                    if !self.announce(batch, shutdown).await? {
                        return self.finish().await;
                    }
                    heard_at = Instant::now();
                }
                () = tokio::time::sleep_until((heard_at + SILENCE_MAX).into()) => {
                    return Err(Error::Silent { limit: SILENCE_MAX });
                }
            }
            self.confirm();
        }
    }

    /// Takes `first` and what else has arrived.
    fn capture(&mut self, first: ReplicationEvent) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let mut event = first;
        for _ in 0..BATCH_FRAMES_MAX {
            self.take(event, &mut batch)?;
            if batch.rows.len() >= BATCH_ROWS_MAX {
                break;
            }
            event = match self.client.recv().now_or_never() {
                Some(next) => next?.ok_or(Error::StreamEnded)?,
                None => break,
            };
        }
        Ok(batch)
    }

    fn take(&mut self, event: ReplicationEvent, batch: &mut Batch) -> Result<(), Error> {
        match event {
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                self.transaction = Some(Transaction {
                    number: self.progress.begin(),
                    xid,
                    lsn: final_lsn,
                    committed_at: postgres_time(commit_time_micros),
                });
            }
            ReplicationEvent::XLogData { data, .. } => {
                if let Some(row) = self.decoder.read(&data)? {
                    let transaction = self.transaction.ok_or(Unreadable::Malformed {
                        kind: 'I',
                        what: "its transaction, which has not begun",
                    })?;
                    self.progress.row();
                    if batch.xids.last() != Some(&transaction.xid) {
                        batch.xids.push(transaction.xid);
                    }
                    let row = match row.and_then(|row| Ok((Record::of(&row)?, row))) {
                        Ok((record, row)) => {
                            self.announced.captured(record.delivery, transaction.committed_at);
                            let span = span_of(&row, &record);
                            Ok((record, span))
                        }
                        Err(odd) => Err((odd, data)),
                    };
                    batch.rows.push(Captured { transaction, row });
                }
            }
            ReplicationEvent::Commit { end_lsn, commit_time_micros, .. } => {
                self.transaction = None;
                self.progress.commit(end_lsn, postgres_time(commit_time_micros));
            }
            ReplicationEvent::KeepAlive { wal_end, .. } => self.progress.idle(wal_end),
            // Messages are others'; a position to stop at was not given.
            _ => {}
        }
        Ok(())
    }

    /// Announces a batch once readers see it; false: it was asked to stop before.
    async fn announce(
        &mut self,
        batch: Batch,
        shutdown: &CancellationToken,
    ) -> Result<bool, Error> {
        if batch.rows.is_empty() {
            return Ok(true);
        }
        let mut visible = std::pin::pin!(wait_until_visible(self.store, &batch.xids));
        let mut late = std::pin::pin!(tokio::time::sleep(LATE));
        let mut is_late = false;
        // Earlier batches go on meanwhile.
        loop {
            tokio::select! {
                biased;
                result = &mut visible => break result?,
                // What was not announced is not confirmed, and comes again.
                () = shutdown.cancelled() => return Ok(false),
                () = &mut late, if !is_late => {
                    is_late = true;
                    let reason = "readers do not see yet what has committed";
                    tracing::warn!(xids = ?batch.xids, reason);
                    self.health.not_ready("slot", reason);
                }
                settled = self.announcer.announced(), if !self.announcer.is_idle() => {
                    for number in settled? {
                        self.progress.settle(number);
                    }
                    // A long wait is no reason to confirm late.
                    self.client.update_applied_lsn(self.progress.confirmable().lsn);
                }
            }
        }
        if is_late {
            self.health.ready("slot");
        }
        for Captured { transaction, row } in batch.rows {
            match row {
                Ok((record, span)) => {
                    self.announcer.announce(record, Some(transaction.number), span)?;
                }
                Err((odd, frame)) => {
                    let position = i64::try_from(transaction.lsn.as_u64()).unwrap_or(i64::MAX);
                    parking::park(self.store, parking::FROM_WAL, position, &frame, &odd).await?;
                    self.progress.settle(transaction.number);
                }
            }
        }
        Ok(true)
    }

    fn settle(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.progress.settle(*number);
        }
    }

    fn confirm(&mut self) {
        let confirmed = self.progress.confirmable();
        self.client.update_applied_lsn(confirmed.lsn);
        self.keeper.confirmed(confirmed.committed_at);
    }

    /// Reads nothing more, and tells the server of what Kafka still acknowledges.
    async fn finish(mut self) -> Result<(), Error> {
        let asked = Instant::now();
        while !self.announcer.is_idle() {
            let left = FINISH_TIMEOUT.saturating_sub(asked.elapsed());
            match tokio::time::timeout(left, self.announcer.announced()).await {
                Ok(settled) => self.settle(&settled?),
                // Not confirmed, so it is announced again after the next start.
                Err(_) => break,
            }
        }
        self.confirm();
        self.keeper.close().await;
        let confirmed = self.progress.confirmable().lsn;
        let metrics = self.client.metrics();
        let reporting = Instant::now();
        while metrics.last_applied_lsn() < confirmed && reporting.elapsed() < REPORT_TIMEOUT {
            tokio::time::sleep(REPORT_PAUSE).await;
        }
        // The connection ends with the client; what it still had to say is not needed.
        let _ = tokio::time::timeout(REPORT_TIMEOUT, self.client.shutdown()).await;
        tracing::info!(all = self.progress.is_settled(), "stopped; Kafka has what was read");
        Ok(())
    }
}

/// The span of a record on its way, for a row that is part of a trace; none costs nothing.
fn span_of(row: &DeliveryText, record: &Record) -> Option<Span> {
    let traceparent = Some(row.traceparent.as_deref()?);
    let text = |column: &Option<String>| column.clone().unwrap_or_default();
    let about = spans::Delivery {
        delivery: &record.delivery,
        event: &format_args!("evt_{}", text(&row.event_id)),
        endpoint: &record.endpoint,
        merchant: &text(&row.merchant_id),
        object: &text(&row.object_id),
        traceparent,
    };
    Some(spans::publish(crate::topics::EVENTS, about))
}

/// PostgreSQL counts microseconds since 2000.
fn postgres_time(micros: i64) -> OffsetDateTime {
    const EPOCH: OffsetDateTime = time::macros::datetime!(2000-01-01 00:00 UTC);
    EPOCH.checked_add(time::Duration::microseconds(micros)).unwrap_or(EPOCH)
}
