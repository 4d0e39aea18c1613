//! Statements that are answered in time, or end.
//!
//! PostgreSQL ends a statement that takes too long, unless it is frozen, or a connection was lost and
//! nobody said so: then the answer never comes. The limit here is ours, a little longer than the
//! server's. What must never happen: a connection that still owes an answer goes back to the pool,
//! which would wait for it as well, and have one less for as long.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};

/// Longest wait for an answer. The server's own limit for a statement comes first, as a rule, and says
/// more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// The pool, as statements see it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Pool(pub(crate) PgPool);

impl Pool {
    /// A connection for a transaction that has begun; it ends with the value.
    pub(crate) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let mut held = self.hold().await?;
        held.answer(async |connection| connection.execute("begin").await).await?;
        held.is_idle = false;
        Ok(Tx(held))
    }

    /// A connection that is none of the pool's any more.
    pub(crate) async fn detach(&self) -> Result<PgConnection, sqlx::Error> {
        Ok(self.0.acquire().await?.detach())
    }

    async fn hold(&self) -> Result<Held, sqlx::Error> {
        Ok(Held { connection: self.0.acquire().await?, is_idle: true })
    }
}

/// What `asked` comes to, an error when nothing comes in time.
pub(crate) async fn in_time<T, E: From<sqlx::Error>>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or_else(|_| {
        let seconds = ANSWER_TIMEOUT.as_secs();
        let why = format!("no answer within {seconds} s, the connection is given up");
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, why);
        Err(sqlx::Error::from(late).into())
    })
}

/// A connection of the pool: it goes back when it owes no answer, and is closed otherwise.
#[derive(Debug)]
struct Held {
    connection: PoolConnection<Postgres>,
    is_idle: bool,
}

impl Held {
    async fn answer<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let was_idle = std::mem::take(&mut self.is_idle);
        let answer = in_time(ask(&mut self.connection)).await;
        // A refusal is an answer.
        self.is_idle = was_idle && matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)));
        answer
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_idle {
            self.connection.close_on_drop();
        }
    }
}

/// A transaction. One that is dropped without a commit is rolled back, its connection closed.
#[derive(Debug)]
pub(crate) struct Tx(Held);

impl Tx {
    /// Commits it.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.0.is_idle = true;
        self.0.answer(async |connection| connection.execute("commit").await).await.map(drop)
    }

    /// Rolls it back, in order.
    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        self.0.is_idle = true;
        self.0.answer(async |connection| connection.execute("rollback").await).await.map(drop)
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0.connection
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let all = async move {
            let mut held = pool.hold().await?;
            let rows = held.answer(async |it| it.fetch_many(query).try_collect::<Vec<_>>().await);
            Ok::<_, sqlx::Error>(stream::iter(rows.await?.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move {
            pool.hold().await?.answer(async |it| it.fetch_optional(query).await).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move {
            pool.hold().await?.answer(async |it| it.prepare_with(sql, parameters).await).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.hold().await?.answer(async |it| it.describe(sql).await).await })
    }
}
