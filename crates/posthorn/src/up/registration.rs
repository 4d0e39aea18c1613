//! The registration with Restate, made when the stack starts and kept for as long as it runs.
//!
//! Four things make it void while `up` runs: topics that are other ones than before (deleted, or a
//! Kafka whose data is gone), a Kafka that was down meanwhile, a Restate whose data is gone, and a
//! consumer of Restate's that stands still. Each is noticed here, said in a line, and registered anew,
//! which changes nothing where nothing changed.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use actors::{RegisterConfig, Registered, Topic};
use anyhow::{Context, bail};
use relay::topics::Readers;
use stack::{Board, Progress};
use store::{CdcProducer, Store};
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::register::{self, JOIN_PATIENCE, Reads, UNREAD_PATIENCE_MAX, topic_of};

/// How long the relay may take to make the topics and the worker to listen, and Restate then to
/// reach it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a switch of producers that runs beside may take: each of its few steps has its own limit.
const OTHERS_PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at what is registered: a small question to Kafka.
const ROUND: Duration = Duration::from_secs(2);
/// Rounds between two looks whether somebody reads: that is a client of its own each time.
const ROUNDS_PER_LOOK: u32 = 3;

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

/// A subscription that nobody reads.
struct Unread {
    since: Option<Instant>,
    /// How long it is left so: longer each time that making it anew did not help.
    patience: Duration,
}

impl Unread {
    /// Nothing is known of it.
    const YET: Self = Self { since: None, patience: JOIN_PATIENCE };
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
        self.progress.wait("consumer");
        let reads = self.reads(&registered.group).await;
        self.progress.done("consumer");
        let made = register::summary(registered);
        self.progress.line("register", &format!("{made}; {}", reads.line(topic)));
    }

    async fn reads(&self, group: &str) -> Reads {
        Reads::awaited(&self.config.kafka, group, &CancellationToken::new()).await
    }

    /// Makes the subscription anew when nobody has read it for long while Kafka and Restate answer;
    /// what is to be said of it.
    async fn heal(&self, basis: &Basis, unread: &mut Unread) -> anyhow::Result<Option<String>> {
        let id = basis.topic_id.parse()?;
        let group = Topic { name: basis.topic.to_owned(), id }.group();
        let readers = relay::topics::readers(&self.config.kafka, &group).await;
        let answers = actors::subscribed_topics(&self.config.restate_admin_url).await;
        // One of both may be away: then somebody will read when it is back.
        let is_nobody = matches!(readers, Ok(Readers::Nobody)) && answers.is_ok();
        if matches!(readers, Ok(Readers::Placed)) {
            unread.patience = JOIN_PATIENCE;
        }
        if !is_nobody {
            unread.since = None;
            return Ok(None);
        }
        if unread.since.get_or_insert_with(Instant::now).elapsed() < unread.patience {
            return Ok(None);
        }
        unread.since = None;
        let Some(made) = register::anew(&self.config, &self.store, basis.topic).await? else {
            return Ok(None);
        };
        unread.patience = (unread.patience * 2).min(UNREAD_PATIENCE_MAX);
        let reads = self.reads(&group).await;
        Ok(Some(format!("{made}; {}", reads.line(basis.topic))))
    }

    /// Keeps it true, without end.
    pub(super) async fn keep(&self) -> Infallible {
        // The first registration was made a moment ago. A switch of producers that begins now must
        // be seen as one, and not be registered against.
        let mut known = self.basis().await.ok();
        let mut said = String::new();
        let mut unread = Unread::YET;
        let mut rounds = 0_u32;
        loop {
            tokio::time::sleep(ROUND).await;
            rounds = rounds.wrapping_add(1);
            // A part is away, or the relay is about to make its topics.
            let Ok(basis) = self.basis().await else {
                unread.since = None;
                continue;
            };
            let is_switch = known.as_ref().is_some_and(|known| known.topic != basis.topic);
            if known.as_ref() != Some(&basis) {
                unread = Unread::YET;
            }
            // Whoever switches producers sees to the subscriptions.
            if known.as_ref() == Some(&basis) || is_switch {
                if !is_switch && rounds.is_multiple_of(ROUNDS_PER_LOOK) {
                    match self.heal(&basis, &mut unread).await {
                        Ok(None) => said.clear(),
                        Ok(Some(text)) => self.progress.line("register", &text),
                        Err(error) => self.not_yet(&error, &mut said),
                    }
                }
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
                Err(error) => self.not_yet(&error, &mut said),
            }
        }
    }

    fn not_yet(&self, error: &anyhow::Error, said: &mut String) {
        let text = format!("not yet: {error:#}; trying again");
        if text != *said {
            self.progress.line("register", &text);
            *said = text;
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
