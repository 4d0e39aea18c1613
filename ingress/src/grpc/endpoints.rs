//! `posthorn.v1.EndpointService`.

use proto::v1::endpoint_service_server::EndpointService;
use proto::v1::{
    CommandResponse, CreateEndpointRequest, CreateEndpointResponse, DeleteEndpointRequest,
    DisableRequest, EnableRequest, GetEndpointRequest, GetEndpointResponse, ListEndpointsRequest,
    ListEndpointsResponse, PauseRequest, RedeliverRequest, ResumeRequest, RotateSecretRequest,
    RotateSecretResponse, SkipDeliveryRequest, StatusRequest, StatusResponse,
    UpdateEndpointRequest, UpdateEndpointResponse,
};
use tonic::{Request, Response, Status};

use super::commands::addressed;
use super::messages;
use super::{Front, call_of};
use crate::operations::{CreateEndpoint, PageRequest, RotateSecret, UpdateEndpoint};
use store::Told;

#[tonic::async_trait]
impl EndpointService for Front {
    async fn create(
        &self,
        request: Request<CreateEndpointRequest>,
    ) -> Result<Response<CreateEndpointResponse>, Status> {
        let (call, message) = call_of(request)?;
        let endpoint = CreateEndpoint {
            merchant_id: messages::said(message.merchant_id),
            url: message.url,
            event_types: message.event_types,
            signature_scheme: messages::said(message.signature_scheme),
            secret: messages::said(message.secret),
            headers: message.headers.into_iter().collect(),
            send_traceparent: message.send_traceparent,
            ordering: messages::said(message.ordering),
            policy: message.policy.map(messages::policy_settings).unwrap_or_default(),
        };
        let created = self.operations.create_endpoint(&call, endpoint).await?;
        Ok(Response::new(CreateEndpointResponse {
            endpoint: Some(messages::endpoint(created.endpoint)),
            secret: created.secrets.secret_text(),
            public_key: created.secrets.public_key.unwrap_or_default(),
        }))
    }

    async fn rotate_secret(
        &self,
        request: Request<RotateSecretRequest>,
    ) -> Result<Response<RotateSecretResponse>, Status> {
        let (call, message) = call_of(request)?;
        let rotation = RotateSecret {
            id: message.id,
            overlap_s: message.overlap_s,
            signature_scheme: messages::said(message.signature_scheme),
            secret: messages::said(message.secret),
        };
        let rotated = self.operations.rotate_secret(&call, rotation).await?;
        Ok(Response::new(RotateSecretResponse {
            id: rotated.endpoint_id.to_string(),
            secret: rotated.secrets.secret_text(),
            public_key: rotated.secrets.public_key.unwrap_or_default(),
            previous_until: messages::timestamp(rotated.previous_until),
        }))
    }

    async fn get(
        &self,
        request: Request<GetEndpointRequest>,
    ) -> Result<Response<GetEndpointResponse>, Status> {
        let endpoint = self.operations.endpoint(&request.into_inner().id).await?;
        Ok(Response::new(GetEndpointResponse { endpoint: Some(messages::endpoint(endpoint)) }))
    }

    async fn list(
        &self,
        request: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let message = request.into_inner();
        let page = PageRequest {
            merchant_id: messages::said(message.merchant_id),
            size: Some(message.page_size.into()),
            token: messages::said(message.page_token),
        };
        let page = self.operations.endpoints(page).await?;
        Ok(Response::new(ListEndpointsResponse {
            endpoints: page.items.into_iter().map(messages::endpoint).collect(),
            next_page_token: page.next_token,
        }))
    }

    async fn update(
        &self,
        request: Request<UpdateEndpointRequest>,
    ) -> Result<Response<UpdateEndpointResponse>, Status> {
        let message = request.into_inner();
        let update = UpdateEndpoint {
            url: message.url,
            event_types: message.event_types.map(|types| types.types),
            ordering: message.ordering,
            policy: message.policy.map(messages::policy_settings),
            headers: message.headers.map(|headers| headers.headers.into_iter().collect()),
            signature_scheme: message.signature_scheme,
            send_traceparent: message.send_traceparent,
        };
        let updated = self.operations.update_endpoint(addressed!(message), update).await?;
        Ok(Response::new(UpdateEndpointResponse {
            secret: updated.secrets.secret_text(),
            public_key: updated.secrets.public_key.unwrap_or_default(),
            endpoint: Some(messages::endpoint(updated.endpoint)),
            command_id: updated.command_id.to_string(),
            changed: updated.changed,
            status: updated.status.to_owned(),
            enabled_again: updated.enabled_again,
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteEndpointRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        let message = request.into_inner();
        self.tell(addressed!(message), Told::Delete).await
    }

    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        let message = request.into_inner();
        self.tell(addressed!(message), Told::Pause).await
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        let message = request.into_inner();
        self.tell(addressed!(message), Told::Resume).await
    }

    async fn disable(
        &self,
        request: Request<DisableRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        let message = request.into_inner();
        self.tell(addressed!(message), Told::Disable).await
    }

    async fn enable(
        &self,
        request: Request<EnableRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        let message = request.into_inner();
        self.tell(addressed!(message), Told::Enable).await
    }

    async fn skip_delivery(
        &self,
        request: Request<SkipDeliveryRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        let message = request.into_inner();
        self.skip(addressed!(message), &message.delivery_id).await
    }

    async fn redeliver(
        &self,
        request: Request<RedeliverRequest>,
    ) -> Result<Response<CommandResponse>, Status> {
        self.put_back(request.into_inner()).await
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.standing(&request.into_inner().id).await
    }
}
