//! The two switches, step by step; each step says what it does before it does it.

use std::time::{Duration, Instant};

use actors::Topic;
use anyhow::{Context, bail};
use relay::{Heard, positions, topics};
use store::{CdcProducer, Store};

use super::found::Found;
use super::sequin::{Sequin, interpolated};
use super::{Producer, SwitchArgs};
use crate::register;
use crate::say;

const CONNECTIONS: u32 = 2;
const POLL: Duration = Duration::from_millis(200);
/// A relay whose session was just beginning lets go of its slot within this.
const STAYS_GONE_FOR: Duration = Duration::from_secs(2);
/// Kafka gives up a consumer that is gone within 6 s.
const GROUP_PATIENCE: Duration = Duration::from_secs(20);
/// A producer may begin to announce a moment after it streams: what it has missed comes again.
const ANNOUNCED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A Sequin that goes announces within milliseconds, or not at all.
const SEQUIN_PATIENCE: Duration = Duration::from_secs(10);
/// Of a Sequin that announced nothing any more nobody knows since when: what finished for so long is
/// announced again, for those who read webhook-events beside Restate.
const UNHEARD_FOR: Duration = Duration::from_secs(3600);

struct Switch<'a> {
    args: &'a SwitchArgs,
    store: Store,
    sequin: Sequin,
}

pub(super) async fn switch(args: &SwitchArgs) -> anyhow::Result<()> {
    let switch = Switch {
        args,
        store: Store::new(&args.database_url, "posthorn-cdc", CONNECTIONS)?,
        sequin: Sequin::new(args)?,
    };
    let Some(_alone) = register::alone(&switch.store).await? else { bail!(register::OTHERS_RUN) };
    match args.to {
        Producer::Sequin => switch.to_sequin().await,
        Producer::Relay => switch.to_relay().await,
    }
}

impl Switch<'_> {
    async fn to_sequin(&self) -> anyhow::Result<()> {
        let Self { args, store, sequin, .. } = self;
        if args.sequin_is_gone {
            bail!("--sequin-is-gone goes with `switch relay` alone");
        }
        let yaml = std::fs::read_to_string(&args.sequin_config)
            .with_context(|| format!("--sequin-config {}", args.sequin_config.display()))?;
        let yaml = interpolated(&yaml, |name| std::env::var(name).ok())?;
        sequin.check().await.context(
            "start Sequin first, such as: docker compose --profile sequin up --detach --no-deps redis sequin",
        )?;
        let found = self.begin().await?;
        if found.producer == CdcProducer::Relay {
            if let Err(error) = self.let_sequin_stand(&yaml, &found).await {
                say("Sequin does not take over: what this switch made is taken back");
                return Err(taken_back(error, self.take_back_sequin(&found).await));
            }
            store.set_cdc_producer(CdcProducer::Sequin).await?;
        } else {
            self.is_sequin_heard().await?;
        }
        say("the relay stands by, and its slot is dropped");
        self.let_go_of_the_relays_slot().await?;
        self.leave(topics::WAKES).await?;
        self.is_left_to(CdcProducer::Sequin).await?;
        say("Sequin announces. In containers, set COMPOSE_PROFILES=sequin in .env now.");
        Ok(())
    }

    /// Looks, and notes who announces: an installation that was never told would not know that this
    /// was interrupted.
    async fn begin(&self) -> anyhow::Result<Found> {
        let found = Found::look(self.args, &self.store).await?;
        found.fits(self.args)?;
        self.store.set_cdc_producer(found.producer).await?;
        Ok(found)
    }

    /// The last look: nobody is told that it is done when something else came of it.
    async fn is_left_to(&self, producer: CdcProducer) -> anyhow::Result<()> {
        let look = || async { Found::look(self.args, &self.store).await };
        let is_so = || async { Ok(look().await?.is_left_to(producer)) };
        let name = producer.name();
        if let Err(error) = self.until(&format!("{name} alone announces"), is_so).await {
            let found = look().await?.described(self.args);
            return Err(error.context(format!("{found}. Type this again")));
        }
        Ok(())
    }

    /// Until both read and the relay has announced what Sequin does not.
    async fn let_sequin_stand(&self, yaml: &str, found: &Found) -> anyhow::Result<()> {
        let Self { args, store, sequin, .. } = self;
        say("Sequin is told to read the outbox: database, slot, functions, sink");
        sequin.apply(yaml).await?;
        self.until("Sequin streams from its slot", || self.streams(&args.sequin_slot)).await?;
        say("Restate is told to read webhook-events as well, from here on");
        // The place is taken before the mark: what commits after the mark is read, what
        // committed before it the relay announces.
        self.subscribe(topics::EVENTS, found).await?;
        let mark = store.wal_position().await?;
        self.until("the relay has announced what committed before", || async {
            Ok(store.slot_has_confirmed(&args.relay_slot, &mark).await?)
        })
        .await?;
        say("both are to announce a row that nobody sees, Sequin as the relay does");
        self.is_sequin_heard().await
    }

    /// An error unless Sequin announces, beside the relay where that streams.
    async fn is_sequin_heard(&self) -> anyhow::Result<()> {
        let Self { args, .. } = self;
        let count = if self.streams(&args.relay_slot).await? { 2 } else { 1 };
        // A relay whose session ends repeats a row; who announces all rows is heard again.
        for _ in 0..count {
            if !self.announce(topics::EVENTS, count, self.step()).await? {
                bail!(
                    "in {} s Sequin announced nothing on webhook-events, or not as our relay does: \
                     look at its sink, its functions and its log; `posthorn cdc switch relay` goes \
                     back",
                    args.step_seconds
                );
            }
        }
        Ok(())
    }

    fn step(&self) -> Duration {
        Duration::from_secs(self.args.step_seconds)
    }

    /// Do as many producers as `count` announce on `topic` what commits from here on? It is awaited
    /// for `limit`.
    async fn announce(
        &self,
        topic: &'static str,
        count: u32,
        limit: Duration,
    ) -> anyhow::Result<bool> {
        let mut heard = Heard::from_here_on(&self.args.kafka, topic).await?;
        let begun = Instant::now();
        let mut committed: Option<Instant> = None;
        while begun.elapsed() < limit {
            if committed.is_none_or(|at| at.elapsed() > ANNOUNCED_AGAIN_AFTER) {
                self.store.announce_nothing().await?;
                committed = Some(Instant::now());
            }
            let most;
            (heard, most) = heard.look().await?;
            if most >= count {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn take_back_sequin(&self, found: &Found) -> anyhow::Result<()> {
        let Self { args, sequin, .. } = self;
        if !found.reads(topics::EVENTS) {
            actors::unsubscribe(&args.restate_admin_url, topics::EVENTS).await?;
        }
        if found.has_sequin_slot() {
            say(&format!("{} was there before, and stays", args.sequin_slot));
            return Ok(());
        }
        // The slot holds WAL: it goes even where Sequin does not answer any more.
        let removed = sequin.remove().await;
        self.until("Sequin's slot is gone", || self.drops(&args.sequin_slot)).await?;
        removed
    }

    async fn to_relay(&self) -> anyhow::Result<()> {
        let Self { args, sequin, .. } = self;
        if !args.sequin_is_gone {
            sequin.check().await.context(
                "Sequin must answer, to be told that it is done; where it is dead for good: \
                 --sequin-is-gone",
            )?;
        }
        let found = self.begin().await?;
        // A slot that is there has everything that its relay has not announced.
        if found.producer == CdcProducer::Sequin && !found.has_relay_slot() {
            self.owe().await?;
        }
        if let Err(error) = self.let_the_relay_stand(&found).await {
            let error = error.context(
                "is it running? such as: docker compose --profile relay up --detach --no-deps relay",
            );
            // It announced before: there is nothing to go back to.
            if found.producer == CdcProducer::Relay {
                return Err(error);
            }
            say("the relay does not stand: what this switch made is taken back");
            return Err(taken_back(error, self.take_back_the_relay(&found).await));
        }
        if args.sequin_is_gone {
            say("Sequin is not asked; its slot is dropped");
        } else {
            say("Sequin is told to end its sink and its database, and its slot is dropped");
            sequin.remove().await?;
        }
        self.until("Sequin's slot is gone", || self.drops(&args.sequin_slot))
            .await
            .context("stop it, such as: docker compose stop sequin; then type this again")?;
        self.leave(topics::EVENTS).await?;
        self.is_left_to(CdcProducer::Relay).await?;
        say("Our relay announces. In containers, set COMPOSE_PROFILES=relay in .env now.");
        Ok(())
    }

    /// Until the relay streams and owes nothing.
    async fn let_the_relay_stand(&self, found: &Found) -> anyhow::Result<()> {
        let Self { args, store, .. } = self;
        if found.producer == CdcProducer::Sequin {
            say("Restate is told to read webhook-wakes as well");
            self.subscribe(topics::WAKES, found).await?;
            store.set_cdc_producer(CdcProducer::Relay).await?;
        }
        say("the relay makes its slot, and announces again what waits");
        self.until("the relay streams from its slot", || async {
            let owes = store.relay_progress(&args.relay_slot).await?.owed.is_some();
            Ok(!owes && self.streams(&args.relay_slot).await?)
        })
        .await?;
        if !self.announce(topics::WAKES, 1, self.step()).await? {
            bail!(
                "the relay streams, and in {} s it announced nothing on webhook-wakes: look at its log",
                args.step_seconds
            );
        }
        Ok(())
    }

    /// Notes what the relay is to announce again when it makes its slot: what waits, and what
    /// finished since Sequin was last heard.
    async fn owe(&self) -> anyhow::Result<()> {
        let Self { args, store, .. } = self;
        let now = store.database_now().await?;
        let patience = SEQUIN_PATIENCE.min(self.step());
        let is_heard = !args.sequin_is_gone && self.announce(topics::EVENTS, 1, patience).await?;
        if !is_heard {
            say("Sequin announces nothing: what finished in the last hour is announced again, too");
        }
        let since = if is_heard { now } else { now - UNHEARD_FOR };
        Ok(store.relay_owes_since(&args.relay_slot, since).await?)
    }

    async fn take_back_the_relay(&self, found: &Found) -> anyhow::Result<()> {
        self.store.set_cdc_producer(CdcProducer::Sequin).await?;
        if !found.has_relay_slot() {
            self.let_go_of_the_relays_slot().await?;
        }
        if !found.reads(topics::WAKES) {
            actors::unsubscribe(&self.args.restate_admin_url, topics::WAKES).await?;
        }
        Ok(())
    }

    /// Subscribes `topic` beside what is subscribed, from its end on.
    async fn subscribe(&self, topic: &'static str, found: &Found) -> anyhow::Result<()> {
        let id = relay::topic_id(&self.args.kafka, topic).await?;
        let named = Topic { name: topic.to_owned(), id };
        // A switch that is typed again finds its own subscription: then it has its place.
        if !found.reads(topic) {
            self.begin_at_end(topic, &named.group()).await?;
        }
        actors::subscribe_beside(&self.args.registration(), &named).await?;
        Ok(())
    }

    /// Takes the subscription's place in `topic`. One that went a moment ago is still in its group.
    async fn begin_at_end(&self, topic: &'static str, group: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = positions::begin_at_end(&self.args.kafka, group, topic).await {
            if begun.elapsed() > GROUP_PATIENCE {
                return Err(error).with_context(|| format!("a place in {topic} for {group}"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends the subscription to `topic`, and makes good what it had not read.
    async fn leave(&self, topic: &str) -> anyhow::Result<()> {
        say(&format!("Restate does not read {topic} any more; who has due work is woken"));
        actors::unsubscribe(&self.args.restate_admin_url, topic).await?;
        let woken = actors::wake_left_alone(&self.store, &self.args.restate_ingress_url).await;
        let woken = woken.map_err(|error| anyhow::anyhow!("waking: {error}"))?;
        say(&format!("{woken} endpoints were woken"));
        Ok(())
    }

    async fn let_go_of_the_relays_slot(&self) -> anyhow::Result<()> {
        let slot = &self.args.relay_slot;
        let gone = || async {
            self.store.release_slot(slot).await?;
            self.drops(slot).await
        };
        self.until("the relay's slot is gone", gone).await?;
        tokio::time::sleep(STAYS_GONE_FOR).await;
        self.until("the relay's slot stays gone", gone).await?;
        // Whoever lets it announce again says from when on.
        Ok(self.store.relay_is_let_off(slot).await?)
    }

    async fn streams(&self, slot: &str) -> anyhow::Result<bool> {
        Ok(self.store.slot_state(slot).await?.is_some_and(|slot| slot.is_active))
    }

    async fn drops(&self, slot: &str) -> anyhow::Result<bool> {
        Ok(self.store.drop_free_slot(slot).await?)
    }

    /// Looks until it is so, for as long as a step may take.
    async fn until<F>(&self, what: &str, is_so: impl Fn() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        let begun = Instant::now();
        while !is_so().await? {
            if begun.elapsed() > self.step() {
                bail!("waited {} s in vain: {what}", self.args.step_seconds);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// Why the switch failed, and whether everything is as it was.
fn taken_back(error: anyhow::Error, taken_back: anyhow::Result<()>) -> anyhow::Error {
    match taken_back {
        Ok(()) => error.context("everything is as it was"),
        Err(second) => error.context(format!(
            "it could not all be taken back ({second:#}); see `select * from \
             pg_replication_slots`, then type this again"
        )),
    }
}

fn say(text: &str) {
    say::text_if_read(format_args!("{text}\n"));
}
