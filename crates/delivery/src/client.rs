//! The client: one request in, one attempt out.
//!
//! The steps are in the order in which they may refuse: URL, secret, payload, a free place, the
//! address, the exchange. The deadline is around everything that a receiver can delay; what was
//! found out before it struck is kept. There is no retry here: the only second connection is for a
//! request of which nothing had been sent.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use domain::Fault;
use domain::guard::{AllowedNetworks, CanonicalUrl, UrlPolicy, check_url};
use rustls::pki_types::CertificateDer;
use tracing::Instrument as _;

use crate::answer::Answer;
use crate::attempt::{Attempt, Code};
use crate::connection::{Connection, SendError};
use crate::dial::{Dialer, micros};
use crate::failure::Failure;
use crate::gate::{Gate, Place};
use crate::limits::{
    ATTEMPT_TIMEOUT_MAX, CONCURRENT_ATTEMPTS, CONCURRENT_ATTEMPTS_PER_ENDPOINT, CONNECT_TIMEOUT,
    PLACE_TIMEOUT, READY_TIMEOUT,
};
use crate::message::message;
use crate::names::Names;
use crate::pool::{Pool, PoolKey};
use crate::proxy::EgressProxy;
use crate::record::Record;
use crate::request::Request;
use crate::span;
use crate::tls::{self, TlsError};

/// What a client is made of; [`crate::Config::client_config`] makes one from the options.
pub struct ClientConfig {
    /// Which URLs may be called.
    pub url_policy: UrlPolicy,
    /// Which addresses may be connected to.
    pub networks: AllowedNetworks,
    /// Who resolves names.
    pub names: Names,
    /// Through which every merchant is reached; none: directly.
    pub proxy: Option<EgressProxy>,
    /// Authorities to trust beside the public ones.
    pub extra_authorities: Vec<CertificateDer<'static>>,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// For the whole attempt, whatever a request asks for.
    pub attempt_timeout_max: Duration,
    /// Attempts in flight in all.
    pub concurrent_attempts: usize,
    /// Attempts in flight per endpoint.
    pub concurrent_attempts_per_endpoint: usize,
}

impl ClientConfig {
    /// The strict policy and the bounds of [`crate::limits`].
    pub fn new(names: Names) -> Self {
        Self {
            url_policy: UrlPolicy::default(),
            networks: AllowedNetworks::public_only(),
            names,
            proxy: None,
            extra_authorities: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            attempt_timeout_max: ATTEMPT_TIMEOUT_MAX,
            concurrent_attempts: CONCURRENT_ATTEMPTS,
            concurrent_attempts_per_endpoint: CONCURRENT_ATTEMPTS_PER_ENDPOINT,
        }
    }
}

/// The only HTTP client that may reach a merchant. One per worker; cloning it shares everything.
#[derive(Clone)]
pub struct Client(Arc<Parts>);

struct Parts {
    url_policy: UrlPolicy,
    dialer: Dialer,
    attempt_timeout_max: Duration,
    gate: Gate,
    pool: Arc<Pool>,
}

impl Client {
    /// Makes the client; must be called on a Tokio runtime.
    pub fn new(config: ClientConfig) -> Result<Self, TlsError> {
        let tls = tls::connector(&config.extra_authorities)?;
        Ok(Self(Arc::new(Parts {
            url_policy: config.url_policy,
            dialer: Dialer {
                names: config.names,
                networks: config.networks,
                proxy: config.proxy,
                tls,
                connect_timeout: config.connect_timeout,
            },
            attempt_timeout_max: config.attempt_timeout_max,
            gate: Gate::new(config.concurrent_attempts, config.concurrent_attempts_per_endpoint),
            pool: Pool::start(),
        })))
    }

    /// One attempt. Whatever happens is in what it returns, within the request's timeout and the
    /// wait for a free place.
    pub async fn attempt(&self, request: &Request) -> Attempt {
        let mut record = Record::default();
        let (url, body) = match self.prepare(request) {
            Ok(prepared) => prepared,
            Err(failure) => return record.failed(failure),
        };
        let asked = Instant::now();
        let mut place = match self.place(request).await {
            Ok(place) => place,
            Err(failure) => return record.failed(failure),
        };
        record.split.wait_us = Some(micros(asked.elapsed()));
        record.begun = Instant::now();
        let timeout = self.timeout(request);
        let exchange = self.exchange(request, &url, &body, &mut record);
        let result = place.hold(tokio::time::timeout(timeout, exchange)).await;
        let attempt = match result {
            Ok(Ok(())) => record.answered(request),
            Ok(Err(failure)) => record.failed(failure),
            // With a head the answer is known; only the rest of its body is missing.
            Err(_) if record.answer.is_some() => record.answered(request),
            Err(_) => {
                let failure = self.0.dialer.before_the_proxy(record.address);
                record.failed(failure.unwrap_or_else(|| Failure::timeout(timeout)))
            }
        };
        place.leave(attempt.duration);
        tracing::debug!(
            endpoint_id = %request.endpoint_id, event_id = %request.event_id,
            class = attempt.outcome.class(), status = attempt.outcome.status(),
            code = attempt.detail.code.map(Code::as_str),
            duration_us = micros(attempt.duration), "attempt"
        );
        attempt
    }

    /// Connections that wait for a next request.
    pub fn idle_connections(&self) -> usize {
        self.0.pool.len()
    }

    fn timeout(&self, request: &Request) -> Duration {
        request.timeout.min(self.0.attempt_timeout_max)
    }

    /// What can be refused without asking anybody.
    fn prepare(&self, request: &Request) -> Result<(CanonicalUrl, Bytes), Failure> {
        let url = check_url(&request.url, &self.0.url_policy, &self.0.dialer.networks).map_err(
            |refusal| {
                let code = if refusal.code() == "blocked_ip" {
                    Code::AddressRefused
                } else {
                    Code::UrlRefused
                };
                let sentence = format!("The URL is refused ({}): {refusal}.", refusal.code());
                Failure::fault(Fault::Blocked, code, sentence)
            },
        )?;
        if request.secrets.is_empty() {
            return Err(no_secret());
        }
        let body = request.body().map_err(Failure::payload)?;
        Ok((url, body))
    }

    async fn place(&self, request: &Request) -> Result<Place, Failure> {
        let latest = request.start_by.map_or(PLACE_TIMEOUT, |start_by| {
            start_by.saturating_duration_since(Instant::now()).min(PLACE_TIMEOUT)
        });
        let place =
            tokio::time::timeout(latest, self.0.gate.place(request.endpoint_id, request.is_well))
                .await;
        // A free place is given also to who asks too late: a timeout of nothing polls once.
        let is_in_time = request.start_by.is_none_or(|start_by| Instant::now() <= start_by);
        place.ok().flatten().filter(|_| is_in_time).ok_or_else(|| {
            Failure::fault(
                Fault::Busy,
                Code::Busy,
                "Too many attempts were in flight; no request was made.",
            )
        })
    }

    async fn exchange(
        &self,
        request: &Request,
        url: &CanonicalUrl,
        body: &Bytes,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let key = PoolKey {
            endpoint_id: request.endpoint_id,
            is_https: url.is_https(),
            authority: url.authority().to_owned(),
        };
        let connection = match self.reusable(&key).await {
            Some(mut connection) => {
                record.reused(connection.address);
                match send(&mut connection, url, request, body, record).await {
                    Err(SendError::Unsent) => {
                        drop(connection);
                        self.fresh(request, url, body, record).await?
                    }
                    Err(SendError::Sent(failure)) => return Err(failure),
                    Ok(()) => connection,
                }
            }
            None => self.fresh(request, url, body, record).await?,
        };
        let is_whole = match &mut record.answer {
            Some(answer) => answer.read_body().instrument(record.post.clone()).await,
            None => false,
        };
        record.post_ended();
        if is_whole && !connection.meter.is_used_up() {
            self.0.pool.put(key, connection);
        }
        Ok(())
    }

    /// An idle connection that may still be used: open, with an address that still passes, and done
    /// with the exchange before (an answer may come before its request was taken in whole).
    async fn reusable(&self, key: &PoolKey) -> Option<Connection> {
        let mut connection = self.0.pool.take(key)?;
        let is_allowed = self.0.dialer.may_be_connected_to(connection.address.ip());
        if !is_allowed {
            return None;
        }
        // A fresh one is full, and what its handshakes take counts as well.
        connection.meter.fill_up();
        let is_ready = tokio::time::timeout(READY_TIMEOUT, connection.is_ready()).await;
        is_ready.unwrap_or(false).then_some(connection)
    }

    async fn fresh(
        &self,
        request: &Request,
        url: &CanonicalUrl,
        body: &Bytes,
        record: &mut Record,
    ) -> Result<Connection, Failure> {
        record.reused_connection = false;
        record.address = None;
        let (split, address) = (&mut record.split, &mut record.address);
        let dialled = self.0.dialer.dial(url, self.timeout(request), split, address).await?;
        let mut connection = Connection::open(dialled).await?;
        match send(&mut connection, url, request, body, record).await {
            Ok(()) => Ok(connection),
            Err(SendError::Sent(failure)) => Err(failure),
            Err(SendError::Unsent) => {
                Err(connection.refused_by_tls().unwrap_or_else(Failure::closed))
            }
        }
    }
}

/// Signs, sends, and notes the head of the answer.
async fn send(
    connection: &mut Connection,
    url: &CanonicalUrl,
    request: &Request,
    body: &Bytes,
    record: &mut Record,
) -> Result<(), SendError> {
    let now = SystemTime::now();
    let now_s = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    let message = message(url, request, body.clone(), now_s, connection.is_http2())
        .ok_or_else(|| SendError::Sent(no_secret()))?;
    let begun = Instant::now();
    let is_reused = record.reused_connection;
    record.post = span::post(url, connection.address, is_reused, body.len());
    let response = connection.send(message).instrument(record.post.clone()).await?;
    span::answered(&record.post, response.status().as_u16(), response.version());
    record.split.first_byte_us = Some(micros(begun.elapsed()));
    record.answer = Some(Answer::new(response, SystemTime::now()));
    Ok(())
}

fn no_secret() -> Failure {
    Failure::fault(Fault::Secret, Code::NoSecret, "The endpoint has no secret to sign with.")
}
