//! Kafka's data, or its topics, gone while everything runs: nobody types anything, nothing is lost,
//! nothing waits for the sweeper, and `up` says what happened.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use posthorn_tests::{Api, Lab, Receiver, binary, until};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::replayed::signal;
use crate::{crash, merchant};

/// Kafka notices that its data is gone when it next writes a checkpoint.
const NOTICED: Duration = Duration::from_secs(90);
/// The sweeper would come after 60 s.
const BEFORE_THE_SWEEPER: Duration = Duration::from_secs(45);
/// Longer than Restate's consumer is waited for by its group (6 s).
const FROZEN: Duration = Duration::from_secs(12);
/// How often it is.
const TIMES_FROZEN: usize = 3;
/// Enough that the old offsets of every partition are well past the new ones.
const BEFORE: usize = 20;

/// Waits until `up` has printed every one of `lines` behind the first `from` bytes.
async fn said(lab: &Lab, from: usize, lines: &[&str]) -> anyhow::Result<()> {
    until("`up` says what happened", NOTICED, async || {
        let output = lab.output()?;
        let output = output.get(from..).unwrap_or_default();
        for line in lines {
            ensure!(output.contains(line), "no {line:?} in:\n{output}");
        }
        Ok(())
    })
    .await
}

/// Payments, a loss, payments: all of them arrive.
async fn survives(
    name: &str,
    lose: impl AsyncFnOnce(&Lab) -> anyhow::Result<()>,
    lines: &[&str],
) -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant(name);
    api.merchant(&merchant, receiver.url()).await?;
    for amount in 1..=BEFORE {
        api.payment(&merchant, i64::try_from(amount)?).await?;
    }
    receiver.wait_for(BEFORE, Duration::from_secs(60)).await.context("before anything was lost")?;
    let from = lab.output()?.len();
    lose(&lab).await?;
    api.payment(&merchant, 21).await?;
    said(&lab, from, lines).await?;
    api.payment(&merchant, 22).await?;
    let arrived = receiver.wait_for(BEFORE + 2, BEFORE_THE_SWEEPER).await?;
    ensure!(arrived.len() == BEFORE + 2, "{} requests", arrived.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_whose_data_vanishes_while_it_runs_is_made_anew() -> anyhow::Result<()> {
    survives(
        "vanished",
        async |lab: &Lab| Ok(std::fs::remove_dir_all(lab.dir().join("kafka/data"))?),
        &[
            "its log ends: ",
            "formatting a new data folder",
            "webhook-wakes is not the topic that it was",
            "the subscription of webhook-wakes to Endpoint/notify",
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_deleted_while_everything_runs_are_made_anew() -> anyhow::Result<()> {
    survives(
        "deleted",
        async |lab: &Lab| {
            let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
                .set("bootstrap.servers", format!("127.0.0.1:{}", lab.ports()?.kafka))
                .create()?;
            let topics = ["webhook-events", "webhook-wakes"];
            for deleted in admin.delete_topics(&topics, &AdminOptions::new()).await? {
                deleted.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
            }
            Ok(())
        },
        &[
            "webhook-wakes is not the topic that it was",
            "the subscription of webhook-wakes to Endpoint/notify",
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_was_frozen_for_a_while_is_read_again_before_the_sweeper_comes()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("thawed");
    api.merchant(&merchant, receiver.url()).await?;
    // Restate's consumer comes back from that by itself, most of the time.
    for amount in 1..=TIMES_FROZEN {
        signal(&lab, "kafka", Signal::SIGSTOP)?;
        tokio::time::sleep(FROZEN).await;
        signal(&lab, "kafka", Signal::SIGCONT)?;
        api.payment(&merchant, i64::try_from(amount)?).await?;
        receiver.wait_for(amount, BEFORE_THE_SWEEPER).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_not_ready_while_kafka_is_frozen_though_nothing_is_to_be_sent()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let relay = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.relay_health))?;
    let answers = async |status: u16| {
        until(&format!("the relay's readiness is {status}"), NOTICED, async || {
            let (code, parts) = relay.send("GET", "/readyz", &[], "").await?;
            ensure!(code == status, "{code} {parts}");
            Ok(parts.to_string())
        })
        .await
    };
    answers(200).await?;
    signal(&lab, "kafka", Signal::SIGSTOP)?;
    let told = answers(503).await;
    signal(&lab, "kafka", Signal::SIGCONT)?;
    let told = told?;
    ensure!(!told.contains(r#""kafka":"ready""#), "it says what is away: {told}");
    answers(200).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_other_settings_is_said_by_its_name_and_left_as_it_is() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let kafka = format!("127.0.0.1:{}", lab.ports()?.kafka);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &kafka).create()?;
    let options = AdminOptions::new();
    let topic = || ResourceSpecifier::Topic("webhook-wakes");
    let keep = async |retention_ms: &str| {
        let settings = AlterConfig::new(topic())
            .set("retention.ms", retention_ms)
            .set("max.message.bytes", "1048576");
        let altered = admin.alter_configs([&settings], &options).await?.remove(0);
        altered.map(drop).map_err(|(_, code)| anyhow::anyhow!("{code}"))
    };
    // A day, and not seven.
    keep("86400000").await?;
    let outcome = async {
        let typed = Command::new(binary()?).args(["topics", "--kafka", &kafka]).output()?;
        let said = String::from_utf8_lossy(&[typed.stdout, typed.stderr].concat()).into_owned();
        ensure!(typed.status.success(), "{said}");
        let complaints: Vec<&str> =
            said.lines().filter(|line| line.contains("another setting")).collect();
        let parts = ["webhook-wakes", "retention.ms", "604800000", "86400000"];
        let is_said = |line: &&str| parts.iter().all(|part| line.contains(part));
        ensure!(complaints.len() == 1 && complaints.iter().all(is_said), "{said}");
        let found = admin.describe_configs([&topic()], &options).await?.remove(0);
        let found = found.map_err(|code| anyhow::anyhow!("{code}"))?;
        let kept = found.get("retention.ms").and_then(|entry| entry.value.as_deref());
        ensure!(kept == Some("86400000"), "{kept:?}");
        Ok(())
    }
    .await;
    keep("604800000").await?;
    outcome
}
