//! Between the messages of the contract and the values of the domain. Nothing is judged here.

use domain::endpoint::PolicySettings;
use domain::{Payment, PaymentStatus};
use proto::v1;
use store::{Endpoint, Merchant};
use time::OffsetDateTime;

use crate::refusal::Refusal;

/// proto3 has no difference between empty and not said.
pub(super) fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn timestamp(at: OffsetDateTime) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(at.nanosecond()).unwrap_or_default();
    Some(prost_types::Timestamp { seconds: at.unix_timestamp(), nanos })
}

/// The state's name, or none when it is unspecified. A number that is no state is refused here,
/// because it has no name that the domain could judge.
pub(super) fn status_name(number: i32) -> Result<Option<String>, Refusal> {
    use v1::PaymentStatus as Message;
    let status = match Message::try_from(number) {
        Ok(Message::Unspecified) => return Ok(None),
        Ok(Message::Pending) => PaymentStatus::Pending,
        Ok(Message::Succeeded) => PaymentStatus::Succeeded,
        Ok(Message::Failed) => PaymentStatus::Failed,
        Ok(Message::Cancelled) => PaymentStatus::Cancelled,
        Ok(Message::Refunded) => PaymentStatus::Refunded,
        Err(_) => return Err(Refusal::invalid("status", "must be a value of PaymentStatus")),
    };
    Ok(Some(status.as_str().to_owned()))
}

pub(super) fn payment(payment: Payment) -> v1::Payment {
    let status = match payment.status {
        PaymentStatus::Pending => v1::PaymentStatus::Pending,
        PaymentStatus::Succeeded => v1::PaymentStatus::Succeeded,
        PaymentStatus::Failed => v1::PaymentStatus::Failed,
        PaymentStatus::Cancelled => v1::PaymentStatus::Cancelled,
        PaymentStatus::Refunded => v1::PaymentStatus::Refunded,
    };
    v1::Payment {
        id: payment.id.to_string(),
        merchant_id: payment.merchant_id.into(),
        amount: payment.amount.minor_units(),
        currency: payment.currency.code().to_owned(),
        status: status.into(),
        created_at: timestamp(payment.created_at),
        updated_at: timestamp(payment.updated_at),
    }
}

pub(super) fn merchant(merchant: Merchant) -> v1::Merchant {
    v1::Merchant {
        merchant_id: merchant.id.into(),
        name: merchant.name.as_str().to_owned(),
        created_at: timestamp(merchant.created_at),
    }
}

pub(super) fn endpoint(endpoint: Endpoint) -> v1::Endpoint {
    v1::Endpoint {
        id: endpoint.id.to_string(),
        merchant_id: endpoint.merchant_id.into(),
        url: endpoint.url,
        event_types: endpoint.event_types.into_iter().map(Into::into).collect(),
        created_at: timestamp(endpoint.created_at),
        updated_at: timestamp(endpoint.updated_at),
        signature_scheme: endpoint.signature_scheme,
        header_names: endpoint.header_names,
        send_traceparent: endpoint.send_traceparent,
        ordering: endpoint.ordering.as_str().to_owned(),
        policy: Some(policy(endpoint.policy)),
    }
}

fn policy(settings: PolicySettings) -> v1::EndpointPolicy {
    v1::EndpointPolicy {
        parallelism: settings.parallelism,
        schedule_s: settings.schedule_s.unwrap_or_default(),
        backoff_initial_ms: settings.backoff_initial_ms,
        backoff_max_ms: settings.backoff_max_ms,
        throttled_wait_min_ms: settings.throttled_wait_min_ms,
        breaker_opens_after: settings.breaker_opens_after,
        breaker_opens_at_percent: settings.breaker_opens_at_percent,
        disables_after_s: settings.disables_after_s,
        probes_every_s: settings.probes_every_s,
        expires_after_s: settings.expires_after_s,
        attempt_timeout_ms: settings.attempt_timeout_ms,
    }
}

pub(super) fn policy_settings(message: v1::EndpointPolicy) -> PolicySettings {
    PolicySettings {
        parallelism: message.parallelism,
        // A list that is absent and one that is empty look the same here.
        schedule_s: Some(message.schedule_s).filter(|waits| !waits.is_empty()),
        backoff_initial_ms: message.backoff_initial_ms,
        backoff_max_ms: message.backoff_max_ms,
        throttled_wait_min_ms: message.throttled_wait_min_ms,
        breaker_opens_after: message.breaker_opens_after,
        breaker_opens_at_percent: message.breaker_opens_at_percent,
        disables_after_s: message.disables_after_s,
        probes_every_s: message.probes_every_s,
        expires_after_s: message.expires_after_s,
        attempt_timeout_ms: message.attempt_timeout_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_number_and_a_number_that_is_no_state_is_refused() {
        let names: Vec<_> = (0..=5).map(|n| status_name(n).expect("a state")).collect();
        let expected: Vec<_> =
            PaymentStatus::ALL.iter().map(|s| Some(s.as_str().to_owned())).collect();
        assert_eq!(names[0], None);
        assert_eq!(names[1..], expected);
        for number in [-1, 6, i32::MAX] {
            assert_eq!(status_name(number).expect_err("refused").field(), Some("status"));
        }
    }
}
