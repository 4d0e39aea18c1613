//! `posthorn.v1.MerchantService`.

use proto::v1::merchant_service_server::MerchantService;
use proto::v1::{CreateMerchantRequest, CreateMerchantResponse};
use tonic::{Request, Response, Status};

use super::messages;
use super::{Front, call_of};
use crate::operations::CreateMerchant;

#[tonic::async_trait]
impl MerchantService for Front {
    async fn create(
        &self,
        request: Request<CreateMerchantRequest>,
    ) -> Result<Response<CreateMerchantResponse>, Status> {
        let (call, message) = call_of(request)?;
        let merchant = CreateMerchant { merchant_id: message.merchant_id, name: message.name };
        let merchant = self.operations.create_merchant(&call, merchant).await?;
        Ok(Response::new(CreateMerchantResponse { merchant: Some(messages::merchant(merchant)) }))
    }
}
