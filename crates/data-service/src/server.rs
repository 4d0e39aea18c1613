//! `GET /payload/{payment_id}`: one row read, one JSON object written.
//!
//! 200 the payment, 400 an id that cannot be one, 404 no such payment, 422 a payment whose row
//! cannot be read, 503 the database is away. A caller is never told 404 or 422 because the
//! database did not answer: a delivery would step aside for a payment that can be had. Nor is it
//! told 503 because of one row: the endpoint would stand still behind it.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use domain::{Payment, PaymentId};
use observability::{Health, metrics};
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::view::json_of;
use crate::{Config, ROUTE};

/// Longest that a caller waits for the database. Shorter than the client's own limit, so that the
/// caller hears why instead of running out of time.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often readiness asks the database: one trivial statement, and an outage shows at once.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The part that `/readyz` names.
const DATABASE: &str = "database";

/// Why the role could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database's URL cannot be read.
    #[error("--database-url: {0}")]
    Database(#[from] StoreError),
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Where it should have listened.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("serving: {0}")]
    Serve(#[source] std::io::Error),
}

/// Runs the role until `shutdown`. It starts, and answers 503, while the database is away.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    health.not_ready(DATABASE, "not asked yet");
    let store =
        Store::new(&config.database_url, "posthorn data-service", config.database_connections)?;
    let of_pool = store.clone();
    metrics::pool(move || of_pool.pool_sizes());
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| Error::Listen { address: config.listen, source })?;
    tracing::info!(address = %config.listen, "data service listens");
    let watch = tokio::spawn(watch_database(store.clone(), health.clone(), shutdown.clone()));
    let served = serve(listener, store, &health, shutdown.clone()).await;
    shutdown.cancel();
    let _ = watch.await;
    served
}

async fn serve(
    listener: TcpListener,
    store: Store,
    health: &Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Answers are small and wanted at once: Nagle's algorithm would hold them back.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
    });
    axum::serve(listener, routes(store).merge(health.routes()))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(Error::Serve)
}

fn routes(store: Store) -> Router {
    Router::new().route(ROUTE, get(payload)).with_state(store)
}

async fn payload(store: State<Store>, text: Path<String>) -> Response {
    let began = Instant::now();
    let answer = payload_of(store, text).await;
    metrics::payloads(answer.status().as_u16(), began.elapsed());
    answer
}

async fn payload_of(State(store): State<Store>, Path(text): Path<String>) -> Response {
    let Some(id) = payment_id(&text) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "payment_id: expected pay_ followed by a UUID, or the UUID alone",
        );
    };
    tokio::time::timeout(DATABASE_TIMEOUT, store.payment(id))
        .await
        .map_or_else(|_| database_away("no answer within 2 s"), |found| answer_of(id, found))
}

fn answer_of(id: PaymentId, found: Result<Option<Payment>, StoreError>) -> Response {
    match found {
        Ok(Some(payment)) => match json_of(&payment) {
            Ok(json) => {
                (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], json).into_response()
            }
            Err(error) => unreadable(id, &error.to_string()),
        },
        Ok(None) => refusal(StatusCode::NOT_FOUND, &format!("there is no payment {id}")),
        Err(error) if error.is_of_the_row() => unreadable(id, &error.to_string()),
        Err(error) => database_away(&error.to_string()),
    }
}

/// `pay_<uuid>` as the edges write it, or the bare UUID as the database has it.
fn payment_id(text: &str) -> Option<PaymentId> {
    text.parse().ok().or_else(|| {
        (text.len() == 36).then(|| uuid::Uuid::try_parse(text).ok()).flatten().map(PaymentId::from)
    })
}

fn database_away(reason: &str) -> Response {
    tracing::warn!(reason, "the database did not answer");
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "the database is away; ask again in a moment, and look at PostgreSQL and at \
         POSTHORN_DATABASE_URL if it stays so",
    )
}

fn unreadable(id: PaymentId, what: &str) -> Response {
    tracing::error!(payment = %id, what, "a payment cannot be read");
    refusal(
        StatusCode::UNPROCESSABLE_ENTITY,
        "the payment's row cannot be read; the data service's log says why",
    )
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "error": error }))).into_response()
}

/// Keeps `/readyz` true to what the database answers.
async fn watch_database(store: Store, health: Health, shutdown: CancellationToken) {
    let mut was_ready = None;
    loop {
        let answer = tokio::time::timeout(DATABASE_TIMEOUT, store.ping()).await;
        let is_ready = match answer {
            Ok(Ok(())) => {
                health.ready(DATABASE);
                true
            }
            Ok(Err(error)) => {
                health.not_ready(DATABASE, error.to_string());
                false
            }
            Err(_) => {
                health.not_ready(DATABASE, "no answer within 2 s");
                false
            }
        };
        if was_ready != Some(is_ready) {
            tracing::info!(is_ready, "the database");
            was_ready = Some(is_ready);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PING_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0198c5a4-1111-7abc-8def-0123456789ab";

    #[test]
    fn a_payment_is_named_with_or_without_its_prefix_and_in_no_other_way() {
        assert_eq!(payment_id(&format!("pay_{UUID}")), payment_id(UUID));
        assert!(payment_id(UUID).is_some());
        for bad in ["", "pay_", "pay_1", &format!("ep_{UUID}"), &UUID.replace('-', "")] {
            assert_eq!(payment_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_422_and_one_that_is_not_there_404() {
        let id = PaymentId::from(uuid::Uuid::nil());
        let unreadable = StoreError::Unreadable { table: "payments", what: "amount".to_owned() };
        assert_eq!(answer_of(id, Err(unreadable)).status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer_of(id, Ok(None)).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn an_id_that_cannot_be_one_is_400_and_a_database_that_is_away_is_503_never_404()
    -> anyhow::Result<()> {
        // A listener that is closed again: its port refuses.
        let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let store = Store::new(&format!("postgres://nobody@{closed}/none"), "test", 1)?;
        let bad = payload(State(store.clone()), Path("pay_1".to_owned())).await;
        assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
        let away = payload(State(store), Path(UUID.to_owned())).await;
        assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
        Ok(())
    }

    #[tokio::test]
    async fn the_role_starts_while_the_database_is_away_and_says_that_it_is_not_ready()
    -> anyhow::Result<()> {
        let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let config = Config {
            database_url: format!("postgres://nobody@{closed}/none"),
            listen: TcpListener::bind("127.0.0.1:0").await?.local_addr()?,
            database_connections: 1,
        };
        let role = tokio::spawn(run(config, health.clone(), shutdown.clone()));
        tokio::time::timeout(Duration::from_secs(10), async {
            while !format!("{health:?}").contains("no answer") {
                tokio::task::yield_now().await;
            }
        })
        .await?;
        assert!(!health.is_ready());
        shutdown.cancel();
        role.await??;
        Ok(())
    }
}
