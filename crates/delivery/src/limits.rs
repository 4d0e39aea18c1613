//! Every bound of an attempt, each with its reason.
//!
//! What a receiver does can cost at most this: nothing in this crate waits, reads or keeps
//! anything without one of these numbers.

use std::time::Duration;

/// Longest time to resolve a name. A resolver that needs longer is down.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest time for the question whether our own name servers answer at all, which is asked when a
/// name could not be resolved.
pub const DNS_CONTROL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time for TCP and TLS together: a packet lost twice still fits.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the first address of a host is tried alone before the next one joins (RFC 8305 says
/// 250 ms): an IPv6 route that swallows packets must not use up the whole connect time.
pub const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// The whole attempt, from the name's resolution to the last byte of the answer that is read,
/// when the endpoint does not say otherwise. Standard Webhooks recommends 15 to 30 s.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// The most that an endpoint may ask for: an ordered endpoint waits behind each attempt.
pub const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Longest wait for a free place among the attempts in flight. The caller looked at the endpoint
/// before it asked, and what it saw goes stale.
pub const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most addresses of one name that are looked at; a name with more is not a merchant's.
pub const ADDRESSES_MAX: usize = 16;

/// Most addresses of one name that are dialled in one attempt.
pub const DIALLED_MAX: usize = 4;

/// Largest request body. Larger payloads are refused, never cut.
pub const REQUEST_BODY_BYTES_MAX: usize = 256 * 1024;

/// Largest head of an answer: what common servers and proxies take.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Most header lines of an answer.
pub const RESPONSE_HEADER_LINES_MAX: usize = 100;

/// How much of an answer's body is read, so that a usual answer ends and its connection can be
/// used again. Beyond it the connection is closed.
pub const RESPONSE_BODY_READ_BYTES_MAX: usize = 64 * 1024;

/// How much of an answer's body is kept, as text that is safe to print.
pub const EXCERPT_BYTES_MAX: usize = 4 * 1024;

/// Most bytes that one attempt may receive on its connection, TLS included. It ends what stays
/// within each single bound and never stops: interim answers, empty frames, chunk extensions.
pub const RECEIVED_BYTES_MAX: usize = 256 * 1024;

/// Most heads that one answer by HTTP/2 may have: some interim ones, its own, its trailer. All that
/// come in one rush are unpacked before the first is thrown away.
pub const HTTP2_HEADS_MAX: usize = 6;

/// Attempts in flight in all, per worker: with the bounds above at most about 600 KiB each, in
/// practice about 20.
pub const CONCURRENT_ATTEMPTS: usize = 1024;

/// Attempts in flight per endpoint: the most lanes that an unordered endpoint can be given.
pub const CONCURRENT_ATTEMPTS_PER_ENDPOINT: usize = 32;

/// Largest head of an egress proxy's answer.
pub const PROXY_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Of all places, one in so many is kept for endpoints that answered promptly the last time; as
/// many again are added for attempts that began in a kept place and outlived [`PROMPT`].
pub const PROMPT_SHARE: usize = 4;

/// An answer that took at most this long was prompt.
pub const PROMPT: Duration = Duration::from_secs(2);

/// Endpoints whose last answer is remembered; about 100 bytes each.
pub const REMEMBERED_ENDPOINTS_MAX: usize = 100_000;

/// How long a connection waits for its next request: less than the 5 s after which the most
/// impatient common servers (Node, Apache) hang up, so that we rarely write into a closed one.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(4);

/// How long an idle connection may need to be ready; a new one takes about as long.
pub const READY_TIMEOUT: Duration = Duration::from_millis(20);

/// Idle connections kept per endpoint and in all.
pub const IDLE_CONNECTIONS_PER_ENDPOINT_MAX: usize = 2;
/// See [`IDLE_CONNECTIONS_PER_ENDPOINT_MAX`]; each costs a file descriptor and about 20 KiB.
pub const IDLE_CONNECTIONS_MAX: usize = 512;

/// `Retry-After` is honoured from here …
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// … to here; what is longer is shortened to it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// What is longer than this is absurd and ignored: a date that went wrong, an attack.
pub const RETRY_AFTER_ABSURD: Duration = Duration::from_secs(24 * 3600);

/// Custom headers of an endpoint: how many, how long their names, their values, all of them.
pub const CUSTOM_HEADERS_MAX: usize = 10;
/// See [`CUSTOM_HEADERS_MAX`].
pub const CUSTOM_HEADER_NAME_BYTES_MAX: usize = 64;
/// See [`CUSTOM_HEADERS_MAX`].
pub const CUSTOM_HEADER_VALUE_BYTES_MAX: usize = 1024;
/// See [`CUSTOM_HEADERS_MAX`]: servers refuse heads of more than 8 KiB.
pub const CUSTOM_HEADERS_BYTES_MAX: usize = 4 * 1024;
