//! The shell and the core agree: the same scripts, played by the simulation and on the real parts,
//! come to the same.
//!
//! One side is the product's rules over the simulation's database, the other the worker over
//! PostgreSQL and Restate. Compared are the state, every delivery's attempts and end, the journal's
//! kinds of events, and what each request was about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use domain::endpoint::{EndpointEvent, EndpointState, Ordering};
use posthorn_tests::{Answer, Api, Receiver, until};
use serde_json::json;
use simulation::{Deed, DeliveryStanding, Script, Standing, Step, play};
use sqlx::PgPool;
use sqlx::types::Json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::scripts::SCRIPTS;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(120);
/// How often a script is played on the real parts, at most.
const TRIES: u32 = 3;
/// Scripts that are played at the same time.
const AT_ONCE: usize = 6;

/// The real side of a script.
struct Stage {
    api: Api,
    pool: PgPool,
    receiver: Receiver,
    merchant: String,
    endpoint: String,
    id: Uuid,
}

impl Stage {
    async fn set(script: &Script, pool: PgPool) -> anyhow::Result<Self> {
        let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
        let (replies, before) = (script.replies, AtomicUsize::new(0));
        receiver.rule(move |amount| {
            let number = u32::try_from(amount).ok()?;
            let reply = replies.to(number, before.fetch_add(1, Atomic::SeqCst));
            Some(match reply.retry_after_s {
                Some(seconds) => Answer::RetryAfter(reply.status, seconds),
                None => Answer::Status(reply.status),
            })
        });
        // A busy machine's api may say that it could not: then another merchant begins.
        let (merchant, endpoint) = until("a merchant", SOON, async || {
            let merchant = merchant("agrees");
            let endpoint = api.merchant(&merchant, receiver.url()).await?;
            Ok((merchant, endpoint))
        })
        .await?;
        let id = Uuid::parse_str(endpoint.trim_start_matches("ep_"))?;
        let ordering = match script.ordering {
            Ordering::Ordered => "ordered",
            Ordering::Strict => "strict",
            Ordering::Unordered => "unordered",
        };
        sqlx::query("update endpoints set policy = $2::jsonb, ordering = $3 where id = $1")
            .bind(id)
            .bind(script.policy)
            .bind(ordering)
            .execute(&pool)
            .await?;
        Ok(Self { api, pool, receiver, merchant, endpoint, id })
    }

    async fn tell(&self, deed: Deed) -> anyhow::Result<()> {
        let (command, mut body) = match deed {
            Deed::Pause => ("pause", json!({})),
            Deed::Resume => ("resume", json!({})),
            Deed::Disable => ("disable", json!({})),
            Deed::Enable => ("enable", json!({})),
            Deed::Skip(place) => {
                let waiting: Vec<Uuid> = sqlx::query_scalar(
                    "select id from deliveries where endpoint_id = $1 order by sequence",
                )
                .bind(self.id)
                .fetch_all(&self.pool)
                .await?;
                let delivery = waiting.get(place).context("nobody waits there")?;
                ("skip", json!({ "delivery_id": format!("dlv_{delivery}") }))
            }
            Deed::Redeliver(_) => ("redeliver", json!({})),
            Deed::ChangeUrl => return self.move_away().await,
            Deed::ChangeOrdering(_) => bail!("{deed:?} is in no script"),
        };
        // A repeat under the same id changes nothing.
        body["command_id"] = json!(Uuid::now_v7());
        until("the command is answered", SOON, async || {
            self.api.post(&format!("/v1/endpoints/{}/{command}", self.endpoint), &body).await?;
            Ok(())
        })
        .await
    }

    /// Another path of the same receiver.
    async fn move_away(&self) -> anyhow::Result<()> {
        let url = format!("{}/moved", self.receiver.url());
        let body = json!({ "url": url, "command_id": Uuid::now_v7() }).to_string();
        until("the new URL is taken", SOON, async || {
            let path = format!("/v1/endpoints/{}", self.endpoint);
            let (status, answer) = self.api.send("PATCH", &path, &[], body.clone()).await?;
            ensure!(status == 200, "{status} {answer}");
            Ok(())
        })
        .await
    }

    async fn pay(&self, amount: i64) -> anyhow::Result<()> {
        sqlx::query("insert into payments (merchant_id, amount, currency) values ($1, $2, 'USD')")
            .bind(&self.merchant)
            .bind(amount)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Waits until a count over this endpoint is reached.
    async fn reaches(&self, what: Step, sql: &'static str, count: i64) -> anyhow::Result<()> {
        until(&format!("{what:?}"), SOON, async || {
            let now: i64 = sqlx::query_scalar(sql).bind(self.id).fetch_one(&self.pool).await?;
            ensure!(now >= count, "{now} so far");
            Ok(())
        })
        .await
    }

    async fn deliveries(&self) -> anyhow::Result<Vec<DeliveryStanding>> {
        let rows: Vec<(i64, i32, i32, bool, String)> = sqlx::query_as(
            "select p.amount, d.attempts, d.refusals, d.poisonous, d.ended
             from (select object_id, attempts, refusals, poisonous, 'waits' as ended
                     from deliveries where endpoint_id = $1
                   union all
                   select object_id, attempts, refusals, poisonous, reason
                     from finished_deliveries where endpoint_id = $1) d
             join payments p on 'pay_' || p.id = d.object_id",
        )
        .bind(self.id)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(amount, attempts, refusals, poisonous, ended)| {
                Ok(DeliveryStanding {
                    number: u32::try_from(amount)?,
                    attempts: u32::try_from(attempts)?,
                    refusals: u32::try_from(refusals)?,
                    poisonous,
                    ended,
                })
            })
            .collect()
    }

    async fn standing(&self, script: &Script) -> anyhow::Result<Standing> {
        let state: Json<EndpointState> =
            sqlx::query_scalar("select state from endpoint_runtime where endpoint_id = $1")
                .bind(self.id)
                .fetch_one(&self.pool)
                .await?;
        let journal: Vec<Json<EndpointEvent>> = sqlx::query_scalar(
            "select event from endpoint_events where endpoint_id = $1 order by version",
        )
        .bind(self.id)
        .fetch_all(&self.pool)
        .await?;
        let journal: Vec<EndpointEvent> = journal.into_iter().map(|event| event.0).collect();
        let requests = self.receiver.requests();
        let numbers = requests.iter().filter_map(|request| {
            request.json()["data"]["amount"].as_u64().and_then(|n| u32::try_from(n).ok())
        });
        let deliveries = self.deliveries().await?;
        Ok(Standing::of(script.ordering, &state.0, &journal, deliveries, numbers.collect()))
    }
}

/// Plays a script on the real parts. A fault of ours (a data service that a busy machine did not let
/// answer in time) is no part of any script: where one was found, it is played again.
async fn play_for_real(script: &Script, pool: &PgPool) -> anyhow::Result<Standing> {
    for _ in 0..TRIES {
        let standing = play_once(script, pool.clone()).await?;
        if !standing.journal.iter().any(|event| event.starts_with("found_fault")) {
            return Ok(standing);
        }
    }
    bail!("{TRIES} times something on our side stood in the way")
}

async fn play_once(script: &Script, pool: PgPool) -> anyhow::Result<Standing> {
    let stage = Stage::set(script, pool).await?;
    let mut paid = 0;
    for step in script.steps {
        match *step {
            Step::Pay(count) => {
                for _ in 0..count {
                    paid += 1;
                    stage.pay(paid).await?;
                }
            }
            Step::Tell(deed) => stage.tell(deed).await?,
            Step::Attempts(count) => {
                let sql = "select count(*) from attempts where endpoint_id = $1";
                stage.reaches(*step, sql, i64::from(count)).await?;
            }
            Step::Finished(count) => {
                let sql = "select count(*) from finished_deliveries where endpoint_id = $1";
                stage.reaches(*step, sql, i64::try_from(count)?).await?;
            }
        }
    }
    stage.standing(script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulation_and_the_real_parts_come_to_the_same() -> anyhow::Result<()> {
    let pool = PgPool::connect(&shared_lab().await?.database_url()?).await?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut scripts = JoinSet::new();
    for script in SCRIPTS {
        let (pool, places) = (pool.clone(), Arc::clone(&places));
        scripts.spawn(async move {
            let _place = places.acquire_owned().await?;
            let simulated = play(script).with_context(|| script.name)?;
            let real = play_for_real(script, &pool).await.with_context(|| script.name)?;
            ensure!(
                simulated == real,
                "{}\nsimulated: {simulated:#?}\nreal: {real:#?}",
                script.name
            );
            anyhow::Ok(())
        });
    }
    let results = scripts.join_all().await;
    let differ: Vec<String> = results
        .iter()
        .filter_map(|result| result.as_ref().err().map(|e| format!("{e:#}")))
        .collect();
    ensure!(differ.is_empty(), "{} of {}:\n{}", differ.len(), results.len(), differ.join("\n"));
    Ok(())
}
