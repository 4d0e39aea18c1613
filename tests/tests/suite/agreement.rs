//! The shell and the core agree: the same scripts, played by the simulation and on the real parts,
//! come to the same.
//!
//! One side is the product's rules over the simulation's database, the other the worker over
//! PostgreSQL and Restate. Compared are the state, every delivery's attempts and end, the journal's
//! kinds of events, and what each request was about.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use domain::endpoint::{EndpointEvent, EndpointState, Ordering};
use posthorn_tests::{Answer, Api, Receiver, until};
use serde_json::{Value, json};
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
const TRIES: u32 = 2;
/// A data service that answers at all does so within milliseconds; this long, and the machine was busy
/// with something else: the client waits a second for a connection and three for all of it.
const HELD_UP_US: i64 = 1_000_000;
/// Scripts that are played at the same time.
const AT_ONCE: usize = 6;

/// A fault of ours, as the attempt that met it has it.
struct FaultSeen {
    attempt: Uuid,
    code: String,
    took_us: i64,
    sentence: String,
}

impl fmt::Display for FaultSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, code, took_us, sentence } = self;
        write!(f, "{code} after {took_us} us in the attempt {attempt}: {sentence}")
    }
}

impl FaultSeen {
    fn is_a_data_service_held_up(&self) -> bool {
        self.code == "payload_unavailable" && self.took_us >= HELD_UP_US
    }
}

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
        let change = |body| ("PATCH", "", body);
        let (method, command, mut body) = match deed {
            Deed::ChangeUrl => change(json!({ "url": format!("{}/moved", self.receiver.url()) })),
            Deed::ChangeOrdering(ordering) => change(json!({ "ordering": ordering.as_str() })),
            Deed::ChangePolicy(settings) => {
                change(json!({ "policy": serde_json::from_str::<Value>(settings)? }))
            }
            Deed::Subscribe(true) => change(json!({ "event_types": [] })),
            Deed::Subscribe(false) => change(json!({ "event_types": ["nothing.of_this"] })),
            Deed::Delete => ("DELETE", "", json!({})),
            Deed::Pause => ("POST", "/pause", json!({})),
            Deed::Resume => ("POST", "/resume", json!({})),
            Deed::Disable => ("POST", "/disable", json!({})),
            Deed::Enable => ("POST", "/enable", json!({})),
            Deed::Skip(place) => {
                let waiting: Vec<Uuid> = sqlx::query_scalar(
                    "select id from deliveries where endpoint_id = $1 order by sequence",
                )
                .bind(self.id)
                .fetch_all(&self.pool)
                .await?;
                let delivery = waiting.get(place).context("nobody waits there")?;
                ("POST", "/skip", json!({ "delivery_id": format!("dlv_{delivery}") }))
            }
            Deed::Redeliver(_) => ("POST", "/redeliver", json!({})),
        };
        // A repeat under the same id changes nothing.
        body["command_id"] = json!(Uuid::now_v7());
        until("the command is answered", SOON, async || {
            let path = format!("/v1/endpoints/{}{command}", self.endpoint);
            let (status, answer) = self.api.send(method, &path, &[], body.to_string()).await?;
            ensure!((200..300).contains(&status), "{method} {path}: {status} {answer}");
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

    /// The first attempt that something on our side stood in the way of.
    async fn fault(&self) -> anyhow::Result<Option<FaultSeen>> {
        let row: Option<(Uuid, Option<String>, i64, Value)> = sqlx::query_as(
            "select id, code, duration_us, detail from attempts
             where endpoint_id = $1 and class = 'fault' order by started_at limit 1",
        )
        .bind(self.id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(attempt, code, took_us, detail)| FaultSeen {
            attempt,
            code: code.unwrap_or_default(),
            took_us,
            sentence: detail["sentence"].to_string(),
        }))
    }

    async fn play(&self, script: &Script) -> anyhow::Result<Standing> {
        let mut paid = 0;
        for step in script.steps {
            match *step {
                Step::Pay(count) => {
                    for _ in 0..count {
                        paid += 1;
                        self.pay(paid).await?;
                    }
                }
                Step::Tell(deed) => self.tell(deed).await?,
                Step::Attempts(count) => {
                    let sql = "select count(*) from attempts where endpoint_id = $1";
                    self.reaches(*step, sql, i64::from(count)).await?;
                }
                Step::Finished(count) => {
                    let sql = "select count(*) from finished_deliveries where endpoint_id = $1";
                    self.reaches(*step, sql, i64::try_from(count)?).await?;
                }
            }
        }
        self.standing(script).await
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

/// Plays a script on the real parts. No script has a fault of ours in it, so one that is found is a
/// disagreement, but for a data service that a busy machine did not let answer for seconds: that is
/// said, and the script is played once more.
async fn play_for_real(script: &Script, pool: &PgPool) -> anyhow::Result<Standing> {
    for _ in 0..TRIES {
        let stage = Stage::set(script, pool.clone()).await?;
        let played = stage.play(script).await;
        let Some(fault) = stage.fault().await? else { return played };
        ensure!(fault.is_a_data_service_held_up(), "a fault of ours: {fault}\n{played:?}");
        eprintln!("{}: played again, for {fault}", script.name);
    }
    bail!("{TRIES} times the data service was held up")
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
