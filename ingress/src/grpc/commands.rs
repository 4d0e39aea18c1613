//! The commands of `posthorn.v1.EndpointService`, and the endpoint's status.

use domain::endpoint::trouble;
use proto::v1::{CommandResponse, RedeliverRequest, StatusResponse};
use store::Told;
use time::OffsetDateTime;
use tonic::{Response, Status};

use super::Front;
use super::messages::{self, said};
use crate::operations::{
    Addressed, DoneCommand, Redeliver, ShownStanding, is_breaker_open, status_name,
};
use crate::refusal::Refusal;

/// What every command's message has.
macro_rules! addressed {
    ($message:expr) => {
        $crate::operations::Addressed {
            id: $message.id,
            command_id: $crate::grpc::messages::said($message.command_id),
            actor: $crate::grpc::messages::said($message.actor),
        }
    };
}
pub(super) use addressed;

impl Front {
    pub(super) async fn tell(
        &self,
        to: Addressed,
        told: Told,
    ) -> Result<Response<CommandResponse>, Status> {
        Ok(answer(self.operations.tell(to, told).await?))
    }

    pub(super) async fn skip(
        &self,
        to: Addressed,
        delivery: &str,
    ) -> Result<Response<CommandResponse>, Status> {
        Ok(answer(self.operations.skip(to, delivery).await?))
    }

    pub(super) async fn put_back(
        &self,
        message: RedeliverRequest,
    ) -> Result<Response<CommandResponse>, Status> {
        let which = Redeliver {
            delivery_id: said(message.delivery_id),
            since: message.since.map(|at| moment("since", at)).transpose()?,
            until: message.until.map(|at| moment("until", at)).transpose()?,
            event_type: said(message.event_type),
            ended: said(message.ended),
        };
        let to = Addressed {
            id: message.id,
            command_id: said(message.command_id),
            actor: said(message.actor),
        };
        Ok(answer(self.operations.redeliver(to, which).await?))
    }

    pub(super) async fn standing(&self, id: &str) -> Result<Response<StatusResponse>, Status> {
        let ShownStanding { endpoint, standing, last_events } =
            self.operations.standing(id).await?;
        Ok(Response::new(StatusResponse {
            id: endpoint.to_string(),
            status: status_name(&standing.state).to_owned(),
            breaker_open: is_breaker_open(&standing.state),
            not_before: standing.state.not_before.and_then(messages::timestamp),
            waiting: u32::try_from(standing.waiting).unwrap_or_default(),
            waiting_since: standing.waiting_since.and_then(messages::timestamp),
            last_events,
            trouble: trouble(&standing.state, standing.faulty.as_ref()).unwrap_or_default(),
        }))
    }
}

fn answer(done: DoneCommand) -> Response<CommandResponse> {
    let obeyed = done.obeyed;
    Response::new(CommandResponse {
        command_id: done.command_id.to_string(),
        status: status_name(&obeyed.state).to_owned(),
        changed: obeyed.changed,
        redelivered: obeyed.redelivered,
        more: obeyed.more,
        at: messages::timestamp(obeyed.at),
    })
}

fn moment(field: &'static str, at: prost_types::Timestamp) -> Result<OffsetDateTime, Refusal> {
    let refused = || Refusal::invalid(field, "must be a time between the years 1 and 9999");
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| refused())
}
