//! What the JSON front answers. These shapes are a contract: fields are added, never changed.

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::Payment;
use domain::endpoint::{Ordering, PolicySettings};
use http::header::RETRY_AFTER;
use serde::Serialize;
use store::{Endpoint, Merchant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::operations::{CreatedEndpoint, Page, Rotated, UpdatedEndpoint};
use crate::refusal::{self, Refusal};

#[derive(Serialize)]
pub(super) struct PaymentAnswer {
    id: String,
    merchant_id: String,
    amount: i64,
    currency: &'static str,
    status: &'static str,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
pub(super) struct PaymentsAnswer {
    payments: Vec<PaymentAnswer>,
    next_page_token: String,
}

#[derive(Serialize)]
pub(super) struct MerchantAnswer {
    merchant_id: String,
    name: String,
    created_at: String,
}

#[derive(Serialize)]
pub(super) struct EndpointAnswer {
    id: String,
    merchant_id: String,
    url: String,
    event_types: Vec<String>,
    signature_scheme: String,
    header_names: Vec<String>,
    send_traceparent: bool,
    ordering: Ordering,
    policy: PolicySettings,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
pub(super) struct CreatedEndpointAnswer {
    #[serde(flatten)]
    endpoint: EndpointAnswer,
    /// Shown here and nowhere else; none when there is only a key pair.
    secret: Option<String>,
    public_key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct UpdatedEndpointAnswer {
    #[serde(flatten)]
    endpoint: EndpointAnswer,
    command_id: String,
    changed: bool,
    status: &'static str,
    enabled_again: bool,
    /// That another scheme made necessary; shown here and nowhere else.
    secret: Option<String>,
    public_key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct RotatedAnswer {
    id: String,
    /// Shown here and nowhere else; none when there is only a key pair.
    secret: Option<String>,
    public_key: Option<String>,
    previous_until: String,
}

#[derive(Serialize)]
pub(super) struct EndpointsAnswer {
    endpoints: Vec<EndpointAnswer>,
    next_page_token: String,
}

#[derive(Serialize)]
struct RefusalAnswer<'a> {
    error: RefusalOf<'a>,
}

#[derive(Serialize)]
struct RefusalOf<'a> {
    code: &'static str,
    message: String,
    field: Option<&'a str>,
}

fn rfc3339(at: OffsetDateTime) -> String {
    // Fails only for years that PostgreSQL's clock does not reach.
    at.format(&Rfc3339).unwrap_or_default()
}

impl From<Payment> for PaymentAnswer {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id.to_string(),
            merchant_id: payment.merchant_id.into(),
            amount: payment.amount.minor_units(),
            currency: payment.currency.code(),
            status: payment.status.as_str(),
            created_at: rfc3339(payment.created_at),
            updated_at: rfc3339(payment.updated_at),
        }
    }
}

impl From<Page<Payment>> for PaymentsAnswer {
    fn from(page: Page<Payment>) -> Self {
        Self {
            payments: page.items.into_iter().map(Into::into).collect(),
            next_page_token: page.next_token,
        }
    }
}

impl From<Merchant> for MerchantAnswer {
    fn from(merchant: Merchant) -> Self {
        Self {
            merchant_id: merchant.id.into(),
            name: merchant.name.as_str().to_owned(),
            created_at: rfc3339(merchant.created_at),
        }
    }
}

impl From<Endpoint> for EndpointAnswer {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            merchant_id: endpoint.merchant_id.into(),
            url: endpoint.url,
            event_types: endpoint.event_types.into_iter().map(Into::into).collect(),
            signature_scheme: endpoint.signature_scheme,
            header_names: endpoint.header_names,
            send_traceparent: endpoint.send_traceparent,
            ordering: endpoint.ordering,
            policy: endpoint.policy,
            created_at: rfc3339(endpoint.created_at),
            updated_at: rfc3339(endpoint.updated_at),
        }
    }
}

impl From<CreatedEndpoint> for CreatedEndpointAnswer {
    fn from(created: CreatedEndpoint) -> Self {
        Self {
            endpoint: created.endpoint.into(),
            secret: Some(created.secrets.secret_text()).filter(|text| !text.is_empty()),
            public_key: created.secrets.public_key,
        }
    }
}

impl From<UpdatedEndpoint> for UpdatedEndpointAnswer {
    fn from(updated: UpdatedEndpoint) -> Self {
        Self {
            endpoint: updated.endpoint.into(),
            command_id: updated.command_id.to_string(),
            changed: updated.changed,
            status: updated.status,
            enabled_again: updated.enabled_again,
            secret: Some(updated.secrets.secret_text()).filter(|text| !text.is_empty()),
            public_key: updated.secrets.public_key,
        }
    }
}

impl From<Rotated> for RotatedAnswer {
    fn from(rotated: Rotated) -> Self {
        Self {
            id: rotated.endpoint_id.to_string(),
            secret: Some(rotated.secrets.secret_text()).filter(|text| !text.is_empty()),
            public_key: rotated.secrets.public_key,
            previous_until: rfc3339(rotated.previous_until),
        }
    }
}

impl From<Page<Endpoint>> for EndpointsAnswer {
    fn from(page: Page<Endpoint>) -> Self {
        Self {
            endpoints: page.items.into_iter().map(Into::into).collect(),
            next_page_token: page.next_token,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.log();
        let (_, status, code) = self.answer();
        let error = RefusalOf { code, message: self.to_string(), field: self.field() };
        let answer = (status, Json(RefusalAnswer { error }));
        if self.may_pass() {
            ([(RETRY_AFTER, refusal::RETRY_AFTER.as_secs().to_string())], answer).into_response()
        } else {
            answer.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Amount, Currency, MerchantId, PaymentStatus};
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_payment_reads_as_its_clients_know_it() {
        let payment = Payment {
            id: Uuid::from_u128(0x0198_c5a4_1111_7abc_8def_0123_4567_89ab).into(),
            merchant_id: MerchantId::demo(),
            amount: Amount::try_from(1000).expect("an amount"),
            currency: Currency::try_from("USD").expect("a currency"),
            status: PaymentStatus::Succeeded,
            created_at: datetime!(2026-01-02 03:04:05.678901 UTC),
            updated_at: datetime!(2026-01-02 03:04:06 UTC),
        };
        assert_eq!(
            serde_json::to_string(&PaymentAnswer::from(payment)).expect("JSON"),
            concat!(
                r#"{"id":"pay_0198c5a4-1111-7abc-8def-0123456789ab","merchant_id":"demo","#,
                r#""amount":1000,"currency":"USD","status":"succeeded","#,
                r#""created_at":"2026-01-02T03:04:05.678901Z","#,
                r#""updated_at":"2026-01-02T03:04:06Z"}"#
            )
        );
    }
}
