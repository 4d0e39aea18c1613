//! The gRPC front, by a client that knows the contract and by one that asks for it.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::Receiver;
use proto::v1::endpoint_service_client::EndpointServiceClient;
use proto::v1::merchant_service_client::MerchantServiceClient;
use proto::v1::payment_service_client::PaymentServiceClient;
use proto::v1::{
    CancelPaymentRequest, CreateEndpointRequest, CreateMerchantRequest, CreatePaymentRequest,
    DeleteEndpointRequest, EndpointPolicy, EventTypes, GetPaymentRequest, ListEndpointsRequest,
    ListPaymentsRequest, PauseRequest, PaymentStatus, RefundPaymentRequest, StatusRequest,
    UpdateEndpointRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::{merchant, shared_lab};

async fn channel() -> anyhow::Result<Channel> {
    let port = shared_lab().await?.ports()?.grpc;
    Ok(Channel::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?)
}

/// A merchant with an endpoint at a receiver, all by gRPC.
async fn merchant_by_grpc(channel: &Channel, test: &str) -> anyhow::Result<(String, Receiver)> {
    let (merchant_id, receiver) = (merchant(test), Receiver::start().await?);
    MerchantServiceClient::new(channel.clone())
        .create(CreateMerchantRequest { merchant_id: merchant_id.clone(), name: "A".to_owned() })
        .await?;
    let mut endpoints = EndpointServiceClient::new(channel.clone());
    let created = endpoints
        .create(CreateEndpointRequest {
            merchant_id: merchant_id.clone(),
            url: receiver.url().to_owned(),
            ..Default::default()
        })
        .await?
        .into_inner();
    ensure!(created.secret.starts_with("whsec_"), "the secret is shown once");
    let listed = endpoints
        .list(ListEndpointsRequest { merchant_id: merchant_id.clone(), ..Default::default() })
        .await?
        .into_inner();
    ensure!(listed.endpoints == [created.endpoint.context("an endpoint")?]);
    Ok((merchant_id, receiver))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_lives_its_whole_life_by_grpc() -> anyhow::Result<()> {
    let channel = channel().await?;
    let (merchant_id, receiver) = merchant_by_grpc(&channel, "grpc").await?;
    let mut payments = PaymentServiceClient::new(channel);
    let make = |status: PaymentStatus| CreatePaymentRequest {
        amount: 700,
        currency: "eur".to_owned(),
        merchant_id: merchant_id.clone(),
        status: status.into(),
    };
    let paid = payments.create(make(PaymentStatus::Unspecified)).await?.into_inner();
    let paid = paid.payment.context("a payment")?;
    ensure!(paid.status() == PaymentStatus::Succeeded && paid.currency == "EUR", "{paid:?}");
    let refunded = payments.refund(RefundPaymentRequest { id: paid.id.clone() }).await?;
    ensure!(
        refunded.into_inner().payment.context("a payment")?.status() == PaymentStatus::Refunded
    );
    let again = payments.refund(RefundPaymentRequest { id: paid.id.clone() }).await;
    ensure!(again.is_err_and(|status| status.code() == Code::FailedPrecondition));

    let begun = payments.create(make(PaymentStatus::Pending)).await?.into_inner();
    let begun = begun.payment.context("a payment")?;
    payments.cancel(CancelPaymentRequest { id: begun.id.clone() }).await?;
    let got = payments.get(GetPaymentRequest { id: begun.id.clone() }).await?.into_inner();
    ensure!(got.payment.context("a payment")?.status() == PaymentStatus::Cancelled);
    let page = payments
        .list(ListPaymentsRequest {
            merchant_id: merchant_id.clone(),
            page_size: 1,
            ..Default::default()
        })
        .await?
        .into_inner();
    ensure!(page.payments.len() == 1 && !page.next_page_token.is_empty());

    let seen = receiver.wait_for(4, Duration::from_secs(30)).await?;
    let kinds: Vec<String> =
        seen.iter().map(|r| r.json()["type"].as_str().unwrap_or("").to_owned()).collect();
    let expected =
        ["payment.succeeded", "payment.refunded", "payment.pending", "payment.cancelled"];
    ensure!(kinds == expected, "{kinds:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_invalid_argument_and_the_fields_name() -> anyhow::Result<()> {
    let channel = channel().await?;
    let (merchant_id, _receiver) = merchant_by_grpc(&channel, "grpc-bad").await?;
    let mut payments = PaymentServiceClient::new(channel);
    let good = CreatePaymentRequest {
        amount: 1,
        currency: "USD".to_owned(),
        merchant_id,
        ..Default::default()
    };
    let cases = [
        (CreatePaymentRequest { amount: 0, ..good.clone() }, "amount"),
        (CreatePaymentRequest { currency: "???".to_owned(), ..good.clone() }, "currency"),
        (CreatePaymentRequest { merchant_id: "a b".to_owned(), ..good.clone() }, "merchant_id"),
        (CreatePaymentRequest { merchant_id: "nobody".to_owned(), ..good.clone() }, "merchant_id"),
    ];
    for (request, field) in cases {
        let Err(status) = payments.create(request).await else { anyhow::bail!("{field} passed") };
        ensure!(status.code() == Code::InvalidArgument, "{status:?}");
        ensure!(status.message().contains(field), "{status:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_metadata_makes_a_repeat_get_the_same_answer() -> anyhow::Result<()> {
    let channel = channel().await?;
    let (merchant_id, _receiver) = merchant_by_grpc(&channel, "grpc-key").await?;
    let mut payments = PaymentServiceClient::new(channel);
    let request = |amount| {
        let mut request = Request::new(CreatePaymentRequest {
            amount,
            currency: "USD".to_owned(),
            merchant_id: merchant_id.clone(),
            ..Default::default()
        });
        request.metadata_mut().insert("idempotency-key", "grpc-key-1".parse()?);
        anyhow::Ok(request)
    };
    let first = payments.create(request(5)?).await?.into_inner();
    ensure!(payments.create(request(5)?).await?.into_inner() == first);
    let other = payments.create(request(6)?).await;
    ensure!(other.is_err_and(|status| status.code() == Code::AlreadyExists));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_proto_file_can_ask_for_the_contract() -> anyhow::Result<()> {
    let mut reflection = ServerReflectionClient::new(channel().await?);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(ask)).await?.into_inner();
    let answer = answers.message().await?.context("an answer")?.message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        anyhow::bail!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "posthorn.v1.PaymentService",
        "posthorn.v1.MerchantService",
        "posthorn.v1.EndpointService",
        "grpc.health.v1.Health",
    ] {
        ensure!(names.contains(&name), "{names:?}");
    }
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel().await?);
    let status = health.check(tonic_health::pb::HealthCheckRequest::default()).await?;
    ensure!(status.into_inner().status == 1, "serving");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_by_grpc_is_done_once_and_the_status_tells_who_asked() -> anyhow::Result<()> {
    let channel = channel().await?;
    let (merchant_id, _receiver) = merchant_by_grpc(&channel, "grpc").await?;
    let mut endpoints = EndpointServiceClient::new(channel);
    let list = ListEndpointsRequest { merchant_id, ..Default::default() };
    let listed = endpoints.list(list).await?.into_inner();
    let id = listed.endpoints.first().context("no endpoint")?.id.clone();
    let command_id = uuid::Uuid::now_v7().to_string();
    let pause = PauseRequest { id: id.clone(), command_id, actor: "ada".to_owned() };
    let first = endpoints.pause(pause.clone()).await?.into_inner();
    ensure!(first.status == "paused" && first.changed, "{first:?}");
    ensure!(endpoints.pause(pause).await?.into_inner() == first, "a repeat hears the same");
    let status = endpoints.status(StatusRequest { id }).await?.into_inner();
    let told = status.last_events.join("\n");
    ensure!(told.ends_with("paused: its deliveries wait (ada)"), "{told}");
    ensure!(status.last_events.len() == 1, "it happened twice: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_changed_and_deleted_by_grpc() -> anyhow::Result<()> {
    let channel = channel().await?;
    let (merchant_id, _receiver) = merchant_by_grpc(&channel, "grpc-change").await?;
    let mut endpoints = EndpointServiceClient::new(channel);
    let listed = endpoints
        .list(ListEndpointsRequest { merchant_id, ..Default::default() })
        .await?
        .into_inner();
    let id = listed.endpoints.first().context("an endpoint")?.id.clone();
    let change = UpdateEndpointRequest {
        id: id.clone(),
        event_types: Some(EventTypes { types: vec!["payment.refunded".to_owned()] }),
        ordering: Some("unordered".to_owned()),
        policy: Some(EndpointPolicy {
            schedule_s: vec![1, 2],
            parallelism: Some(4),
            ..Default::default()
        }),
        ..Default::default()
    };
    let changed = endpoints.update(change).await?.into_inner();
    let endpoint = changed.endpoint.context("an endpoint")?;
    ensure!(changed.changed && endpoint.ordering == "unordered");
    ensure!(endpoint.event_types == ["payment.refunded"]);
    let policy = endpoint.policy.context("a policy")?;
    ensure!(policy.schedule_s == [1, 2] && policy.parallelism == Some(4));
    // What is absent stays; what is there and empty is empty.
    let change = UpdateEndpointRequest {
        id: id.clone(),
        event_types: Some(EventTypes::default()),
        ..Default::default()
    };
    let endpoint = endpoints.update(change).await?.into_inner().endpoint.context("an endpoint")?;
    ensure!(endpoint.event_types.is_empty() && endpoint.ordering == "unordered");
    let bad = UpdateEndpointRequest {
        id: id.clone(),
        url: Some("http://".to_owned()),
        ..Default::default()
    };
    let status = endpoints.update(bad).await.err().context("it passed")?;
    ensure!(status.code() == Code::InvalidArgument && status.message().starts_with("url"));

    let delete = DeleteEndpointRequest { id: id.clone(), ..Default::default() };
    let deleted = endpoints.delete(delete.clone()).await?.into_inner();
    ensure!(deleted.status == "deleted" && deleted.changed, "{deleted:?}");
    let again = endpoints.delete(delete).await?.into_inner();
    ensure!(again.at == deleted.at && !again.changed, "{again:?}");
    let paused = endpoints.pause(PauseRequest { id, ..Default::default() }).await;
    let status = paused.err().context("it passed")?;
    ensure!(status.code() == Code::NotFound && status.message().contains("was deleted at"));
    Ok(())
}
