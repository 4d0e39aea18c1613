//! Clients and requests for the tests.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use domain::guard::{AllowedNetworks, UrlPolicy};
use domain::{EndpointId, EventType};
use posthorn_delivery::secrets::Secret;
use posthorn_delivery::{Answer, Client, ClientConfig, CustomHeaders, NameTable, Names, Request};
use time::macros::datetime;
use uuid::Uuid;

/// The whole time of an attempt in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(700);
/// For connecting, shorter, so that the two can be told apart.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How much later an attempt may end than its timeout, on a machine that is busy.
pub(crate) const SLACK: Duration = Duration::from_millis(1500);

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A client for which loopback is as good as the public internet.
pub(crate) fn client() -> Client {
    Client::new(config(NameTable::default(), &[])).expect("a client")
}

/// The options of such a client, with names, and ports that a URL with a name may have.
pub(crate) fn config(names: NameTable, ports: &[u16]) -> ClientConfig {
    let loopback = "127.0.0.0/8".parse().expect("a network");
    let mut url_policy = UrlPolicy { allow_http: true, ..UrlPolicy::default() };
    url_policy.ports.extend(ports);
    ClientConfig {
        url_policy,
        networks: AllowedNetworks::public_only().with([loopback]),
        connect_timeout: CONNECT_TIMEOUT,
        ..ClientConfig::new(Names::Table(names))
    }
}

/// A table with one name and its answers, in turn.
pub(crate) fn table(name: &str, answers: &[&[&str]]) -> NameTable {
    let table = NameTable::default();
    for answer in answers {
        let addresses: Vec<IpAddr> =
            answer.iter().map(|text| text.parse().expect("an address")).collect();
        table.add(name, Answer::Addresses(addresses));
    }
    table
}

pub(crate) fn request(url: &str) -> Request {
    Request {
        endpoint_id: endpoint(1),
        url: url.to_owned(),
        secrets: vec![SECRET.parse::<Secret>().expect("a secret")],
        event_id: Uuid::from_u128(7).into(),
        event_type: EventType::try_from("payment.succeeded".to_owned()).expect("a type"),
        occurred_at: datetime!(2026-03-01 12:00:00.5 UTC),
        data: Bytes::from_static(b"{ \"amount\": 1000 }"),
        headers: CustomHeaders::default(),
        is_well: false,
        timeout: TIMEOUT,
        traceparent: None,
        start_by: None,
    }
}

pub(crate) fn endpoint(n: u128) -> EndpointId {
    Uuid::from_u128(n).into()
}
