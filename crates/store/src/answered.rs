//! Statements that are answered in time, or end.
//!
//! PostgreSQL ends a statement that takes too long, unless it is frozen, or a connection was lost and
//! nobody said so: then the answer never comes. The limit here is ours, a little longer than the
//! server's. What must never happen: a connection that still owes an answer goes back to the pool,
//! which would wait for it as well, and have one less for as long.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::runtime::Handle;

/// Longest wait for an answer. The server's own limit for a statement comes first, as a rule, and says
/// more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// Longest way back to the pool, which asks the connection whether it is alive.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

/// The pool, as statements see it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Pool(pub(crate) PgPool);

impl Pool {
    /// A connection for a transaction that has begun; it ends with the value.
    pub(crate) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let mut held = self.hold().await?;
        held.answer(async |connection| connection.execute("begin").await).await?;
        held.owes = Owes::AnEnd;
        Ok(Tx(held))
    }

    /// A connection that is none of the pool's any more.
    pub(crate) async fn detach(&self) -> Result<PgConnection, sqlx::Error> {
        Ok(self.0.acquire().await?.detach())
    }

    async fn hold(&self) -> Result<Held, sqlx::Error> {
        Ok(Held { connection: self.0.acquire().await?, owes: Owes::Nothing })
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

/// What is missing before somebody else may have the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owes {
    Nothing,
    /// Of its transaction.
    AnEnd,
    AnAnswer,
}

/// A connection of the pool: it goes back when it owes nothing, and is closed otherwise.
#[derive(Debug)]
struct Held {
    connection: PoolConnection<Postgres>,
    owes: Owes,
}

impl Held {
    async fn answer<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let owed = std::mem::replace(&mut self.owes, Owes::AnAnswer);
        if owed == Owes::AnAnswer {
            return Err(sqlx::Error::Protocol("the statement before was given up".to_owned()));
        }
        let answer = in_time(ask(&mut self.connection)).await;
        // A refusal is an answer.
        if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
            self.owes = owed;
        }
        answer
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.owes != Owes::Nothing {
            self.connection.close_on_drop();
            return;
        }
        let back = self.connection.return_to_pool();
        if let Ok(runtime) = Handle::try_current() {
            // One that is given up on its way is closed, and another one takes its place.
            runtime.spawn(async { tokio::time::timeout(RETURN_TIMEOUT, back).await });
        }
    }
}

/// A transaction. One that is dropped without a commit is rolled back, its connection closed.
#[derive(Debug)]
pub(crate) struct Tx(Held);

impl Tx {
    /// Commits it.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("commit").await
    }

    /// Rolls it back, in order.
    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("rollback").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        self.0.answer(async |connection| connection.execute(how).await).await?;
        self.0.owes = Owes::Nothing;
        Ok(())
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

impl<'t> Executor<'t> for &'t mut Tx {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        't: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let all = async move {
            let rows = self.0.answer(async |it| it.fetch_many(query).try_collect::<Vec<_>>().await);
            Ok::<_, sqlx::Error>(stream::iter(rows.await?.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        't: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(self.0.answer(async |it| it.fetch_optional(query).await))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        't: 'e,
    {
        Box::pin(self.0.answer(async |it| it.prepare_with(sql, parameters).await))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        't: 'e,
    {
        Box::pin(self.0.answer(async |it| it.describe(sql).await))
    }
}
