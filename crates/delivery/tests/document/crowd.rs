//! Five thousand endpoints that hang at once, beside one that does not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use posthorn_delivery::limits::PLACE_TIMEOUT;
use posthorn_delivery::{Attempt, Client, ClientConfig, NameTable, Request};
use tokio::task::JoinSet;

use crate::addresses::outcome;
use crate::field::Field;
use crate::memory::peak_of;
use crate::receiver::{OK, Receiver, Talk, answer_all, script};
use crate::setup::{SLACK, TIMEOUT, config, endpoint, request};

const ENDPOINTS: u128 = 5_000;
/// Far fewer than endpoints.
const PLACES: usize = 64;
/// Most of it is what waits for a place: some kilobytes each.
const PEAK_KIB_MAX: u64 = 64 * 1024;
/// The healthy one must not notice.
const HEALTHY_MAX: Duration = Duration::from_millis(500);

pub(crate) fn receivers(field: &mut Field) {
    let hangs = script(|mut talk: Talk| async move { talk.hold().await });
    let hangs = field.there(Receiver::start(hangs));
    let healthy = field.there(Receiver::start(script(|talk| answer_all(talk, OK))));
    let options = ClientConfig { concurrent_attempts: PLACES, ..config(NameTable::default(), &[]) };
    let client = field.here(async { Client::new(options).expect("a client") });
    let good = request(&healthy.url());
    // It was prompt before: of the places, a quarter is kept for its like.
    assert_eq!(field.here(client.attempt(&good)).outcome.class(), "delivered");
    let begun = Instant::now();
    let url = hangs.url();
    let (attempts, peak) = peak_of(|| {
        field.here(async {
            let mut hanging = JoinSet::new();
            for n in 0..ENDPOINTS {
                let client = client.clone();
                let request = Request { endpoint_id: endpoint(1_000 + n), ..request(&url) };
                hanging.spawn(async move { client.attempt(&request).await });
            }
            tokio::join!(hanging.join_all(), healthy_meanwhile(&client, &good)).0
        })
    });
    let took = begun.elapsed();
    assert!(took < PLACE_TIMEOUT + TIMEOUT + SLACK, "{took:?}");
    let each = |tell: &dyn Fn(&Attempt) -> String| {
        let distinct: BTreeSet<String> = attempts.iter().map(tell).collect();
        distinct.into_iter().collect::<Vec<_>>().join(" / ")
    };
    let outcomes = each(&|attempt| outcome(&attempt.outcome));
    let codes = each(&|attempt| attempt.detail.code.map_or("", |code| code.as_str()).to_owned());
    field.line(
        "hangs, and so do 4,999 others at once, beside one that does not",
        [&outcomes, &codes, "after the whole time, or the time for a place"],
        (took, "0"),
        (peak, PEAK_KIB_MAX),
    );
}

/// While the others hang: one after the other, each promptly.
async fn healthy_meanwhile(client: &Client, good: &Request) {
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < PLACE_TIMEOUT {
        let asked = Instant::now();
        let attempt = client.attempt(good).await;
        assert_eq!(attempt.outcome.class(), "delivered", "beside a crowd: {attempt:?}");
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slowest < HEALTHY_MAX, "beside a crowd the slowest took {slowest:?}");
}
