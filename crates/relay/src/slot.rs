//! The replication slot: found, judged, and made anew when it is gone.
//!
//! PostgreSQL keeps the WAL that a slot has not confirmed, so nothing is lost while the slot is
//! there. When it is not, what it would have held must be announced again: that debt is written
//! down before the new slot is made, so that a crash between the two forgets nothing. What must
//! never happen: a new slot without the debt; a slot taken from somebody who streams.

use std::time::Duration;

use bytes::Bytes;
use pgwire_replication::client::ReplicationClient;
use pgwire_replication::config::ReplicationConfig;
use store::Store;

use crate::error::Error;

/// What is streamed; the migrations create it. It must be older than the slot: the slot can never
/// be read otherwise.
pub(crate) const PUBLICATION: &str = "posthorn_deliveries";
/// Longest wait for one answer of the server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

type Row = Vec<Option<Bytes>>;

/// A slot as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Missing,
    Usable,
    /// There, and worth nothing.
    Lost,
}

/// Opens a replication connection whose slot exists and is free; streaming has not begun.
///
/// `unusable`: the last stream said that the slot can never be read again.
pub(crate) async fn open(
    config: ReplicationConfig,
    store: &Store,
    unusable: bool,
) -> Result<ReplicationClient, Error> {
    let slot = config.slot.clone();
    let mut client = ReplicationClient::connect_gated(config).await?;
    let publication = format!("select 1 from pg_publication where pubname = '{PUBLICATION}'");
    if ask(&mut client, "looking for the publication", &publication).await?.is_empty() {
        return Err(Error::NoPublication(PUBLICATION));
    }
    let found = match find(&mut client, &slot).await? {
        Found::Usable if unusable => Found::Lost,
        found => found,
    };
    match found {
        Found::Usable => return Ok(client),
        Found::Missing => tracing::warn!(
            slot,
            "the replication slot is not there: creating it, and announcing again what waits"
        ),
        Found::Lost => tracing::error!(
            slot,
            "the replication slot is lost, and with it WAL that was not announced: \
             making it anew, and announcing again what waits and what finished meanwhile"
        ),
    }
    store.relay_owes(&slot).await?;
    if found == Found::Lost {
        let drop = format!("select pg_drop_replication_slot('{slot}')");
        ask(&mut client, "dropping the slot", &drop).await?;
    }
    // Waits until the transactions that write now have ended, however long that takes.
    tracing::info!(slot, "creating the slot; it waits for the transactions that are open");
    client
        .simple_query(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"))
        .await?;
    tracing::info!(slot, "created the slot");
    Ok(client)
}

/// Starts streaming from where the slot was confirmed.
pub(crate) async fn start(client: &mut ReplicationClient) -> Result<(), Error> {
    client.start().await?;
    within("starting the stream", client.wait_started()).await
}

async fn find(client: &mut ReplicationClient, slot: &str) -> Result<Found, Error> {
    let rows = ask(
        client,
        "looking for the slot",
        &format!(
            "select s.wal_status, s.plugin, s.database, current_database(), s.active_pid,
                    a.application_name, a.client_addr
             from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid
             where s.slot_name = '{slot}'"
        ),
    )
    .await?;
    let Some(row) = rows.first() else { return Ok(Found::Missing) };
    let column = |index: usize| {
        row.get(index).and_then(Option::as_ref).map(|text| String::from_utf8_lossy(text))
    };
    let (plugin, database, ours) = (column(1), column(2), column(3));
    if plugin.as_deref() != Some("pgoutput") || database != ours {
        let owner = match (plugin, database) {
            (Some(plugin), Some(database)) => format!("the database `{database}` ({plugin})"),
            _ => "physical replication".to_owned(),
        };
        return Err(Error::SlotForeign { slot: slot.to_owned(), owner });
    }
    if let Some(pid) = column(4) {
        let name = column(5).unwrap_or_default();
        let address = column(6).unwrap_or("a local connection".into());
        let holder = format!("process {pid} of PostgreSQL, for `{name}` at {address}");
        return Err(Error::SlotHeld { slot: slot.to_owned(), holder });
    }
    Ok(if column(0).as_deref() == Some("lost") { Found::Lost } else { Found::Usable })
}

async fn ask(
    client: &mut ReplicationClient,
    step: &'static str,
    sql: &str,
) -> Result<Vec<Row>, Error> {
    within(step, client.simple_query(sql)).await
}

async fn within<T>(
    step: &'static str,
    answer: impl Future<Output = pgwire_replication::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::ReplicationTimeout { step, limit: ANSWER_TIMEOUT }),
    }
}
