//! Merchants: who owns payments and endpoints.

use domain::{MerchantId, MerchantName};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use crate::idempotency::{Operation, answer_of, unreadable, write_once};
use crate::{Store, StoreError, Write, Written};

/// A merchant as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Its id, chosen by the caller.
    pub id: MerchantId,
    /// Its name, for people.
    pub name: MerchantName,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// The update changes nothing: it makes the row come back when the name is the same.
const CREATE: Operation<Merchant> = Operation {
    name: "merchants.create",
    statement: write_once!(
        "made as (
             insert into merchants as held (merchant_id, name)
             select $6, $7 from trace where not exists (select from answered)
             on conflict (merchant_id) do update set name = held.name
             where held.name = excluded.name
             returning *)"
    ),
    answer: answer_of!("merchants"),
    read: merchant_of,
};

impl Store {
    /// Makes a merchant, or finds the one that has this id and name already.
    /// [`Written::Nothing`]: the id is taken under another name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn create_merchant(
        &self,
        write: &Write<'_>,
        id: &MerchantId,
        name: &MerchantName,
    ) -> Result<Written<Merchant>, StoreError> {
        self.write(write, &CREATE, |statement| {
            statement.bind(id.as_str().to_owned()).bind(name.as_str().to_owned())
        })
        .await
    }
}

fn merchant_of(row: &PgRow) -> Result<Merchant, StoreError> {
    let unreadable = unreadable("merchants");
    Ok(Merchant {
        id: MerchantId::try_from(row.try_get::<String, _>("merchant_id")?).map_err(&unreadable)?,
        name: MerchantName::try_from(row.try_get::<String, _>("name")?).map_err(&unreadable)?,
        created_at: row.try_get("created_at")?,
    })
}
