//! An endpoint's secrets: made anew, run out, sealed again under another key.
//!
//! Every statement carries them sealed. A rotation is one transaction: the new ones are there, the
//! old ones have their end, and the configuration has a new version, so that a slice under way
//! looks again. Two rotations at once cannot both draw the same version.

use std::time::Duration;

use domain::EndpointId;
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::idempotency::{Bound, Operation, answer_of, write_once};
use crate::{Alone, FIRST_SECRET_VERSION, SealedSecret, Store, StoreError, Write, Written};

/// A secret that is about to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// Its version within the endpoint; the seal is bound to it.
    pub version: i32,
    /// The secret.
    pub sealed: SealedSecret,
    /// Of an ed25519 secret: what verifies it.
    pub public_key: Option<String>,
}

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSecret {
    /// Its version within the endpoint.
    pub version: i32,
    /// The secret.
    pub sealed: SealedSecret,
    /// Is it an ed25519 key pair?
    pub is_key_pair: bool,
    /// When it ends by itself; none: it is the present one.
    pub expires_at: Option<OffsetDateTime>,
}

/// Secrets that take the place of those that are there.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// Whose they are.
    pub endpoint_id: EndpointId,
    /// `v1`, `v1a` or `both`: which kinds they are.
    pub signature_scheme: &'a str,
    /// The new ones.
    pub secrets: &'a [NewSecret],
    /// How much longer the old ones sign, at most.
    pub overlap: Duration,
    /// Nothing is done when there are so many of a kind already, unless they all end at once.
    pub live_max: i64,
}

/// A rotation that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotatedSecrets {
    /// The lowest version of the new ones.
    pub first_version: i32,
    /// When it was done, by PostgreSQL's clock.
    pub at: OffsetDateTime,
}

/// Something that was sealed with a key of the ring, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedUnder {
    /// Whose it is.
    pub endpoint_id: EndpointId,
    /// The version of the secret; none: the endpoint's headers.
    pub version: Option<i32>,
    /// As it is kept.
    pub sealed: SealedSecret,
}

const ROTATE: Operation<RotatedSecrets> = Operation {
    name: "endpoints.rotate_secret",
    statement: write_once!(
        "touched as (
             update endpoints e set signature_scheme = $7, updated_at = now(),
                 config_version = e.config_version + 1
             from trace
             where e.id = $6 and e.deleted_at is null and not exists (select from answered)
                 and ($8 = 0 or $13 > (
                     select coalesce(max(of_a_kind), 0) from (
                         select count(*) as of_a_kind from endpoint_secrets l
                         where l.endpoint_id = $6
                             and (l.expires_at is null or l.expires_at > now())
                         group by l.public_key is null) kinds))
             returning e.id),
         ending as (
             update endpoint_secrets s set expires_at = now() + make_interval(secs => $8)
             from touched t
             where s.endpoint_id = t.id
                 and (s.expires_at is null or s.expires_at > now() + make_interval(secs => $8))),
         sealed as (
             insert into endpoint_secrets (endpoint_id, version, key_id, ciphertext, public_key)
             select t.id, n.* from touched t,
                 unnest($9::int[], $10::text[], $11::bytea[], $12::text[]) n
             returning *),
         made as (select * from sealed order by version limit 1)"
    ),
    answer: answer_of!("endpoint_secrets"),
    read: |row| {
        Ok(RotatedSecrets {
            first_version: row.try_get("version")?,
            at: row.try_get("created_at")?,
        })
    },
};

impl Store {
    /// The secrets of an endpoint that sign now, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn live_secrets(&self, id: EndpointId) -> Result<Vec<KeptSecret>, StoreError> {
        let rows = sqlx::query(
            "select version, key_id, ciphertext, expires_at, public_key from endpoint_secrets
             where endpoint_id = $1 and (expires_at is null or expires_at > clock_timestamp())
             order by version desc",
        )
        .bind(id.uuid())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(kept_of).collect()
    }

    /// The version of an endpoint's next secret: above all that are kept, also those that ended.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn next_secret_version(&self, id: EndpointId) -> Result<i32, StoreError> {
        let newest: Option<i32> =
            sqlx::query_scalar("select max(version) from endpoint_secrets where endpoint_id = $1")
                .bind(id.uuid())
                .fetch_one(&self.pool)
                .await?;
        Ok(newest.map_or(FIRST_SECRET_VERSION, |newest| newest.saturating_add(1)))
    }

    /// The secrets that were made in one transaction, of which `first_version` is the first: what
    /// the answer to their making shows.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn secrets_made_together(
        &self,
        id: EndpointId,
        first_version: i32,
    ) -> Result<Vec<KeptSecret>, StoreError> {
        let rows = sqlx::query(
            "select s.version, s.key_id, s.ciphertext, s.expires_at, s.public_key
             from endpoint_secrets f join endpoint_secrets s using (endpoint_id, created_at)
             where f.endpoint_id = $1 and f.version = $2
             order by s.version",
        )
        .bind(id.uuid())
        .bind(first_version)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(kept_of).collect()
    }

    /// Puts new secrets in the place of those that are there; nothing when there is no such
    /// endpoint, or too many of them.
    ///
    /// # Errors
    /// When the database is away, or by the constraint `endpoint_secrets_pkey`: another rotation
    /// came first.
    pub async fn rotate_secrets(
        &self,
        write: &Write<'_>,
        rotation: &Rotation<'_>,
    ) -> Result<Written<RotatedSecrets>, StoreError> {
        let columns = SecretColumns::of(rotation.secrets);
        self.write(write, &ROTATE, |statement| {
            let statement = statement
                .bind(rotation.endpoint_id.uuid())
                .bind(rotation.signature_scheme.to_owned())
                .bind(rotation.overlap.as_secs_f64());
            columns.bind(statement).bind(rotation.live_max)
        })
        .await
    }
}

impl Alone {
    /// Forgets up to `limit` secrets that ended more than a day ago: they sign nothing any more.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn forget_ended_secrets(&self, limit: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "delete from endpoint_secrets where ctid = any (array(
                 select ctid from endpoint_secrets
                 where expires_at < now() - interval '1 day' limit $1 for update skip locked))",
        )
        .bind(limit)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}

impl Store {
    /// Up to `limit` of what is sealed with another key than `key_id`, beyond `after`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn sealed_with_another_key(
        &self,
        key_id: &str,
        after: Option<(EndpointId, Option<i32>)>,
        limit: i64,
    ) -> Result<Vec<SealedUnder>, StoreError> {
        let (after_id, after_version) =
            after.map_or((Uuid::nil(), -1), |(id, version)| (id.uuid(), version.unwrap_or(0)));
        let rows = sqlx::query(
            "select * from (
                 select id as endpoint_id, 0 as version, headers_key_id as key_id,
                     headers_ciphertext as ciphertext
                 from endpoints where headers_key_id <> $1
                 union all
                 select endpoint_id, version, key_id, ciphertext
                 from endpoint_secrets where key_id <> $1
             ) sealed
             where (endpoint_id, version) > ($2, $3)
             order by endpoint_id, version limit $4",
        )
        .bind(key_id)
        .bind(after_id)
        .bind(after_version)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let version: i32 = row.try_get("version")?;
                Ok(SealedUnder {
                    endpoint_id: row.try_get::<Uuid, _>("endpoint_id")?.into(),
                    version: (version > 0).then_some(version),
                    sealed: sealed_of(row)?,
                })
            })
            .collect()
    }

    /// Keeps `sealed` in the place of `old`; false when something else stands there by now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn seal_again(
        &self,
        old: &SealedUnder,
        sealed: &SealedSecret,
    ) -> Result<bool, StoreError> {
        let statement = match old.version {
            Some(version) => sqlx::query(
                "update endpoint_secrets set key_id = $1, ciphertext = $2
                 where endpoint_id = $3 and ciphertext = $4 and version = $5",
            )
            .bind(&sealed.key_id)
            .bind(&sealed.ciphertext)
            .bind(old.endpoint_id.uuid())
            .bind(&old.sealed.ciphertext)
            .bind(version),
            None => sqlx::query(
                "update endpoints set headers_key_id = $1, headers_ciphertext = $2
                 where id = $3 and headers_ciphertext = $4",
            )
            .bind(&sealed.key_id)
            .bind(&sealed.ciphertext)
            .bind(old.endpoint_id.uuid())
            .bind(&old.sealed.ciphertext),
        };
        Ok(statement.execute(&self.pool).await?.rows_affected() == 1)
    }
}

/// New secrets as columns, for `unnest`: versions, key ids, ciphertexts, public keys.
pub(crate) struct SecretColumns {
    versions: Vec<i32>,
    key_ids: Vec<String>,
    ciphertexts: Vec<Vec<u8>>,
    public_keys: Vec<Option<String>>,
}

impl SecretColumns {
    pub(crate) fn of(secrets: &[NewSecret]) -> Self {
        Self {
            versions: secrets.iter().map(|secret| secret.version).collect(),
            key_ids: secrets.iter().map(|secret| secret.sealed.key_id.clone()).collect(),
            ciphertexts: secrets.iter().map(|secret| secret.sealed.ciphertext.clone()).collect(),
            public_keys: secrets.iter().map(|secret| secret.public_key.clone()).collect(),
        }
    }

    /// As the next four parameters of `statement`.
    pub(crate) fn bind(&self, statement: Bound<'static>) -> Bound<'static> {
        statement
            .bind(self.versions.clone())
            .bind(self.key_ids.clone())
            .bind(self.ciphertexts.clone())
            .bind(self.public_keys.clone())
    }
}

fn kept_of(row: &PgRow) -> Result<KeptSecret, StoreError> {
    Ok(KeptSecret {
        version: row.try_get("version")?,
        sealed: sealed_of(row)?,
        is_key_pair: row.try_get::<Option<&str>, _>("public_key")?.is_some(),
        expires_at: row.try_get("expires_at")?,
    })
}

fn sealed_of(row: &PgRow) -> Result<SealedSecret, StoreError> {
    Ok(SealedSecret { key_id: row.try_get("key_id")?, ciphertext: row.try_get("ciphertext")? })
}
