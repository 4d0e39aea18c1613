//! The role as its callers see it: over TCP, by its HTTP contract.
//!
//! The requests are written out as text, so that nothing between the test and the role (a pool, a
//! retry) can hide what it does.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use observability::Health;
use posthorn_simulator::{Config, run};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Role {
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), posthorn_simulator::Error>>,
}

impl Role {
    async fn start(ledger: Option<&Path>) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let config = Config { listen: address, ledger: ledger.map(Path::to_owned) };
        let running = tokio::spawn(run(config, health.clone(), shutdown.clone()));
        while TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(!running.is_finished(), "the role did not start");
            tokio::task::yield_now().await;
        }
        Ok(Self { address, shutdown, running })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        Ok(tokio::time::timeout(Duration::from_secs(10), self.running).await???)
    }

    /// The whole answer as text; empty when the connection was closed without one.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Value)> {
        let answer = self.ask(method, path, "", body).await?;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        Ok((status_of(&answer), serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    async fn webhook(&self, merchant: &str, id: &str, at_second: u32) -> anyhow::Result<String> {
        let body = json!({
            "type": "payment.succeeded",
            "timestamp": format!("2025-01-02T03:04:{at_second:02}.000000Z"),
            "data": { "id": "pay_1" },
        });
        let headers = format!("webhook-id: {id}\r\nwebhook-signature: v1,x\r\n");
        self.ask("POST", &format!("/webhooks/{merchant}"), &headers, &body.to_string()).await
    }
}

/// 0 when there was no answer.
fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_arrives_is_counted_listed_and_found_again() -> anyhow::Result<()> {
    let role = Role::start(None).await?;
    for (merchant, id, second) in [("a", "1", 2), ("a", "2", 1), ("a", "1", 2), ("b/c", "1", 2)] {
        assert_eq!(status_of(&role.webhook(merchant, id, second).await?), 200);
    }
    assert_eq!(status_of(&role.ask("POST", "/webhooks", "", "no json").await?), 200);
    assert_eq!(status_of(&role.ask("GET", "/webhooks/a", "", "").await?), 405);

    let (_, stats) = role.json("GET", "/stats", "").await?;
    assert_eq!(stats["received"], 5);
    assert_eq!(stats["total_received"], 5);
    assert_eq!(stats["distinct"], 4);
    assert_eq!(stats["duplicates"], 1);
    assert_eq!(stats["out_of_order"], 1);
    assert_eq!(stats["unique_payments"], 1);
    assert_eq!(stats["endpoints"]["a"]["out_of_order"], 1);
    assert_eq!(stats["endpoints"]["b/c"]["received"], 1);
    assert_eq!(stats["endpoints"]["default"]["received"], 1);

    let (_, page) = role.json("GET", "/ledger?merchant=a&limit=2", "").await?;
    assert_eq!(page["entries"][1]["webhook_id"], "2");
    assert_eq!(page["entries"][1]["headers"]["webhook-signature"], "v1,x");
    let after = page["next"].as_u64().unwrap_or_default();
    let (_, page) = role.json("GET", &format!("/ledger?merchant=a&after={after}"), "").await?;
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["next"], Value::Null);
    assert_eq!(role.json("GET", "/ledger?limit=0", "").await?.0, 400);

    let (_, found) = role.json("GET", "/ledger/1", "").await?;
    assert_eq!(found["requests"].as_array().map(Vec::len), Some(3));
    assert_eq!(role.json("GET", "/ledger/none", "").await?.0, 404);

    assert_eq!(role.json("POST", "/reset", "").await?.0, 204);
    assert_eq!(role.json("GET", "/stats", "").await?.1["received"], 0);
    role.stop().await
}

#[tokio::test]
async fn a_merchant_does_what_it_was_told_until_it_is_told_otherwise() -> anyhow::Result<()> {
    let role = Role::start(None).await?;
    let told = json!({ "fail_times": 2, "status": 429, "retry_after": "7", "body": "later" });
    assert_eq!(role.json("PUT", "/behaviours/a", &told.to_string()).await?.0, 200);
    let answer = role.webhook("a", "1", 1).await?;
    assert_eq!(status_of(&answer), 429);
    assert!(answer.contains("retry-after: 7\r\n") && answer.ends_with("\r\n\r\nlater"), "{answer}");
    assert_eq!(role.json("GET", "/behaviours/a", "").await?.1["fail_times"], 1);
    assert_eq!(status_of(&role.webhook("a", "1", 1).await?), 429);
    assert_eq!(status_of(&role.webhook("a", "1", 1).await?), 200);

    role.json("PUT", "/behaviours/*", r#"{"close":true}"#).await?;
    assert_eq!(role.webhook("b", "2", 1).await?, "");
    assert_eq!(status_of(&role.webhook("a", "3", 1).await?), 200, "its own behaviour is nearer");
    assert_eq!(role.json("DELETE", "/behaviours/*", "").await?.0, 204);
    assert_eq!(status_of(&role.webhook("b", "2", 1).await?), 200);
    assert_eq!(role.json("GET", "/behaviours/b", "").await?.0, 404);

    let begun = std::time::Instant::now();
    role.json("PUT", "/behaviours/d", r#"{"delay_ms":300}"#).await?;
    assert_eq!(status_of(&role.webhook("d", "4", 1).await?), 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(role.json("PUT", "/behaviours/a", r#"{"status":99}"#).await?.0, 400);

    let (_, stats) = role.json("GET", "/stats", "").await?;
    assert_eq!((&stats["refused"], &stats["unanswered"]), (&json!(2), &json!(1)));
    role.stop().await
}

#[tokio::test]
async fn a_merchant_that_hangs_answers_nothing_and_does_not_hold_up_the_end() -> anyhow::Result<()>
{
    let role = Role::start(None).await?;
    role.json("PUT", "/behaviours/a", r#"{"hang":true}"#).await?;
    let mut hung = Box::pin(role.webhook("a", "1", 1));
    loop {
        tokio::select! {
            answer = &mut hung => anyhow::bail!("answered: {answer:?}"),
            stats = role.json("GET", "/stats", "") => if stats?.1["unanswered"] == 1 { break },
        }
    }
    assert_eq!(status_of(&role.webhook("b", "1", 1).await?), 200, "others go on");
    role.shutdown.cancel();
    assert_eq!(hung.as_mut().await?, "", "cut off without an answer");
    drop(hung);
    role.stop().await
}

#[tokio::test]
async fn a_simulator_with_a_file_keeps_its_ledger_across_a_restart() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ledger.jsonl");
    let role = Role::start(Some(&file)).await?;
    role.json("PUT", "/behaviours/slow", r#"{"delay_ms":1}"#).await?;
    role.json("PUT", "/behaviours/shut", r#"{"close":true}"#).await?;
    for (merchant, id) in [("a", "1"), ("a", "1"), ("slow", "2"), ("shut", "3")] {
        role.webhook(merchant, id, 1).await?;
    }
    let (_, before) = role.json("GET", "/stats", "").await?;
    assert_eq!((&before["received"], &before["duplicates"]), (&json!(4), &json!(1)));
    role.stop().await?;

    let role = Role::start(Some(&file)).await?;
    assert_eq!(role.json("GET", "/stats", "").await?.1, before);
    role.webhook("a", "1", 1).await?;
    assert_eq!(role.json("GET", "/stats", "").await?.1["duplicates"], 2);
    role.json("POST", "/reset", "").await?;
    role.stop().await?;

    let role = Role::start(Some(&file)).await?;
    assert_eq!(role.json("GET", "/stats", "").await?.1["received"], 0);
    role.stop().await
}

#[tokio::test]
async fn a_body_without_end_is_refused_and_counted() -> anyhow::Result<()> {
    let role = Role::start(None).await?;
    let answer = role.ask("POST", "/webhooks/a", "", &"x".repeat((1 << 20) + 1)).await;
    // The rest of the body is not read, so the connection may be reset under the answer.
    assert!(answer.as_ref().map_or(true, |answer| status_of(answer) == 413), "{answer:?}");
    assert_eq!(role.json("GET", "/stats", "").await?.1["refused"], 1);
    role.stop().await
}
