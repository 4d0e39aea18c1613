//! The replication connection: where it goes and how it behaves.
//!
//! The database's URL comes in, the client's configuration goes out. Every option that matters is
//! written out here. What must never happen: a password in a log, a time in another zone.

use std::time::Duration;

use pgwire_replication::ReplicationConfig;
use url::Url;

use crate::error::Error;
use crate::slot::PUBLICATION;

/// How often the server hears of what is confirmed: a stop of the server waits for it.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How often an idle stream reports by itself. Longer than half of `wal_sender_timeout`: then the
/// server asks first, and each side hears of the other.
const IDLE_INTERVAL: Duration = Duration::from_secs(4);
/// Frames read ahead: enough to fill the next batch, little enough for a small process.
const FRAMES_READ_AHEAD: usize = 2048;
/// Longest frame. A row of `deliveries` has less than 2 KiB.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the session is told. `wal_sender_timeout`: a relay that vanished must not hold the slot
/// for a minute. The clocks' format is what the record's reader knows. A creation of the slot
/// waits for older transactions, and a republication for Kafka: no timeout of the role may end it.
const OPTIONS: &str = "-c wal_sender_timeout=5s -c timezone=UTC -c datestyle=ISO,MDY \
                       -c statement_timeout=0 -c idle_session_timeout=0";

/// The client's configuration for the database at `url`.
///
/// # Errors
/// When the URL cannot be read, or asks for what the connection cannot do.
pub(crate) fn replication_config(url: &str, slot: &str) -> Result<ReplicationConfig, Error> {
    // The parser's message never repeats the URL.
    let url = Url::parse(url).map_err(|error| Error::DatabaseUrl(error.to_string()))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(Error::DatabaseUrl("must begin with postgres://".to_owned()));
    }
    let option = |name: &str| {
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    if let Some(mode) = option("sslmode")
        && !matches!(mode.as_str(), "disable" | "allow" | "prefer")
    {
        return Err(Error::DatabaseUrl(format!(
            "sslmode={mode}: the relay's replication connection has no TLS; \
             reach the database over a network that needs none, or through a tunnel"
        )));
    }
    let host = match option("host") {
        Some(host) => host,
        None => text(url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost"))?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let user = match text(url.username())? {
        user if user.is_empty() => "postgres".to_owned(),
        user => user,
    };
    let database = match text(url.path().trim_start_matches('/'))? {
        database if database.is_empty() => user.clone(),
        database => database,
    };
    let password = text(url.password().unwrap_or_default())?;
    Ok(ReplicationConfig::new(host, user, password, database, slot, PUBLICATION)
        .with_port(url.port().unwrap_or(5432))
        .with_status_interval(STATUS_INTERVAL)
        .with_wakeup_interval(IDLE_INTERVAL)
        .with_buffer_size(FRAMES_READ_AHEAD)
        .with_max_message_size(FRAME_BYTES_MAX)
        .with_options(OPTIONS)
        .with_application_name(slot))
}

/// A part of a URL with its `%xx` resolved.
fn text(part: &str) -> Result<String, Error> {
    let broken =
        || Error::DatabaseUrl("a `%` is not followed by two hexadecimal digits".to_owned());
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(broken)?;
        let digits = std::str::from_utf8(digits).map_err(|_| broken())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| broken())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Error::DatabaseUrl("a part is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> ReplicationConfig {
        replication_config(url, "s").expect("is read")
    }

    #[test]
    fn every_part_of_the_url_is_used_and_resolved() {
        let read = config("postgres://us%40er:p%2Fw@db.example:6432/pay%20ments?sslmode=prefer");
        assert_eq!(
            (read.host.as_str(), read.port, read.user.as_str(), read.database.as_str()),
            ("db.example", 6432, "us@er", "pay ments")
        );
        assert_eq!(read.password, "p/w");
    }

    #[test]
    fn what_is_left_out_gets_postgresqls_own_default() {
        let read = config("postgresql://someone@127.0.0.1");
        assert_eq!((read.port, read.database.as_str()), (5432, "someone"));
        assert_eq!(config("postgres:///d?host=/run/postgresql").host, "/run/postgresql");
        assert_eq!(config("postgres://u@[::1]:5433/d").host, "::1");
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_the_password_is_not_repeated() {
        for bad in [
            "nonsense",
            "mysql://u:geheim@h/d",
            "postgres://u:geheim%@h/d",
            "postgres://u:geheim@h/d?sslmode=require",
        ] {
            let error = replication_config(bad, "s").expect_err("refused").to_string();
            assert!(error.starts_with("--database-url: ") && !error.contains("geheim"), "{error}");
        }
    }
}
