//! Parked records: what could not be understood, kept for a person.
//!
//! A record or a row that nobody can read comes in, with where it stood and why; it lies in
//! `parked_records` until somebody looks. It is never dropped because it looks odd, and it never
//! stops what comes after it. Parking the same one twice changes nothing.

use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, StoreError};

/// Bytes of a value that are kept: enough to see whose it is, little enough for a flood of them.
const EXCERPT_BYTES_MAX: usize = 4096;
/// Characters of a key that are kept; ours have 39.
const KEY_CHARS_MAX: usize = 256;
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 1024;

/// What is to be parked.
#[derive(Debug, Clone, Copy)]
pub struct ParkedRecord<'a> {
    /// The topic, or what stands for one when the record never came to a topic.
    pub topic: &'a str,
    /// The partition; −1 without one.
    pub partition: i32,
    /// The record's offset in its partition; without one, its position in its source.
    pub offset: i64,
    /// The key as it came; bytes that are no text are replaced.
    pub key: &'a [u8],
    /// The whole value: its digest is taken here, its beginning is kept.
    pub value: &'a [u8],
    /// Why it could not be understood: a sentence.
    pub reason: &'a str,
}

impl Store {
    /// Parks a record; true when it was not there before.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn park(&self, record: ParkedRecord<'_>) -> Result<bool, StoreError> {
        let excerpt = &record.value[..record.value.len().min(EXCERPT_BYTES_MAX)];
        let done = sqlx::query(
            "insert into parked_records
                 (topic, partition, record_offset, digest, key, excerpt, reason)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict on constraint parked_records_once do nothing",
        )
        .bind(record.topic)
        .bind(record.partition)
        .bind(record.offset)
        .bind(Sha256::digest(record.value).as_slice())
        .bind(text(&String::from_utf8_lossy(record.key), KEY_CHARS_MAX))
        .bind(excerpt)
        .bind(text(record.reason, REASON_CHARS_MAX))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

/// A record as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownRecord {
    /// By which it is shown.
    pub id: Uuid,
    /// The topic, or what stands for one.
    pub topic: String,
    /// The partition; −1 without one.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// The key; bytes that were no text are replaced.
    pub key: String,
    /// The beginning of the value.
    pub excerpt: Vec<u8>,
    /// Why it could not be understood.
    pub reason: String,
    /// When it was parked.
    pub parked_at: OffsetDateTime,
}

impl Store {
    /// The `limit` records that were parked last, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn parked_records(&self, limit: u16) -> Result<Vec<ShownRecord>, StoreError> {
        let rows = sqlx::query("select * from parked_records order by id desc limit $1")
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(shown_of).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn parked_record(&self, id: Uuid) -> Result<Option<ShownRecord>, StoreError> {
        let row = sqlx::query("select * from parked_records where id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(shown_of).transpose()
    }
}

fn shown_of(row: &PgRow) -> Result<ShownRecord, StoreError> {
    Ok(ShownRecord {
        id: row.try_get("id")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        offset: row.try_get("record_offset")?,
        key: row.try_get("key")?,
        excerpt: row.try_get("excerpt")?,
        reason: row.try_get("reason")?,
        parked_at: row.try_get("parked_at")?,
    })
}

/// A text that PostgreSQL takes: bounded, and without the one character that it refuses.
fn text(raw: &str, chars_max: usize) -> String {
    raw.chars().take(chars_max).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_bytes_becomes_a_text_that_postgresql_takes() {
        assert_eq!(text(&String::from_utf8_lossy(b"ep_\0\xff"), 10), "ep_\u{fffd}\u{fffd}");
        assert_eq!(text(&"x".repeat(2000), KEY_CHARS_MAX).len(), KEY_CHARS_MAX);
    }
}
