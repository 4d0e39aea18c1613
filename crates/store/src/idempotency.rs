//! Writes that happen once per key of the caller's.
//!
//! A write and its answer are kept by one statement, hence in one transaction and one round trip:
//! either both are there or neither. Who repeats a key while the first is still at it waits for
//! it at the table's primary key; then its own statement fails as a whole and it is given the
//! first one's answer. What must never happen here: a second effect of one key, or an answer
//! without its effect.

use domain::Invalid;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use crate::{Alone, Store, StoreError};

/// A write's statement: the trace is set first, for the triggers; nothing is made when the key has
/// an answer; what is made is kept as the key's answer. `$1` to `$5` are the frame's, the
/// operation's own parameters begin with `$6`; it brings the CTE `made`, which reads from `trace`,
/// looks at `answered` and returns rows of the operation's table.
macro_rules! write_once {
    ($made:literal) => {
        concat!(
            "with trace as materialized (
                 select set_config('posthorn.traceparent', $1, true)),
             answered as materialized (
                 select from idempotency_keys
                 where operation = $2 and merchant_id = $3 and key = $4
                   and created_at > now() - interval '24 hours'),
             ",
            $made,
            ", kept as (
                 insert into idempotency_keys (operation, merchant_id, key, request_hash, response)
                 select $2, $3, $4, $5, to_jsonb(made) from made where $4 is not null)
             select * from made"
        )
    };
}
pub(crate) use write_once;

/// Reads a kept answer as the row that it was.
macro_rules! answer_of {
    ($table:literal) => {
        concat!(
            "select held.request_hash, answer.*
             from idempotency_keys held, jsonb_populate_record(null::",
            $table,
            ", held.response) answer
             where held.operation = $1 and held.merchant_id = $2 and held.key = $3
               and held.created_at > now() - interval '24 hours'"
        )
    };
}
pub(crate) use answer_of;

/// How often a write is begun again because its key's answer was too old: once, unless others
/// repeat the same old key at the same moment.
const ATTEMPTS_MAX: usize = 3;

/// What goes with every write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Write<'a> {
    /// The trace that the rows shall carry; what is no W3C `traceparent` counts as none.
    pub traceparent: Option<&'a str>,
    /// The caller's key, if it gave one.
    pub once: Option<Once<'a>>,
}

/// A key of the caller's.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// Whose key it is; a merchant's id, or nothing for an operator.
    pub caller: &'a str,
    /// The key: 1 to 255 printable ASCII characters, valid for 24 hours.
    pub key: &'a str,
    /// SHA-256 of what is asked for: tells a repeat from another request under the same key.
    pub digest: &'a [u8; 32],
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written<T> {
    /// It was done.
    Now(T),
    /// It had been done under this key; this is what was answered then.
    Before(T),
    /// The key stands for another request. Nothing was done.
    OtherRequest,
    /// No row was such that it could be done. Nothing was done.
    Nothing,
}

/// The statements of one kind of write, and how its rows are read.
pub(crate) struct Operation<T> {
    /// Its name in `idempotency_keys`; never changes.
    pub name: &'static str,
    /// Made by `write_once!`.
    pub statement: &'static str,
    /// Made by `answer_of!`, for the same table.
    pub answer: &'static str,
    pub read: fn(&PgRow) -> Result<T, StoreError>,
}

pub(crate) type Bound<'q> = Query<'q, Postgres, PgArguments>;

impl Store {
    /// Does `operation` once; `bind` adds its own parameters, from `$6` on.
    pub(crate) async fn write<T>(
        &self,
        write: &Write<'_>,
        operation: &Operation<T>,
        bind: impl Fn(Bound<'static>) -> Bound<'static>,
    ) -> Result<Written<T>, StoreError> {
        let mut attempt = 1;
        loop {
            let framed = sqlx::query(operation.statement)
                .bind(write.traceparent.map(str::to_owned))
                .bind(operation.name)
                .bind(write.once.map_or("", |once| once.caller).to_owned())
                .bind(write.once.map(|once| once.key.to_owned()))
                .bind(write.once.map(|once| once.digest.to_vec()));
            let taken =
                match bind(framed).fetch_optional(&self.pool).await.map_err(StoreError::from) {
                    Ok(Some(row)) => return Ok(Written::Now((operation.read)(&row)?)),
                    Ok(None) => None,
                    Err(error) if error.constraint() == Some("idempotency_keys_pkey") => {
                        Some(error)
                    }
                    Err(error) => return Err(error),
                };
            let Some(once) = write.once else { return Ok(Written::Nothing) };
            if let Some(answer) = self.answer(once, operation).await? {
                return Ok(answer);
            }
            match taken {
                None => return Ok(Written::Nothing),
                Some(error) if attempt == ATTEMPTS_MAX => return Err(error),
                Some(_) => self.forget_old_answer(once, operation.name).await?,
            }
            attempt += 1;
        }
    }

    async fn answer<T>(
        &self,
        once: Once<'_>,
        operation: &Operation<T>,
    ) -> Result<Option<Written<T>>, StoreError> {
        let Some(row) = sqlx::query(operation.answer)
            .bind(operation.name)
            .bind(once.caller)
            .bind(once.key)
            .fetch_optional(&self.pool)
            .await?
        else {
            return Ok(None);
        };
        let digest: Vec<u8> = sqlx::Row::try_get(&row, "request_hash")?;
        if digest == once.digest {
            Ok(Some(Written::Before((operation.read)(&row)?)))
        } else {
            Ok(Some(Written::OtherRequest))
        }
    }

    async fn forget_old_answer(
        &self,
        once: Once<'_>,
        operation: &'static str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "delete from idempotency_keys
             where operation = $1 and merchant_id = $2 and key = $3
               and created_at <= now() - interval '24 hours'",
        )
        .bind(operation)
        .bind(once.caller)
        .bind(once.key)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

impl Alone {
    /// Forgets up to `limit` answers that are older than a key is valid; says how many they were.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn forget_old_answers(&self, limit: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "delete from idempotency_keys where ctid = any (array(
                 select ctid from idempotency_keys
                 where created_at <= now() - interval '24 hours'
                 order by created_at limit $1 for update skip locked))",
        )
        .bind(limit)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}

/// A row of `table` that no writer of ours writes.
pub(crate) fn unreadable(table: &'static str) -> impl Fn(Invalid) -> StoreError {
    move |invalid| StoreError::Unreadable { table, what: invalid.to_string() }
}
