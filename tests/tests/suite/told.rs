//! What an operator is told of an endpoint's journal.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Receiver, until};
use sqlx::{Connection, PgConnection};

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_a_long_story_are_told_as_the_whole_story_tells_them()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, database) = (lab.api()?, Receiver::start().await?, lab.database_url()?);
    let merchant = merchant("told");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    // Short waits, and an event that is not given up meanwhile.
    sqlx::query(
        "update endpoints set policy = '{\"backoff_initial_ms\": 100, \"backoff_max_ms\": 100}'
                 where id = $1",
    )
    .bind(uuid::Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
    .execute(&mut PgConnection::connect(&database).await?)
    .await?;
    receiver.rule(|_| Some(Answer::Status(500)));
    api.payment(&merchant, 1).await?;
    until("a dozen probes", SOON, async || {
        let requests = receiver.requests().len();
        ensure!(requests >= 17, "{requests} requests");
        Ok(())
    })
    .await?;
    api.post(&format!("/v1/endpoints/{endpoint}/pause"), &serde_json::json!({})).await?;
    // The attempt that is under way may still add a line.
    until("the last lines are the story's", SOON, async || {
        let status = api.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
        let last: Vec<&str> = status["last_events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|e| e.as_str())
            .collect();
        let story =
            lab.posthorn(&["endpoint", "history", &endpoint, "--database-url", &database])?;
        let whole: Vec<&str> = story.lines().collect();
        ensure!(
            last.len() == 10 && whole.ends_with(&last),
            "{last:#?}\nis not the end of\n{story}"
        );
        ensure!(last[0].contains("a probe failed"), "{last:#?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_failure_of_very_many_events_is_told_as_the_whole_story_tells_it()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, database) = (lab.api()?, Receiver::start().await?, lab.database_url()?);
    let endpoint = api.merchant(&merchant("told-long"), receiver.url()).await?;
    let id = uuid::Uuid::parse_str(endpoint.trim_start_matches("ep_"))?;
    let mut db = PgConnection::connect(&database).await?;
    // A pause, a recovery, and then 2,500 failures; at last it is resumed.
    sqlx::query(
        "insert into endpoint_events (endpoint_id, version, schema_version, event, occurred_at)
         select $1, n, 1, jsonb_build_object('at', t.text) || case n
             when 1 then '{\"type\": \"paused\"}'
             when 2 then jsonb_build_object('type', 'recovered', 'delivery', t.delivery)
             when 4 then '{\"type\": \"breaker_opened\"}'
             when 2505 then '{\"type\": \"resumed\"}'
             else jsonb_build_object('type', 'found_unwell', 'delivery', t.delivery,
                 'cause', '{\"status\": 500}'::jsonb, 'span_begins', n = 3, 'not_before', t.text)
             end, t.at
         from generate_series(1, 2505) n, lateral (
             select at, to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as text,
                 'dlv_' || gen_random_uuid() as delivery
             from (values ('2026-01-01Z'::timestamptz + n * interval '1 min')) v (at)) t",
    )
    .bind(id)
    .execute(&mut db)
    .await?;
    sqlx::query("update endpoint_runtime set version = 2505 where endpoint_id = $1")
        .bind(id)
        .execute(&mut db)
        .await?;
    let status = api.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
    let last: Vec<&str> =
        status["last_events"].as_array().into_iter().flatten().filter_map(|e| e.as_str()).collect();
    let story = lab.posthorn(&["endpoint", "history", &endpoint, "--database-url", &database])?;
    let whole: Vec<&str> = story.lines().collect();
    ensure!(last.len() == 10 && whole.ends_with(&last), "{last:#?}\nis not the end of its story");
    ensure!(last[0].contains("a probe failed") && last[9].contains("resumed after"), "{last:#?}");
    Ok(())
}
