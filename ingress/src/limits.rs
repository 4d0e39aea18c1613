//! Every limit of the two fronts, each with its reason.
//!
//! What is over one of them is refused with a message that names it; nothing waits without end.

use std::time::Duration;

/// Largest request, in bytes: the largest that is of any use (an endpoint with 100 event types of
/// 128 characters and a URL of 2048) is a quarter of it.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest that a request may take. Callers give up about then; the database's own limits
/// (5 s for a connection, 10 s for a statement) come first in most cases.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest that a gRPC request may take when the caller is slow in sending it: a little more, so
/// that an answer of ours wins.
pub(crate) const GRPC_REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// Most requests at work at once, over both fronts. What comes on top would only wait for a
/// connection to the database; it hears that at once instead.
pub(crate) const REQUESTS_AT_ONCE_MAX: usize = 1024;

/// Most open connections of the HTTP/JSON front; a new one waits until another is closed.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 1024;

/// Longest that an HTTP client may take to send a request's headers.
pub(crate) const HTTP_HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of a request's line and headers.
pub(crate) const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// Most requests at once on one HTTP/2 connection.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// A connection on which nothing comes for so long is asked whether it is alive.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// One that does not answer that is closed.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest that requests at work may take to end after the role was asked to stop; whoever started
/// the role waits 15 s.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Items of a page when the caller does not say, and at most.
pub(crate) const PAGE_SIZE_DEFAULT: u16 = 50;
pub(crate) const PAGE_SIZE_MAX: u16 = 200;

/// Most event types of one endpoint: the trigger that fans out compares them one by one.
pub(crate) const EVENT_TYPES_MAX: usize = 100;

/// Longest idempotency key, in characters.
pub(crate) const IDEMPOTENCY_KEY_LENGTH_MAX: usize = 255;

/// How much longer an old secret signs when the caller does not say, and at most: a merchant must
/// have time to deploy the new one, and whoever stole the old one must not have too much.
pub(crate) const OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Most live secrets of one kind: each signs every webhook, and each is one more to be stolen.
pub(crate) const LIVE_SECRETS_MAX: i64 = 3;

/// How often a rotation is begun again because another one was quicker.
pub(crate) const ROTATION_TRIES_MAX: usize = 3;

/// How often the database is asked whether it is there.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// What has not answered by then is away: a frozen server accepts connections and says nothing.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often answers to old idempotency keys are forgotten, and how many in one statement.
pub(crate) const FORGET_INTERVAL: Duration = Duration::from_secs(60);
pub(crate) const FORGET_ANSWERS_MAX: i64 = 10_000;
/// Secrets that have ended are few, and without an index of their own.
pub(crate) const FORGET_SECRETS_MAX: i64 = 1_000;

/// Longest name of who tells an endpoint something; the column takes no more.
pub(crate) const ACTOR_LENGTH_MAX: usize = 200;

/// Lines of the journal's story that a status tells: what a person reads at a glance.
pub(crate) const LAST_EVENTS_MAX: usize = 10;
/// Events that are read at once to tell them, and the fewest among which the last lines are looked
/// for: not every event is told. What one means follows from those before it (is it the first
/// failure, or a probe of an open breaker?), so more are read of an endpoint that failed for longer.
pub(crate) const EVENTS_READ: i64 = 1_000;
