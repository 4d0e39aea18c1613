//! The forms of what is kept as JSON for good: an older one is read, a newer one is refused by name.
//! A command's answer that cannot be read says that the command was done.

use std::fmt::Debug;

use anyhow::{bail, ensure};
use domain::endpoint::EndpointState;
use store::{Order, StoreError, Told};
use uuid::Uuid;

use crate::turn::{Bench, attempt, bench};

impl Bench {
    async fn state(&mut self, sql: &'static str) -> anyhow::Result<()> {
        sqlx::query(sql).bind(self.endpoint.uuid()).execute(&mut self.db).await?;
        Ok(())
    }

    async fn pause(&self) -> Result<store::Commanded, StoreError> {
        let (endpoint, id, told) = (self.endpoint, Uuid::now_v7(), Told::Pause);
        self.store.command(&Order { endpoint, id, actor: "ada", told }).await
    }
}

/// It was refused for being newer, and says what to do.
fn is_refused<T: Debug>(read: Result<T, StoreError>) -> anyhow::Result<()> {
    let Err(error @ StoreError::NewerForm { found: 2, known: 1, .. }) = read else {
        bail!("{read:?}")
    };
    let text = error.to_string();
    ensure!(text.contains("is of form 2") && text.contains("Run that build"), "{text}");
    ensure!(error.is_of_the_row() && !error.is_away());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_a_newer_form_is_refused_and_one_of_an_older_form_is_read() -> anyhow::Result<()>
{
    let mut bench = bench("forms", 2).await?;
    let (fence, look) = bench.look().await?;
    bench
        .state(
            "update endpoint_runtime set state = state || '{\"schema_version\": 0}'
             where endpoint_id = $1",
        )
        .await?;
    ensure!(bench.look().await?.1.state == EndpointState::default(), "from here on it is ours");

    // The second cannot even be parsed by this build.
    for newer in [
        "update endpoint_runtime set state = state || '{\"schema_version\": 2}'
         where endpoint_id = $1",
        "update endpoint_runtime
         set state = '{\"schema_version\": 2, \"status\": {\"is\": \"asleep\"}}', version = 7
         where endpoint_id = $1",
    ] {
        bench.state(newer).await?;
        is_refused(bench.store.look(bench.endpoint, 50, fence).await)?;
        is_refused(bench.store.standing(bench.endpoint).await)?;
        is_refused(bench.pause().await)?;
    }
    // A settle reads what a newer build wrote in between.
    let (row, decision) = attempt(&look.due[0], &look, 200);
    let settlement = store::Settlement {
        endpoint: bench.endpoint,
        fence,
        version: look.version,
        attempt: &row,
        decision: &decision,
        state: &look.state,
    };
    is_refused(bench.store.settle(&settlement).await)?;
    ensure!(bench.count("attempts").await? == 0 && bench.count("endpoint_events").await? == 0);

    bench
        .state(
            "update endpoint_runtime
             set state = '{\"schema_version\": 1, \"status\": {\"is\": \"asleep\"}}'
             where endpoint_id = $1",
        )
        .await?;
    let broken = bench.store.look(bench.endpoint, 50, fence).await;
    ensure!(matches!(broken, Err(StoreError::Database(_))), "that is no newer one: {broken:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_form_is_refused_and_one_of_an_older_form_is_read() -> anyhow::Result<()>
{
    let mut bench = bench("event_forms", 1).await?;
    bench.pause().await?;
    bench.state("update endpoint_events set schema_version = 0 where endpoint_id = $1").await?;
    ensure!(bench.store.journal(bench.endpoint, 0, 10).await?.len() == 1);
    bench.state("update endpoint_events set schema_version = 2 where endpoint_id = $1").await?;
    is_refused(bench.store.journal(bench.endpoint, 0, 10).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_command_whose_answer_cannot_be_read_says_that_it_was_done()
-> anyhow::Result<()> {
    let mut bench = bench("answer_forms", 1).await?;
    let (endpoint, id) = (bench.endpoint, Uuid::now_v7());
    let pause = Order { endpoint, id, actor: "ada", told: Told::Pause };
    let delete = Order { id: Uuid::now_v7(), told: Told::Delete, ..pause.clone() };
    let done = bench.store.command(&pause).await?;
    ensure!(bench.store.command(&pause).await? == done, "a repeat hears the same");
    let is_unreadable = async |bench: &Bench, order: &Order<'_>| {
        let answer = bench.store.command(order).await;
        let Err(error @ StoreError::Unreadable { .. }) = answer else { bail!("{answer:?}") };
        let text = error.to_string();
        ensure!(text.contains("endpoint_commands") && text.contains("was done"), "{text}");
        Ok(())
    };
    let older = "update endpoint_commands set answer = answer - 'more' where endpoint_id = $1";
    let newer = "update endpoint_commands
        set answer = jsonb_set(answer, '{state,schema_version}', '2') where endpoint_id = $1";
    bench.state(older).await?;
    is_unreadable(&bench, &pause).await?;
    bench.state(newer).await?;
    is_refused(bench.store.command(&pause).await)?;

    // The same of one that is deleted by now.
    bench.store.command(&delete).await?;
    bench.state(older).await?;
    is_unreadable(&bench, &delete).await?;
    bench.state(newer).await?;
    is_refused(bench.store.command(&delete).await)
}
