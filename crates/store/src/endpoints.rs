//! Endpoints as they are configured, and their sealed secrets. Where an endpoint stands in its
//! work is not told here.
//!
//! A secret enters and leaves sealed: no statement here ever carries one in the clear.

use domain::endpoint::{Ordering, PolicySettings};
use domain::{EndpointId, EventType, MerchantId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::idempotency::{Operation, answer_of, unreadable, write_once};
use crate::secrets::{NewSecret, SecretColumns};
use crate::{Store, StoreError, Write, Written};

/// An endpoint as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Where webhooks go; canonical, as the URL policy left it.
    pub url: String,
    /// Which events it gets; empty: every event of the merchant.
    pub event_types: Vec<EventType>,
    /// Which kinds of secret it has: `v1`, `v1a` or `both`.
    pub signature_scheme: String,
    /// Names of the headers of its own.
    pub header_names: Vec<String>,
    /// Does it get our trace context?
    pub send_traceparent: bool,
    /// In what order its deliveries go out.
    pub ordering: Ordering,
    /// What differs from the default of how it is dealt with.
    pub policy: PolicySettings,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When its configuration last changed.
    pub updated_at: OffsetDateTime,
}

/// An endpoint that is about to be made, with its first secrets.
#[derive(Debug, Clone)]
pub struct NewEndpoint<'a> {
    /// Its id, drawn by the caller: the seal of the secret is bound to it.
    pub id: EndpointId,
    /// Whose it shall be.
    pub merchant_id: &'a MerchantId,
    /// Canonical, accepted by the URL policy.
    pub url: &'a str,
    /// Empty: every event of the merchant.
    pub event_types: &'a [EventType],
    /// Which kinds of secret it has: `v1`, `v1a` or `both`.
    pub signature_scheme: &'a str,
    /// Its secrets, from [`FIRST_SECRET_VERSION`] on.
    pub secrets: &'a [NewSecret],
    /// Names of the headers of its own.
    pub header_names: &'a [String],
    /// The headers, sealed.
    pub headers: Option<&'a SealedSecret>,
    /// Does it get our trace context?
    pub send_traceparent: bool,
    /// In what order its deliveries go out.
    pub ordering: Ordering,
    /// What differs from the default; accepted by the domain.
    pub policy: &'a PolicySettings,
}

/// A secret as it is kept: sealed by a key of the ring, bound to its endpoint and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Which key of the ring sealed it.
    pub key_id: String,
    /// The sealed bytes.
    pub ciphertext: Vec<u8>,
}

/// The version of the secret with which an endpoint begins.
pub const FIRST_SECRET_VERSION: i32 = 1;

const CREATE: Operation<Endpoint> = Operation {
    name: "endpoints.create",
    statement: write_once!(
        "made as (
             insert into endpoints (id, merchant_id, url, event_types, signature_scheme,
                 header_names, headers_key_id, headers_ciphertext, send_traceparent, ordering,
                 policy)
             select $6, $7, $8, $9, $10, $11, $12, $13, $14, $19, $20
             from trace where not exists (select from answered)
             returning *),
         sealed as (
             insert into endpoint_secrets (endpoint_id, version, key_id, ciphertext, public_key)
             select made.id, n.* from made,
                 unnest($15::int[], $16::text[], $17::bytea[], $18::text[]) n)"
    ),
    answer: answer_of!("endpoints"),
    read: endpoint_of,
};

impl Store {
    /// Makes an endpoint with its first secrets.
    ///
    /// # Errors
    /// When the database is away, or by the constraint `endpoints_merchant_exists`.
    pub async fn create_endpoint(
        &self,
        write: &Write<'_>,
        endpoint: &NewEndpoint<'_>,
    ) -> Result<Written<Endpoint>, StoreError> {
        let event_types: Vec<String> =
            endpoint.event_types.iter().map(ToString::to_string).collect();
        let columns = SecretColumns::of(endpoint.secrets);
        self.write(write, &CREATE, |statement| {
            let statement = statement
                .bind(endpoint.id.uuid())
                .bind(endpoint.merchant_id.as_str().to_owned())
                .bind(endpoint.url.to_owned())
                .bind(event_types.clone())
                .bind(endpoint.signature_scheme.to_owned())
                .bind(endpoint.header_names.to_vec())
                .bind(endpoint.headers.map(|sealed| sealed.key_id.clone()))
                .bind(endpoint.headers.map(|sealed| sealed.ciphertext.clone()))
                .bind(endpoint.send_traceparent);
            columns
                .bind(statement)
                .bind(endpoint.ordering.as_str())
                .bind(Json(endpoint.policy.clone()))
        })
        .await
    }

    /// The endpoint as it is now, unless it was deleted.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        sqlx::query("select * from endpoints where id = $1 and deleted_at is null")
            .bind(id.uuid())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(endpoint_of)
            .transpose()
    }

    /// Up to `limit` endpoints of a merchant, the oldest first, from the one after `after` on.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn endpoints(
        &self,
        merchant_id: &MerchantId,
        after: Option<EndpointId>,
        limit: i64,
    ) -> Result<Vec<Endpoint>, StoreError> {
        sqlx::query(
            "select * from endpoints
             where merchant_id = $1 and deleted_at is null and id > $2
             order by id limit $3",
        )
        .bind(merchant_id.as_str())
        .bind(after.map_or(Uuid::nil(), EndpointId::uuid))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(endpoint_of)
        .collect()
    }
}

fn endpoint_of(row: &PgRow) -> Result<Endpoint, StoreError> {
    let unreadable = unreadable("endpoints");
    let event_types: Vec<String> = row.try_get("event_types")?;
    Ok(Endpoint {
        id: row.try_get::<Uuid, _>("id")?.into(),
        merchant_id: MerchantId::try_from(row.try_get::<String, _>("merchant_id")?)
            .map_err(&unreadable)?,
        url: row.try_get("url")?,
        signature_scheme: row.try_get("signature_scheme")?,
        header_names: row.try_get("header_names")?,
        send_traceparent: row.try_get("send_traceparent")?,
        event_types: event_types
            .into_iter()
            .map(EventType::try_from)
            .collect::<Result<_, _>>()
            .map_err(&unreadable)?,
        ordering: Ordering::try_from(row.try_get::<&str, _>("ordering")?).map_err(&unreadable)?,
        policy: row.try_get::<Json<PolicySettings>, _>("policy")?.0,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
