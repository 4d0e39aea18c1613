//! What the database accepts can be read and sent: its constraints are as narrow as the types.
//!
//! Each constraint is asked in the database itself, as it stands there.

use anyhow::{Context, ensure};
use domain::{Amount, Currency, EventType, PaymentStatus};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::{merchant, shared_lab};

/// Those of `values` that the constraint `name` on `column` lets pass.
async fn accepted<T>(
    db: &mut PgConnection,
    name: &str,
    column: &str,
    values: Vec<T>,
) -> anyhow::Result<Vec<T>>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Unpin + Send,
    Vec<T>: for<'q> sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let rule: String = sqlx::query_scalar(
        "select pg_get_expr(conbin, conrelid) from pg_constraint where conname = $1",
    )
    .bind(name)
    .fetch_one(&mut *db)
    .await?;
    let ask = format!("select {column} from unnest($1) as t({column}) where {rule}");
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(ask)).bind(values).fetch_all(db).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_database_accepts_can_be_read_and_no_other() -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&shared_lab().await?.database_url()?).await?;
    let db = &mut db;
    let amounts = vec![i64::MIN, -1, 0, 1, Amount::MAX, Amount::MAX + 1, i64::MAX];
    let good = accepted(db, "payments_amount_range", "amount", amounts).await?;
    ensure!(good == [1, Amount::MAX], "{good:?}");

    let letters = || ('A'..='Z').chain(['a']);
    let codes: Vec<String> = letters()
        .flat_map(|a| letters().map(move |b| (a, b)))
        .flat_map(|(a, b)| letters().map(move |c| [a, b, c].iter().collect()))
        .collect();
    let is_stored =
        |code: &String| Currency::try_from(code.as_str()).is_ok_and(|c| c.code() == code);
    let of_the_domain: Vec<String> = codes.iter().filter(|code| is_stored(code)).cloned().collect();
    ensure!(of_the_domain.len() > 100, "{of_the_domain:?}");
    let good = accepted(db, "payments_currency_known", "currency", codes).await?;
    ensure!(good == of_the_domain, "{good:?}");

    let states = ["pending", "succeeded", "failed", "cancelled", "refunded", "disputed", ""];
    let states = states.map(str::to_owned).to_vec();
    let good = accepted(db, "payments_status_known", "status", states).await?;
    ensure!(good == PaymentStatus::ALL.map(|status| status.as_str().to_owned()), "{good:?}");
    Ok(())
}

/// Every column with a time that a user can write and a role reads.
const TIMES: &[(&str, &str)] = &[
    ("merchants", "created_at"),
    ("endpoints", "created_at"),
    ("endpoints", "updated_at"),
    ("payments", "created_at"),
    ("payments", "updated_at"),
    ("domain_events", "occurred_at"),
    ("deliveries", "occurred_at"),
    ("deliveries", "created_at"),
    ("deliveries", "first_attempt_at"),
    ("deliveries", "next_attempt_at"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_no_role_could_read_is_refused_where_it_is_written() -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&shared_lab().await?.database_url()?).await?;
    for (table, column) in TIMES {
        let rule: String = sqlx::query_scalar(
            "select pg_get_expr(conbin, conrelid) from pg_constraint
             where conname = $1 and conrelid = $2::regclass",
        )
        .bind(format!("{table}_{column}_range"))
        .bind(table)
        .fetch_one(&mut db)
        .await
        .with_context(|| format!("{table}.{column} has no bounds"))?;
        let ask = format!(
            "select {column} from unnest(array['infinity', '-infinity', '1999-12-31 23:59:59Z',
                 '2000-01-01Z', '9999-12-31 23:59:59.999999Z', '10000-01-01Z', '20000-01-01Z'
             ]::timestamptz[]) as t({column}) where {rule}"
        );
        let good: Vec<OffsetDateTime> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(ask)).fetch_all(&mut db).await?;
        let years: Vec<i32> = good.iter().map(|time| time.year()).collect();
        ensure!(years == [2000, 9999], "{table}.{column}: {good:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_event_that_the_database_accepts_makes_a_body_that_is_sent()
-> anyhow::Result<()> {
    let mut db = PgConnection::connect(&shared_lab().await?.database_url()?).await?;
    let event_type = "t".repeat(EventType::LENGTH_MAX);
    let merchant = merchant("bounds");
    // JSON's text of one string: no blank in it that the body would leave out.
    let insert = "insert into domain_events (event_type, object_id, merchant_id, payload)
         values ($1, 'x', $2, to_jsonb(repeat('x', $3 - 2)))
         returning payload::text, occurred_at";
    let envelope =
        delivery::body(&EventType::try_from(event_type.clone())?, OffsetDateTime::UNIX_EPOCH, b"0")
            .map_or(0, |body| body.len() - 1);
    let largest = delivery::limits::REQUEST_BODY_BYTES_MAX - envelope;
    let size = i32::try_from(largest)?;
    let (payload, at): (String, OffsetDateTime) = sqlx::query_as(insert)
        .bind(&event_type)
        .bind(&merchant)
        .bind(size)
        .fetch_one(&mut db)
        .await?;
    ensure!(payload.len() == largest);
    let body = delivery::body(&EventType::try_from(event_type.clone())?, at, payload.as_bytes());
    let bytes = body.map(|body| body.len());
    ensure!(bytes == Ok(delivery::limits::REQUEST_BODY_BYTES_MAX), "{bytes:?}");
    let larger =
        sqlx::query(insert).bind(&event_type).bind(&merchant).bind(size + 1).execute(&mut db).await;
    let refused = larger.err().context("a larger one was accepted")?;
    let by = refused.as_database_error().and_then(|error| error.constraint());
    ensure!(by == Some("domain_events_payload_size"), "{refused}");
    Ok(())
}
