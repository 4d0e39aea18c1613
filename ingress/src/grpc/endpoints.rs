//! `posthorn.v1.EndpointService`.

use proto::v1::endpoint_service_server::EndpointService;
use proto::v1::{
    CreateEndpointRequest, CreateEndpointResponse, GetEndpointRequest, GetEndpointResponse,
    ListEndpointsRequest, ListEndpointsResponse,
};
use tonic::{Request, Response, Status};

use super::messages;
use super::{Front, call_of};
use crate::operations::{CreateEndpoint, PageRequest};

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
        };
        let created = self.operations.create_endpoint(&call, endpoint).await?;
        Ok(Response::new(CreateEndpointResponse {
            endpoint: Some(messages::endpoint(created.endpoint)),
            secret: created.secret.reveal().as_str().to_owned(),
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
}
