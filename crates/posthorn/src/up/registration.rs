//! The registration with Restate, made when the stack starts and kept for as long as it runs.
//!
//! Three things make it void while `up` runs: topics that are other ones than before (deleted, or a
//! Kafka whose data is gone), a Kafka that was down meanwhile, a Restate whose data is gone. Each is
//! noticed here, said in a line, and registered anew, which changes nothing where nothing changed.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use actors::{RegisterConfig, Registered};
use anyhow::Context;
use stack::{Board, Progress};
use store::{CdcProducer, Store};

use super::plan::Plan;
use crate::register;

/// How long the relay may take to make the topics and the worker to listen, and Restate then to
/// reach it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the consumer may take to join its group. It is a fraction of a second; 6 s when the one
/// before was not seen off.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at what is registered: a small question to Kafka.
const ROUND: Duration = Duration::from_secs(2);

/// One small question at a time.
const CONNECTIONS: u32 = 1;

/// What Restate is to know, and who says so.
pub(super) struct Registration {
    store: Store,
    // Behind each of the producers.
    behind_relay: RegisterConfig,
    behind_sequin: RegisterConfig,
    board: Board,
    progress: Progress,
}

/// What the registration was made for.
#[derive(PartialEq, Eq)]
struct Basis {
    // A switch of producers outlives an `up`, and may come while it runs.
    topic: String,
    topic_id: String,
    // How often Restate was started again.
    restate_restarts: u32,
}

impl Registration {
    pub(super) fn new(plan: &Plan, board: &Board, progress: &Progress) -> anyhow::Result<Self> {
        Ok(Self {
            store: Store::new(&plan.postgres.url(), "posthorn-up", CONNECTIONS)?,
            behind_relay: plan.registration(CdcProducer::Relay),
            behind_sequin: plan.registration(CdcProducer::Sequin),
            board: board.clone(),
            progress: progress.clone(),
        })
    }

    /// As whoever announces deliveries now wants it.
    async fn config(&self) -> anyhow::Result<&RegisterConfig> {
        Ok(match self.store.cdc_producer().await? {
            CdcProducer::Relay => &self.behind_relay,
            CdcProducer::Sequin => &self.behind_sequin,
        })
    }

    /// Registers as soon as the relay has made the topics and the worker listens, and waits until
    /// records flow: what is paid then is delivered at once.
    pub(super) async fn first(&self) -> anyhow::Result<()> {
        let config = self.config().await?;
        self.progress.wait("register");
        let registered = patiently(config).await;
        self.progress.done("register");
        self.joined(config, &registered.context("registering with Restate")?).await;
        if config.topic == self.behind_sequin.topic {
            self.progress.line(
                "register",
                "Sequin announces, as `posthorn cdc switch` or `posthorn register` had it: until it runs, the sweeper \
                 alone wakes; `posthorn cdc switch relay` brings our relay back",
            );
        }
        Ok(())
    }

    /// Waits until Restate's consumer has its place, and says how it went.
    async fn joined(&self, config: &RegisterConfig, registered: &Registered) {
        let made = register::summary(registered);
        self.progress.wait("consumer");
        let begun = Instant::now();
        let mut stable = false;
        while !stable && begun.elapsed() < JOIN_PATIENCE {
            let group = relay::topics::group_is_stable(&config.kafka, &registered.group).await;
            stable = group.unwrap_or(false);
            if !stable {
                tokio::time::sleep(POLL).await;
            }
        }
        let waited = self.progress.done("consumer").as_secs_f64();
        let reads = match stable {
            true => format!("Restate reads {} after {waited:.1} s", config.topic),
            false => format!(
                "Restate does not read {} yet after {waited:.0} s: first deliveries may be late",
                config.topic
            ),
        };
        self.progress.line("register", &format!("{made}; {reads}"));
    }

    /// Keeps it true, without end.
    pub(super) async fn keep(&self) -> Infallible {
        // The first registration was made a moment ago. A switch of producers that begins now must
        // be seen as one, and not be registered against.
        let mut known = self.basis().await.ok().map(|(_, basis)| basis);
        let mut said = String::new();
        loop {
            tokio::time::sleep(ROUND).await;
            // A part is away, or the relay is about to make its topics.
            let Ok((config, basis)) = self.basis().await else { continue };
            let is_switch = known.as_ref().is_some_and(|known| known.topic != basis.topic);
            // Whoever switches producers sees to the subscriptions.
            if known.as_ref() == Some(&basis) || is_switch {
                known = Some(basis);
                continue;
            }
            if known.as_ref().is_some_and(|known| known.topic_id != basis.topic_id) {
                let topic = &config.topic;
                let text = format!(
                    "{topic} is not the topic that it was: Restate is to read it from its beginning"
                );
                self.progress.line("register", &text);
            }
            match register::with_restate(config).await {
                Ok(registered) => {
                    if !registered.made.is_empty() {
                        self.joined(config, &registered).await;
                    }
                    known = Some(basis);
                }
                Err(error) => {
                    let text = format!("not yet: {error:#}; trying again");
                    if text != said {
                        self.progress.line("register", &text);
                        said = text;
                    }
                }
            }
        }
    }

    async fn basis(&self) -> anyhow::Result<(&RegisterConfig, Basis)> {
        let config = self.config().await?;
        let topic_id = relay::topic_id(&config.kafka, &config.topic).await?.to_string();
        let services = self.board.status().services;
        let restate = services.iter().find(|service| service.name == "restate");
        let restate_restarts = restate.map_or(0, |restate| restate.restarts);
        let topic = config.topic.clone();
        Ok((config, Basis { topic, topic_id, restate_restarts }))
    }
}

async fn patiently(config: &RegisterConfig) -> anyhow::Result<Registered> {
    let begun = Instant::now();
    loop {
        match register::with_restate(config).await {
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(POLL).await,
            Ok(registered) => return Ok(registered),
        }
    }
}
