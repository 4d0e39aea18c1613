//! `posthorn.v1.PaymentService`.

use proto::v1::payment_service_server::PaymentService;
use proto::v1::{
    CancelPaymentRequest, CancelPaymentResponse, CreatePaymentRequest, CreatePaymentResponse,
    GetPaymentRequest, GetPaymentResponse, ListPaymentsRequest, ListPaymentsResponse,
    RefundPaymentRequest, RefundPaymentResponse,
};
use tonic::{Request, Response, Status};

use super::messages;
use super::{Front, call_of};
use crate::operations::{CreatePayment, PageRequest};

#[tonic::async_trait]
impl PaymentService for Front {
    async fn create(
        &self,
        request: Request<CreatePaymentRequest>,
    ) -> Result<Response<CreatePaymentResponse>, Status> {
        let (call, message) = call_of(request)?;
        let payment = CreatePayment {
            amount: message.amount,
            currency: message.currency,
            merchant_id: messages::said(message.merchant_id),
            status: messages::status_name(message.status)?,
        };
        let payment = self.operations.create_payment(&call, payment).await?;
        Ok(Response::new(CreatePaymentResponse { payment: Some(messages::payment(payment)) }))
    }

    async fn get(
        &self,
        request: Request<GetPaymentRequest>,
    ) -> Result<Response<GetPaymentResponse>, Status> {
        let payment = self.operations.payment(&request.into_inner().id).await?;
        Ok(Response::new(GetPaymentResponse { payment: Some(messages::payment(payment)) }))
    }

    async fn list(
        &self,
        request: Request<ListPaymentsRequest>,
    ) -> Result<Response<ListPaymentsResponse>, Status> {
        let message = request.into_inner();
        let page = PageRequest {
            merchant_id: messages::said(message.merchant_id),
            size: Some(message.page_size.into()),
            token: messages::said(message.page_token),
        };
        let page = self.operations.payments(page).await?;
        Ok(Response::new(ListPaymentsResponse {
            payments: page.items.into_iter().map(messages::payment).collect(),
            next_page_token: page.next_token,
        }))
    }

    async fn refund(
        &self,
        request: Request<RefundPaymentRequest>,
    ) -> Result<Response<RefundPaymentResponse>, Status> {
        let (call, message) = call_of(request)?;
        let payment = self.operations.refund_payment(&call, &message.id).await?;
        Ok(Response::new(RefundPaymentResponse { payment: Some(messages::payment(payment)) }))
    }

    async fn cancel(
        &self,
        request: Request<CancelPaymentRequest>,
    ) -> Result<Response<CancelPaymentResponse>, Status> {
        let (call, message) = call_of(request)?;
        let payment = self.operations.cancel_payment(&call, &message.id).await?;
        Ok(Response::new(CancelPaymentResponse { payment: Some(messages::payment(payment)) }))
    }
}
