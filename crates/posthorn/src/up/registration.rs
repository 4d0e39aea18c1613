//! The registration with Restate, made when the stack starts and kept for as long as it runs.
//!
//! Three things make it void while `up` runs: topics that are other ones than before (deleted, or a
//! Kafka whose data is gone), a Kafka that was down meanwhile, a Restate whose data is gone. Each is
//! noticed here, said in a line, and registered anew, which changes nothing where nothing changed.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use actors::{RegisterConfig, Registered};
use anyhow::{Context, bail};
use stack::{Board, Progress};
use store::{CdcProducer, Store};

use super::plan::Plan;
use crate::register::{self, topic_of};

/// How long the relay may take to make the topics and the worker to listen, and Restate then to
/// reach it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a switch of producers that runs beside may take: each of its few steps has its own limit.
const OTHERS_PATIENCE: Duration = Duration::from_secs(600);
/// How long the consumer may take to join its group. It is a fraction of a second; 6 s when the one
/// before was not seen off.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at what is registered: a small question to Kafka.
const ROUND: Duration = Duration::from_secs(2);

/// One small question at a time, and the right to register.
const CONNECTIONS: u32 = 2;

/// What Restate is to know, and who says so.
pub(super) struct Registration {
    store: Store,
    config: RegisterConfig,
    board: Board,
    progress: Progress,
}

/// What the registration was made for.
#[derive(PartialEq, Eq)]
struct Basis {
    // A switch of producers outlives an `up`, and may come while it runs.
    topic: &'static str,
    topic_id: String,
    // How often Restate was started again.
    restate_restarts: u32,
}

impl Registration {
    pub(super) fn new(plan: &Plan, board: &Board, progress: &Progress) -> anyhow::Result<Self> {
        Ok(Self {
            store: Store::new(&plan.postgres.url(), "posthorn-up", CONNECTIONS)?,
            config: plan.registration(),
            board: board.clone(),
            progress: progress.clone(),
        })
    }

    /// Registers as whoever announces deliveries now wants it, and says for which topic; none: a
    /// switch of producers runs, and sees to it.
    async fn once(&self) -> anyhow::Result<Option<(&'static str, Registered)>> {
        let Some(_alone) = register::alone(&self.store).await? else { return Ok(None) };
        let noted = self.store.noted_cdc_producer().await?;
        let topic = topic_of(noted.unwrap_or(CdcProducer::Relay));
        let beside = register::beside(noted, topic);
        let registered = register::with_restate(&self.config, topic, beside).await?;
        Ok(Some((topic, registered)))
    }

    /// Registers as soon as the relay has made the topics and the worker listens, and waits until
    /// records flow: what is paid then is delivered at once.
    pub(super) async fn first(&self) -> anyhow::Result<()> {
        self.progress.wait("register");
        let registered = self.patiently().await;
        self.progress.done("register");
        let (topic, registered) = registered.context("registering with Restate")?;
        self.joined(topic, &registered).await;
        if topic == topic_of(CdcProducer::Sequin) {
            self.progress.line(
                "register",
                "Sequin announces, as `posthorn cdc switch` or `posthorn register` had it: until it runs, the sweeper \
                 alone wakes; `posthorn cdc switch relay` brings our relay back",
            );
        }
        Ok(())
    }

    /// Waits until Restate's consumer has its place, and says how it went.
    async fn joined(&self, topic: &str, registered: &Registered) {
        let made = register::summary(registered);
        self.progress.wait("consumer");
        let begun = Instant::now();
        let mut stable = false;
        while !stable && begun.elapsed() < JOIN_PATIENCE {
            let group = relay::topics::group_is_stable(&self.config.kafka, &registered.group).await;
            stable = group.unwrap_or(false);
            if !stable {
                tokio::time::sleep(POLL).await;
            }
        }
        let waited = self.progress.done("consumer").as_secs_f64();
        let reads = match stable {
            true => format!("Restate reads {topic} after {waited:.1} s"),
            false => format!(
                "Restate does not read {topic} yet after {waited:.0} s: first deliveries may be late"
            ),
        };
        self.progress.line("register", &format!("{made}; {reads}"));
    }

    /// Keeps it true, without end.
    pub(super) async fn keep(&self) -> Infallible {
        // The first registration was made a moment ago. A switch of producers that begins now must
        // be seen as one, and not be registered against.
        let mut known = self.basis().await.ok();
        let mut said = String::new();
        loop {
            tokio::time::sleep(ROUND).await;
            // A part is away, or the relay is about to make its topics.
            let Ok(basis) = self.basis().await else { continue };
            let is_switch = known.as_ref().is_some_and(|known| known.topic != basis.topic);
            // Whoever switches producers sees to the subscriptions.
            if known.as_ref() == Some(&basis) || is_switch {
                known = Some(basis);
                continue;
            }
            if known.as_ref().is_some_and(|known| known.topic_id != basis.topic_id) {
                let text = format!(
                    "{} is not the topic that it was: Restate is to read it from its beginning",
                    basis.topic
                );
                self.progress.line("register", &text);
            }
            match self.once().await {
                Ok(Some((topic, registered))) => {
                    if !registered.made.is_empty() {
                        self.joined(topic, &registered).await;
                    }
                    known = Some(basis);
                }
                Ok(None) => {}
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

    async fn basis(&self) -> anyhow::Result<Basis> {
        let topic = topic_of(self.store.cdc_producer().await?);
        let topic_id = relay::topic_id(&self.config.kafka, topic).await?.to_string();
        let services = self.board.status().services;
        let restate = services.iter().find(|service| service.name == "restate");
        let restate_restarts = restate.map_or(0, |restate| restate.restarts);
        Ok(Basis { topic, topic_id, restate_restarts })
    }

    async fn patiently(&self) -> anyhow::Result<(&'static str, Registered)> {
        let first = Instant::now();
        let mut begun = first;
        loop {
            match self.once().await {
                Ok(Some(registered)) => return Ok(registered),
                Ok(None) if first.elapsed() > OTHERS_PATIENCE => bail!(register::OTHERS_RUN),
                // It ends by itself, and needs what is being started here.
                Ok(None) => {
                    self.progress.line("register", register::OTHERS_RUN);
                    begun = Instant::now();
                }
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}
