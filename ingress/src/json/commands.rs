//! The commands of an endpoint as paths: `POST /v1/endpoints/{id}/pause` and its like.

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use domain::endpoint::trouble;
use serde::Serialize;
use store::Told;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::Fields;
use super::{Answer, Id, ok, path_id, read};
use crate::operations::{
    Addressed, DoneCommand, Operations, Redeliver, ShownStanding, is_breaker_open, status_name,
};
use crate::refusal::Refusal;

/// The routes of the commands.
pub(super) fn routes() -> Router<Operations> {
    Router::new()
        .route("/v1/endpoints/{id}/status", get(status))
        .route("/v1/endpoints/{id}/pause", plain(Told::Pause))
        .route("/v1/endpoints/{id}/resume", plain(Told::Resume))
        .route("/v1/endpoints/{id}/disable", plain(Told::Disable))
        .route("/v1/endpoints/{id}/enable", plain(Told::Enable))
        .route("/v1/endpoints/{id}/skip", post(skip))
        .route("/v1/endpoints/{id}/redeliver", post(redeliver))
}

#[derive(Serialize)]
pub(super) struct CommandAnswer {
    command_id: String,
    status: &'static str,
    changed: bool,
    redelivered: u32,
    more: bool,
    at: Option<String>,
}

#[derive(Serialize)]
pub(super) struct StatusAnswer {
    id: String,
    status: &'static str,
    breaker_open: bool,
    not_before: Option<String>,
    waiting: i64,
    waiting_since: Option<String>,
    trouble: Option<String>,
    last_events: Vec<String>,
}

fn plain(told: Told) -> axum::routing::MethodRouter<Operations> {
    post(async move |State(operations): State<Operations>, id: Id, request: Request| {
        let told = told.clone();
        let (_, mut fields) = read(request).await?;
        let to = addressed(id, &mut fields)?;
        fields.end(&["command_id", "actor"])?;
        let answer: Answer<CommandAnswer> = ok(operations.tell(to, told).await?);
        answer
    })
}

async fn skip(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<CommandAnswer> {
    let (_, mut fields) = read(request).await?;
    let to = addressed(id, &mut fields)?;
    let delivery = fields.text("delivery_id")?.unwrap_or_default();
    fields.end(&["command_id", "actor", "delivery_id"])?;
    ok(operations.skip(to, &delivery).await?)
}

async fn redeliver(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<CommandAnswer> {
    let (_, mut fields) = read(request).await?;
    let to = addressed(id, &mut fields)?;
    let which = Redeliver {
        delivery_id: fields.text("delivery_id")?,
        since: moment("since", &mut fields)?,
        until: moment("until", &mut fields)?,
        event_type: fields.text("event_type")?,
        ended: fields.text("ended")?,
    };
    fields.end(&["command_id", "actor", "delivery_id", "since", "until", "event_type", "ended"])?;
    ok(operations.redeliver(to, which).await?)
}

async fn status(State(operations): State<Operations>, id: Id) -> Answer<StatusAnswer> {
    ok(operations.standing(&path_id(id)?).await?)
}

pub(super) fn addressed(id: Id, fields: &mut Fields) -> Result<Addressed, Refusal> {
    Ok(Addressed {
        id: path_id(id)?,
        command_id: fields.text("command_id")?,
        actor: fields.text("actor")?,
    })
}

fn moment(name: &'static str, fields: &mut Fields) -> Result<Option<OffsetDateTime>, Refusal> {
    let parse = |text: String| {
        OffsetDateTime::parse(&text, &Rfc3339)
            .map_err(|_| Refusal::invalid(name, "must be a time such as 2026-01-31T12:00:00Z"))
    };
    fields.text(name)?.map(parse).transpose()
}

fn text(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

impl From<DoneCommand> for CommandAnswer {
    fn from(done: DoneCommand) -> Self {
        Self {
            command_id: done.command_id.to_string(),
            status: status_name(&done.obeyed.state),
            changed: done.obeyed.changed,
            redelivered: done.obeyed.redelivered,
            more: done.obeyed.more,
            at: text(done.obeyed.at),
        }
    }
}

impl From<ShownStanding> for StatusAnswer {
    fn from(shown: ShownStanding) -> Self {
        let standing = shown.standing;
        Self {
            id: shown.endpoint.to_string(),
            status: status_name(&standing.state),
            breaker_open: is_breaker_open(&standing.state),
            not_before: standing.state.not_before.and_then(text),
            waiting: standing.waiting,
            waiting_since: standing.waiting_since.and_then(text),
            trouble: trouble(&standing.state, standing.faulty.as_ref()),
            last_events: shown.last_events,
        }
    }
}
