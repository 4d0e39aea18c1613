//! A process without file descriptors: that is no merchant's fault. It is alone in this process, whose
//! limit it takes away.

#[path = "delivery/receiver.rs"]
#[allow(dead_code, reason = "the other test uses all of it")]
mod receiver;
#[path = "delivery/setup.rs"]
#[allow(dead_code, reason = "the other test uses all of it")]
mod setup;

use std::fs::File;

use domain::{Fault, Outcome};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use posthorn_delivery::{Client, ClientConfig, Code, NameTable};

use receiver::{OK, Receiver, answer_all, script};
use setup::{client, config, endpoint, request};

#[tokio::test]
async fn a_worker_that_is_out_of_descriptors_blames_no_merchant_and_reaches_it_when_it_has_some() {
    let healthy = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let client = client();
    let proxy = format!("http://{}", healthy.address).parse().expect("a proxy");
    let proxied = ClientConfig { proxy: Some(proxy), ..config(NameTable::default(), &[]) };
    let proxied = Client::new(proxied).expect("a client");
    let mut request = request(&healthy.url());
    assert_eq!(client.attempt(&request).await.outcome.class(), "delivered");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, 64.min(soft), hard).expect("a lower limit");
    let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // Of another endpoint, so that no connection is there.
    request.endpoint_id = endpoint(2);
    for client in [&client, &proxied] {
        let attempt = client.attempt(&request).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::CannotConnect });
        assert_eq!(attempt.detail.code, Some(Code::NoResources));
    }
    assert_eq!(healthy.connections(), 1);
    drop(all);
    assert_eq!(client.attempt(&request).await.outcome.class(), "delivered");
}
