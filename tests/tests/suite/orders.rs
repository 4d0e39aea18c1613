//! The orders of an endpoint: who may pass whom.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Receiver, until};
use sqlx::{Connection, PgConnection};

use crate::path::{configure, try_for_longer};
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(45);

/// A merchant whose endpoint has this order and short clocks.
async fn endpoint(ordering: &str) -> anyhow::Result<(Api, Receiver, String, String)> {
    let lab = shared_lab().await?;
    let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant(ordering));
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    configure(&lab.database_url()?, &endpoint, ordering).await?;
    Ok((api, receiver, merchant, endpoint))
}

fn amounts(requests: &[posthorn_tests::Request]) -> Vec<i64> {
    requests.iter().filter_map(|request| request.json()["data"]["amount"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poisonous_event_does_not_stop_a_shop() -> anyhow::Result<()> {
    let (api, receiver, merchant, endpoint) = endpoint("ordered").await?;
    let id = uuid::Uuid::parse_str(endpoint.trim_start_matches("ep_"))?;
    let url = shared_lab().await?.database_url()?;
    // Until another gets through, what it waits is the endpoint's: that must not be its whole span.
    try_for_longer(&url, &endpoint).await?;
    receiver.rule(|amount| (amount == 1).then_some(Answer::Status(500)));
    for amount in 1..=5 {
        api.payment(&merchant, amount).await?;
    }
    // The breaker opens after five answers of 500; then probes walk past the head.
    let accepted = receiver.wait_for(4, SOON).await?;
    ensure!(amounts(&accepted) == [2, 3, 4, 5], "{:?}", amounts(&accepted));
    // From then on its 500s are refusals, and its own schedule ends.
    until("the poisonous one is over", SOON, async || {
        let mut db = PgConnection::connect(&url).await?;
        let (state, reason, poisonous): (String, String, bool) = sqlx::query_as(
            "select state, reason, poisonous from finished_deliveries
             where endpoint_id = $1 and state <> 'delivered'",
        )
        .bind(id)
        .fetch_optional(&mut db)
        .await?
        .context("it still waits")?;
        ensure!(state == "exhausted" && poisonous, "{state} {reason} {poisonous}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_blocks_a_strict_endpoint_until_it_gets_through() -> anyhow::Result<()> {
    let (api, receiver, merchant, _) = endpoint("strict").await?;
    receiver.script([Answer::Status(400), Answer::Status(400)]);
    for amount in 1..=3 {
        api.payment(&merchant, amount).await?;
    }
    receiver.wait_for(3, SOON).await?;
    let seen = amounts(&receiver.requests());
    ensure!(seen == [1, 1, 1, 2, 3], "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unordered_endpoint_goes_on_beside_a_request_that_hangs() -> anyhow::Result<()> {
    let (api, receiver, merchant, _) = endpoint("unordered").await?;
    receiver.rule(|amount| (amount == 1).then_some(Answer::Hang));
    for amount in 1..=6 {
        api.payment(&merchant, amount).await?;
    }
    let mut accepted = amounts(&receiver.wait_for(5, SOON).await?);
    accepted.sort_unstable();
    ensure!(accepted == [2, 3, 4, 5, 6], "{accepted:?}");
    Ok(())
}
