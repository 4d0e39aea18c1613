//! `posthorn register`: the worker, Kafka and the one subscription, made known to Restate, and who
//! announces behind it to the database.
//!
//! A subscription can stand and not be read: after a Kafka that was frozen for some seconds Restate's
//! consumer may stand still for good, with nothing to be seen at Restate. Its group then has nobody in
//! it, and the subscription is made anew.
//!
//! Whoever is noted as announcing stays so: another one takes over by a switch alone. Registrations
//! and switches are made one at a time; what must never happen is that one of them goes by what it
//! read before another one changed it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use actors::{Beside, RegisterConfig, Registered, Topic};
use anyhow::{Context, bail};
use clap::Args;
use observability::shutdown_signal;
use relay::topics;
use store::{Alone, CdcProducer, Chore, Store};

use crate::say::say;

/// One holds the right to it.
const CONNECTIONS: u32 = 2;
/// A registration takes seconds; a switch may take longer, and is then named.
const OTHERS_PATIENCE: Duration = Duration::from_secs(10);
/// How long Restate's consumer may take to join its group, while Kafka answers. It is a fraction of a
/// second; 6 s when the one before was not seen off, 10 s after a crash of Kafka.
pub(crate) const JOIN_PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(250);
/// Between two looks at the group.
const JOIN_POLL: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// PostgreSQL, as a URL: it keeps who announces.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The topic to subscribe to: webhook-wakes behind our relay, webhook-events behind a CDC that
    /// cannot merge. None: of whoever is noted as announcing, else our relay.
    #[arg(long, env = "POSTHORN_WAKE_TOPIC")]
    topic: Option<String>,
    /// Stay, and see to it every so many seconds that what was registered once is so still: for an
    /// installation in which nobody types it when Kafka or Restate has lost something.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(5..=3_600),
        conflicts_with = "topic"
    )]
    every: Option<u64>,
    #[command(flatten)]
    config: RegisterConfig,
}

pub(crate) async fn register(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(&args.database_url, "posthorn-register", CONNECTIONS)?;
    match args.every.map(Duration::from_secs) {
        Some(every) => keep(args, &store, every).await?,
        None => say!("{}", once(args, &store).await?.line()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Registers what is noted again and again, until it is told to stop; says what it had to make.
async fn keep(args: &RegisterArgs, store: &Store, every: Duration) -> anyhow::Result<()> {
    let stop = shutdown_signal().context("cannot listen to signals")?;
    let mut said = String::new();
    loop {
        let line = match kept(args, store).await {
            Ok(line) => line,
            Err(error) => format!("not now: {error:#}; trying again every {} s", every.as_secs()),
        };
        if line != said {
            say!("{line}");
            said = line;
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

async fn kept(args: &RegisterArgs, store: &Store) -> anyhow::Result<String> {
    // Which topic is a decision, and the first registration makes it.
    if store.noted_cdc_producer().await?.is_none() {
        bail!("nothing was registered yet: `posthorn register` does so, and notes who announces");
    }
    let found = once(args, store).await?;
    Ok(match found.registered.made.as_slice() {
        // The same each time.
        [] if found.reads.is_so => {
            format!("{}; Restate reads {}", summary(&found.registered), found.topic)
        }
        _ => found.line(),
    })
}

/// What is registered, and whether Restate reads it.
struct Found {
    topic: String,
    registered: Registered,
    reads: Reads,
}

impl Found {
    fn line(&self) -> String {
        format!("{}; {}", summary(&self.registered), self.reads.line(&self.topic))
    }
}

async fn once(args: &RegisterArgs, store: &Store) -> anyhow::Result<Found> {
    let (topic, mut registered) = make(args, store).await?;
    let kafka = &args.config.kafka;
    let mut reads = Reads::within(JOIN_PATIENCE, kafka, &registered.group).await;
    if !reads.is_so
        && registered.made.is_empty()
        && let Some(made) = anew(&args.config, store, &topic).await?
    {
        registered.made.push(made);
        reads = Reads::within(JOIN_PATIENCE, kafka, &registered.group).await;
    }
    Ok(Found { topic, registered, reads })
}

/// Registers, and notes who announces; the topic that Restate is to read.
async fn make(args: &RegisterArgs, store: &Store) -> anyhow::Result<(String, Registered)> {
    let Some(_alone) = alone(store).await? else { bail!(OTHERS_RUN) };
    let noted = store.noted_cdc_producer().await?;
    let wanted = args.topic.as_deref();
    let topic = wanted.unwrap_or_else(|| topic_of(noted.unwrap_or(CdcProducer::Relay)));
    let producer = producer_of(topic);
    if let (Some(noted), Some(producer)) = (noted, producer)
        && noted != producer
    {
        is_read_already(&args.config, topic, noted).await?;
    }
    let registered = with_restate(&args.config, topic, beside(noted, topic)).await?;
    // Not before: a registration that is refused leaves whoever announces in place.
    if let Some(producer) = producer {
        store.set_cdc_producer(producer).await.with_context(|| {
            format!("noting that {} announces; type this again", producer.name())
        })?;
    }
    Ok((topic.to_owned(), registered))
}

/// Whether Restate's consumer has its place in its group.
pub(crate) struct Reads {
    pub(crate) is_so: bool,
    waited: Duration,
}

impl Reads {
    /// As soon as it is so, and after `patience` at the latest.
    pub(crate) async fn within(patience: Duration, kafka: &str, group: &str) -> Self {
        let begun = Instant::now();
        loop {
            let is_so = topics::group_is_stable(kafka, group).await.unwrap_or(false);
            if is_so || begun.elapsed() > patience {
                return Self { is_so, waited: begun.elapsed() };
            }
            tokio::time::sleep(JOIN_POLL).await;
        }
    }

    pub(crate) fn line(&self, topic: &str) -> String {
        let waited = self.waited.as_secs_f64();
        match self.is_so {
            true => format!("Restate reads {topic} after {waited:.1} s"),
            false => format!(
                "Restate does not read {topic} yet after {waited:.0} s: first deliveries may be late"
            ),
        }
    }
}

/// Makes the subscription to `topic` anew, and says so. Its group stays: it goes on where it was.
/// None: others are at it, or another topic is read since.
pub(crate) async fn anew(
    config: &RegisterConfig,
    store: &Store,
    topic: &str,
) -> anyhow::Result<Option<String>> {
    let Some(_alone) = alone(store).await? else { return Ok(None) };
    if store.noted_cdc_producer().await?.is_some_and(|noted| topic_of(noted) != topic) {
        return Ok(None);
    }
    // A Kafka that is away takes nothing away.
    let id = relay::topic_id(&config.kafka, topic).await?;
    actors::unsubscribe(&config.restate_admin_url, topic).await?;
    actors::subscribe_beside(config, &Topic { name: topic.to_owned(), id }).await?;
    Ok(Some(format!("the subscription of {topic} anew, since nobody read it")))
}

/// An error unless Restate reads `topic`: a note that is wrong is set right, and nothing else.
async fn is_read_already(
    config: &RegisterConfig,
    topic: &str,
    noted: CdcProducer,
) -> anyhow::Result<()> {
    let read = actors::subscribed_topics(&config.restate_admin_url).await?;
    if read.iter().any(|known| known == topic) {
        return Ok(());
    }
    let noted = noted.name();
    bail!(
        "{noted} announces, as the database has it, and Restate does not read {topic}: nothing was \
         changed. To let another producer announce, type `posthorn cdc switch relay` or `posthorn \
         cdc switch sequin`; to register workers, `posthorn register` without --topic"
    )
}

/// What is said when the right to register is another's.
pub(crate) const OTHERS_RUN: &str = "another registration, or a switch of producers, runs: wait \
                                     until it has ended, and type this again";

/// The right to change who announces and what Restate reads; none while another has it for long.
pub(crate) async fn alone(store: &Store) -> anyhow::Result<Option<Alone>> {
    let begun = Instant::now();
    loop {
        let alone = store.alone(Chore::Announcing).await?;
        if alone.is_some() || begun.elapsed() > OTHERS_PATIENCE {
            return Ok(alone);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The topic by which Restate hears of what `producer` announces.
pub(crate) const fn topic_of(producer: CdcProducer) -> &'static str {
    match producer {
        CdcProducer::Relay => topics::WAKES,
        CdcProducer::Sequin => topics::EVENTS,
    }
}

/// Who announces on the topic that is subscribed.
fn producer_of(topic: &str) -> Option<CdcProducer> {
    [CdcProducer::Relay, CdcProducer::Sequin].into_iter().find(|it| topic_of(*it) == topic)
}

/// Where `topic` is read for who is noted, what is read beside it is a switch's that did not end.
pub(crate) fn beside(noted: Option<CdcProducer>, topic: &str) -> Beside {
    match noted {
        Some(noted) if topic_of(noted) == topic => Beside::Another,
        _ => Beside::Nobody,
    }
}

/// Asks Kafka which topic it is, and registers with Restate.
pub(crate) async fn with_restate(
    config: &RegisterConfig,
    topic: &str,
    beside: Beside,
) -> anyhow::Result<Registered> {
    let id = relay::topic_id(&config.kafka, topic).await?;
    let topic = Topic { name: topic.to_owned(), id };
    Ok(actors::register(config, &topic, beside).await?)
}

/// What was made, in one line.
pub(crate) fn summary(registered: &Registered) -> String {
    let made = match registered.made.as_slice() {
        [] => "everything was registered before".to_owned(),
        made => made.join("; "),
    };
    match registered.beside.as_slice() {
        [] => made,
        others => format!(
            "{made}; Restate reads {} as well: a switch of producers did not end, type `posthorn \
             cdc switch` again",
            others.join(", ")
        ),
    }
}
