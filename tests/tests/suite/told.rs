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
