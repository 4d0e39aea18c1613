//! The form of what is kept as JSON for good: where an endpoint stands, its journal's events, and what
//! commands came to.
//!
//! The first two carry the version of their form. An older one is read. A newer one was written by another
//! build of this product and is refused before anything is made of it: understood by half, it would
//! be written back without the other half.

use domain::endpoint::{
    EndpointEvent, EndpointState, JOURNAL_SCHEMA_VERSION, STATE_SCHEMA_VERSION,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Row, ValueRef};

use crate::StoreError;

/// All that is read of a form which is not known.
#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    schema_version: i32,
}

/// The state that `column` has. From here on it is one of this build's form.
pub(crate) fn state_in(row: &PgRow, column: &'static str) -> Result<EndpointState, StoreError> {
    let refuse_newer = |found| refuse_newer("an endpoint's state", found, STATE_SCHEMA_VERSION);
    match row.try_get::<Json<EndpointState>, _>(column) {
        Ok(Json(state)) => {
            refuse_newer(state.schema_version)?;
            Ok(EndpointState { schema_version: STATE_SCHEMA_VERSION, ..state })
        }
        Err(error) => {
            let form = row.try_get::<Json<Form>, _>(column);
            refuse_newer(form.map_or(STATE_SCHEMA_VERSION, |Json(form)| form.schema_version))?;
            Err(error.into())
        }
    }
}

/// The same of a column that may be null.
pub(crate) fn state_if_any(
    row: &PgRow,
    column: &'static str,
) -> Result<Option<EndpointState>, StoreError> {
    if row.try_get_raw(column)?.is_null() {
        return Ok(None);
    }
    state_in(row, column).map(Some)
}

/// The event of a journal's row.
pub(crate) fn event_in(row: &PgRow) -> Result<EndpointEvent, StoreError> {
    let found = row.try_get("schema_version")?;
    refuse_newer("an event of an endpoint's journal", found, JOURNAL_SCHEMA_VERSION)?;
    Ok(row.try_get::<Json<EndpointEvent>, _>("event")?.0)
}

/// What a command came to, as its repeat hears it, from the row's `answer`.
pub(crate) fn answer_in<T: DeserializeOwned>(row: &PgRow) -> Result<T, StoreError> {
    let answer: Value = row.try_get("answer")?;
    // Where the endpoint stood after it is the only part with a form of its own.
    if let Ok(Form { schema_version }) = Form::deserialize(&answer["state"]) {
        refuse_newer("the state in a command's answer", schema_version, STATE_SCHEMA_VERSION)?;
    }
    T::deserialize(answer).map_err(|_| StoreError::Unreadable {
        table: "endpoint_commands",
        what:
            "a command's answer, of another build's form; the command was done, its effect is in \
               the endpoint's status"
                .to_owned(),
    })
}

fn refuse_newer(what: &'static str, found: i32, known: i32) -> Result<(), StoreError> {
    if found > known {
        return Err(StoreError::NewerForm { what, found, known });
    }
    Ok(())
}
