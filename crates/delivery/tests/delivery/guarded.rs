//! The guard at connect: names that lead where nobody may go.
//!
//! A receiver listens on loopback all the time; none of these attempts may reach it.

use domain::guard::AllowedNetworks;
use domain::{Fault, Outcome, Unwell};
use posthorn_delivery::{Answer, Client, ClientConfig, Code, NameError, NameTable};

use crate::receiver::{OK, Receiver, Talk, answer_all, script};
use crate::setup::{SLACK, TIMEOUT, config, endpoint, request, table};

const HOST: &str = "merchant.example";

fn strict(names: NameTable, port: u16) -> Client {
    let config = config(names, &[port]);
    let config = ClientConfig { networks: AllowedNetworks::public_only(), ..config };
    Client::new(config).expect("a client")
}

async fn listening() -> (Receiver, String) {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let url = format!("http://{HOST}:{}/hook", receiver.address.port());
    (receiver, url)
}

#[tokio::test]
async fn a_name_that_leads_to_a_refused_address_is_never_dialled() {
    let answers: &[&[&str]] = &[
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["0.0.0.0"],
        &["10.0.0.1"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::a9fe:a9fe"],
        &["127.0.0.1", "::1"],
    ];
    let (receiver, url) = listening().await;
    for answer in answers {
        let client = strict(table(HOST, &[answer]), receiver.address.port());
        let attempt = client.attempt(&request(&url)).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Blocked }, "{answer:?}");
        assert_eq!(attempt.detail.code, Some(Code::AddressRefused), "{answer:?}");
        assert_eq!(attempt.detail.split.connect_us, None, "{answer:?}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn one_refused_address_among_public_ones_refuses_them_all() {
    let (receiver, url) = listening().await;
    for answer in
        [["93.184.216.34", "127.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["93.184.216.34", "::1"]]
    {
        let client = strict(table(HOST, &[&answer]), receiver.address.port());
        let attempt = client.attempt(&request(&url)).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Blocked }, "{answer:?}");
        assert_eq!(attempt.detail.code, Some(Code::MixedAddresses), "{answer:?}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_literal_address_goes_through_the_same_gate() {
    let (receiver, _) = listening().await;
    let port = receiver.address.port();
    let client = strict(NameTable::default(), port);
    for host in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"] {
        let attempt = client.attempt(&request(&format!("http://{host}:{port}/"))).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Blocked }, "{host}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_bound_to_another_address_the_second_time_gains_nothing() {
    let close_each = script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    });
    let receiver = Receiver::start(close_each).await;
    let port = receiver.address.port();
    let names = table(HOST, &[&["127.0.0.1"], &["10.0.0.1"]]);
    let client = Client::new(config(names.clone(), &[port])).expect("a client");
    let request = request(&format!("http://{HOST}:{port}/"));
    let first = client.attempt(&request).await;
    assert_eq!(first.outcome, Outcome::Delivered { status: 200 });
    assert_eq!(first.detail.address, Some(receiver.address), "dialled what was judged");
    assert_eq!(names.questions(), 1, "one question for one connection");
    let second = client.attempt(&request).await;
    assert_eq!(second.outcome, Outcome::Fault { fault: Fault::Blocked });
    assert_eq!((names.questions(), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn localhost_is_reached_where_the_operator_allows_it_and_no_name_server_is_asked() {
    let (receiver, _) = listening().await;
    let names = table("localhost", &[&["10.0.0.1"]]);
    let client = Client::new(config(names.clone(), &[])).expect("a client");
    let url = format!("http://localhost:{}/hook", receiver.address.port());
    let attempt = client.attempt(&request(&url)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
    assert_eq!(attempt.detail.address, Some(receiver.address));
    assert_eq!(names.questions(), 0);
}

#[tokio::test]
async fn a_name_without_an_address_is_the_merchants_and_is_told_apart() {
    let cases = [
        (Answer::Failure(NameError::NotFound), Code::DnsNotFound),
        (Answer::Failure(NameError::Failed), Code::DnsFailed),
        (Answer::Addresses(Vec::new()), Code::DnsNotFound),
    ];
    for (answer, code) in cases {
        let names = NameTable::default();
        names.add(HOST, answer);
        let client = Client::new(config(names, &[])).expect("a client");
        let attempt = client.attempt(&request(&format!("https://{HOST}/"))).await;
        assert_eq!(attempt.detail.code, Some(code));
        assert!(
            matches!(attempt.outcome, Outcome::Unwell { cause: Unwell::Dns, .. }),
            "{:?}",
            attempt.outcome
        );
    }
}

#[tokio::test]
async fn a_name_server_that_is_silent_costs_no_more_than_the_attempt_has() {
    let names = NameTable::default();
    names.add(HOST, Answer::Silence);
    let client = Client::new(config(names, &[])).expect("a client");
    let attempt = client.attempt(&request(&format!("https://{HOST}/"))).await;
    assert!(matches!(attempt.outcome, Outcome::Unwell { cause: Unwell::Dns, .. }));
    assert_eq!(attempt.detail.code, Some(Code::DnsTimeout));
    assert!(attempt.duration < TIMEOUT + SLACK);
}

#[tokio::test]
async fn name_servers_of_our_own_that_are_away_are_our_fault() {
    let names = NameTable::default();
    names.add(HOST, Answer::Failure(NameError::Away));
    let client = Client::new(config(names, &[])).expect("a client");
    let attempt = client.attempt(&request(&format!("https://{HOST}/"))).await;
    assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::NamesUnavailable });
    assert_eq!(attempt.detail.code, Some(Code::NamesUnavailable));
}

#[tokio::test]
async fn of_a_thousand_addresses_a_few_are_dialled_one_after_the_other() {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let port = receiver.address.port();
    // Nothing listens on the first ones; the last one that counts is the receiver.
    let mut addresses = vec!["127.0.0.3", "127.0.0.2", "127.0.0.4", "127.0.0.1"];
    addresses.resize(1_000, "127.0.0.5");
    let client = Client::new(config(table(HOST, &[&addresses]), &[port])).expect("a client");
    let attempt = client.attempt(&request(&format!("http://{HOST}:{port}/"))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
    assert_eq!(attempt.detail.address, Some(receiver.address));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_never_followed() {
    let (target, _) = listening().await;
    for status in [301, 302, 303, 307, 308] {
        let locations = [
            format!("http://{}/hook", target.address),
            "http://169.254.169.254/".to_owned(),
            "//127.0.0.1/".to_owned(),
            "/hook".to_owned(),
        ];
        for location in locations {
            let answer = format!(
                "HTTP/1.1 {status} Go\r\nlocation: {location}\r\nrefresh: 0; url={location}\r\n\
                 alt-svc: h2=\"{}\"\r\ncontent-length: 0\r\n\r\n",
                target.address
            );
            let receiver = Receiver::start(script(move |talk| {
                let answer = answer.clone();
                async move { answer_all(talk, answer.as_bytes()).await }
            }))
            .await;
            let client = Client::new(config(NameTable::default(), &[])).expect("a client");
            let attempt = client.attempt(&request(&receiver.url())).await;
            assert_eq!(attempt.outcome, Outcome::Refused { status });
            assert_eq!(attempt.detail.code, Some(Code::Redirect));
            assert_eq!(receiver.seen().len(), 1);
        }
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn one_endpoints_connection_never_serves_another_endpoint() {
    let (receiver, _) = listening().await;
    let client = Client::new(config(NameTable::default(), &[])).expect("a client");
    for n in [1, 1, 2, 2, 1] {
        let mut request = request(&receiver.url());
        request.endpoint_id = endpoint(n);
        client.attempt(&request).await;
    }
    assert_eq!(receiver.connections(), 2);
}
