//! New code comes while endpoints wait: what the build before has left in Restate, in a form that the
//! new one cannot read, costs no delivery and no time.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Lab, OtherBuild, Receiver, invocations_of, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::{crash, merchant, moved_worker};

const SOON: Duration = Duration::from_secs(30);
/// Until an endpoint tries again: a deployment fits into it on a machine that is busy.
const WAIT_MS: u64 = 40_000;
/// A timer's time, and a worker that is busy. The sweeper comes a minute after it, at the earliest.
const IN_TIME: Duration = Duration::from_secs(45);

/// An endpoint that was unwell once and waits for its timer, with one delivery.
struct Waiting {
    merchant: String,
    endpoint: String,
    receiver: Receiver,
    due: Instant,
    timer: String,
}

impl Waiting {
    async fn of(lab: &Lab, restate: &Api, name: &str) -> anyhow::Result<Self> {
        let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant(name));
        let endpoint = api.merchant(&merchant, receiver.url()).await?;
        sqlx::query("update endpoints set policy = $2 where id = $1")
            .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
            .bind(json!({ "backoff_initial_ms": WAIT_MS }))
            .execute(&mut PgConnection::connect(&lab.database_url()?).await?)
            .await?;
        receiver.script([Answer::Status(500)]);
        api.payment(&merchant, 1).await?;
        let timer = until("its timer is armed", SOON, async || {
            let left = invocations_of(restate, &endpoint).await?;
            ensure!(left.len() == 1 && left[0]["status"] == "scheduled", "{left:?}");
            Ok(left[0]["id"].as_str().context("an id")?.to_owned())
        })
        .await?;
        let status = api.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
        let not_before = status["not_before"].as_str().with_context(|| status.to_string())?;
        // The clock that is read first may only make it due too early.
        let now = Instant::now();
        let left = OffsetDateTime::parse(not_before, &Rfc3339)? - OffsetDateTime::now_utc();
        let due = now + Duration::try_from(left).context("it is not over yet")?;
        Ok(Self { merchant, endpoint, receiver, due, timer })
    }

    /// Leaves in Restate what no build has ever written.
    async fn is_left_in_another_form(&self, restate: &Api) -> anyhow::Result<()> {
        let kept = [
            ("looks", "\"many\""),
            ("generation", "\"first\""),
            ("timer", r#"{"due":"soon","number":1}"#),
            ("state", r#"{"merchant":7}"#),
            ("stuck", r#"{"why":"it was"}"#),
        ];
        self.keep(restate, &kept).await
    }

    /// Writes the whole of the object's state, and sees it there.
    async fn keep(&self, restate: &Api, kept: &[(&str, &str)]) -> anyhow::Result<()> {
        let state: serde_json::Map<String, Value> =
            kept.iter().map(|(key, text)| ((*key).to_owned(), json!(text.as_bytes()))).collect();
        let body = json!({ "object_key": self.endpoint, "new_state": state });
        restate.post("/services/Endpoint/state", &body).await?;
        until("it is there", SOON, async || {
            let now = self.kept(restate).await?;
            for (key, text) in kept {
                ensure!(now.get(*key).is_some_and(|value| value == text), "{now:?}");
            }
            Ok(())
        })
        .await
    }

    /// The object's state in Restate.
    async fn kept(&self, restate: &Api) -> anyhow::Result<serde_json::Map<String, Value>> {
        let query = format!(
            "select key, value_utf8 from state where service_name = 'Endpoint'
             and service_key = '{}'",
            self.endpoint
        );
        let accept = [("accept", "application/json")];
        let body = json!({ "query": query }).to_string();
        let (_, answer) = restate.send("POST", "/query", &accept, body).await?;
        let rows = answer["rows"].as_array().with_context(|| answer.to_string())?;
        let pair = |row: &Value| Some((row["key"].as_str()?.to_owned(), row["value_utf8"].clone()));
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// Its deliveries came at their time, and what is kept is ours again.
    async fn is_delivered(&self, restate: &Api, count: usize) -> anyhow::Result<()> {
        let limit = self.due.saturating_duration_since(Instant::now()) + IN_TIME;
        let arrived = self.receiver.wait_for(count, limit).await.context(self.merchant.clone())?;
        ensure!(arrived.len() == count, "{} arrived", arrived.len());
        ensure!(arrived.iter().all(|request| request.at >= self.due), "before its time");
        until("what is kept of it is of this build's form", SOON, async || {
            let now = self.kept(restate).await?;
            let view: Value = serde_json::from_str(now["state"].as_str().context("a copy")?)?;
            ensure!(view["version"].is_u64() && view["merchant"] == self.merchant, "{now:?}");
            ensure!(!now.contains_key("stuck"), "{now:?}");
            ensure!(now["looks"].as_str().is_some_and(|n| n.parse::<u64>().is_ok()), "{now:?}");
            let left = invocations_of(restate, &self.endpoint).await?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await
        .with_context(|| self.merchant.clone())
    }

    /// Sends it, after `delay`, what no build has ever sent; the invocation.
    async fn send(&self, lab: &Lab, handler: &str, delay: Duration) -> anyhow::Result<String> {
        let ingress = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_ingress))?;
        let (endpoint, delay_ms) = (&self.endpoint, delay.as_millis());
        let path = format!("/restate/send/Endpoint/{endpoint}/{handler}?delay={delay_ms}ms");
        let sent = ingress.post(&path, &json!({ "because": "dreamt", "of": 7 })).await?;
        Ok(sent["invocationId"].as_str().with_context(|| sent.to_string())?.to_owned())
    }

    async fn loses_its_timer(&self, restate: &Api) -> anyhow::Result<()> {
        let path = format!("/invocations/{}/kill", self.timer);
        let (status, answer) = restate.send("PATCH", &path, &[], "").await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(())
    }

    /// A wake of another form is its timer, and its merchant is still unwell when it fires: the next
    /// timer is armed.
    async fn has_a_timer_of_another_form(&self, lab: &Lab, restate: &Api) -> anyhow::Result<()> {
        self.receiver.script([Answer::Status(500)]);
        self.loses_its_timer(restate).await?;
        let wait = self.due.saturating_duration_since(Instant::now());
        let fires = self.send(lab, "wake", wait).await?;
        let at_ms = (OffsetDateTime::now_utc() + wait).unix_timestamp() * 1_000;
        let timer = json!({ "at_ms": at_ms, "at": "", "generation": 1, "invocation": fires });
        self.keep(restate, &[("generation", "1"), ("timer", &timer.to_string())]).await?;
        until("it fired, and the next is armed", wait + IN_TIME, async || {
            let count = self.receiver.requests().len();
            let left = invocations_of(restate, &self.endpoint).await?;
            ensure!(count == 2 && left.len() == 1, "{count} requests, {left:?}");
            ensure!(left[0]["status"] == "scheduled" && left[0]["id"] != fires, "{left:?}");
            Ok(())
        })
        .await
    }

    /// Its timer is lost, and when it is due a message comes that cannot be read.
    async fn is_told(&self, lab: &Lab, restate: &Api, handler: &str) -> anyhow::Result<()> {
        self.loses_its_timer(restate).await?;
        tokio::time::sleep_until(self.due.into()).await;
        self.send(lab, handler, Duration::ZERO).await?;
        self.is_delivered(restate, 1).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_cannot_read_what_the_one_before_left_in_restate_delivers_in_time()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let next = OtherBuild::of(&lab, "0123456789ab").await?;
    let worker = next.worker(&lab)?;
    let outcome = async {
        let by_timer = Waiting::of(&lab, &restate, "by-timer").await?;
        let by_record = Waiting::of(&lab, &restate, "by-record").await?;
        let by_wake = Waiting::of(&lab, &restate, "by-wake").await?;
        let by_appear = Waiting::of(&lab, &restate, "by-appear").await?;
        let again = Waiting::of(&lab, &restate, "again").await?;
        let said =
            until("the next build is registered", SOON, async || next.register(&lab, &worker))
                .await?;
        ensure!(said.contains(&format!("the worker's deployment {}", worker.url)), "{said}");
        by_timer.is_left_in_another_form(&restate).await?;
        by_record.is_left_in_another_form(&restate).await?;
        ensure!(Instant::now() < by_timer.due, "the deployment took longer than the wait");
        lab.api()?.payment(&by_record.merchant, 2).await?;
        tokio::try_join!(
            by_timer.is_delivered(&restate, 1),
            by_record.is_delivered(&restate, 2),
            by_wake.is_told(&lab, &restate, "wake"),
            by_appear.is_told(&lab, &restate, "appear"),
            again.has_a_timer_of_another_form(&lab, &restate),
        )
    }
    .await;
    // The stack's own worker gets the work again, whatever came of it.
    drop(worker);
    let is_at_home = moved_worker::is_at_home_again(&lab).await;
    outcome.and(is_at_home)
}
