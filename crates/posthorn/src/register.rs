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
use relay::topics::{self, Readers};
use store::{Alone, CdcProducer, Chore, Store};
use tokio_util::sync::CancellationToken;

use crate::say::say;

/// One holds the right to it.
const CONNECTIONS: u32 = 2;
/// A registration takes seconds; a switch may take longer, and is then named.
const OTHERS_PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody may be in the group of Restate's consumer, while Kafka answers. It joins within a
/// fraction of a second; 6 s when the one before was not seen off, 10 s after a crash of Kafka.
pub(crate) const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// Longest that a subscription is left alone which nobody reads whatever is done.
pub(crate) const UNREAD_PATIENCE_MAX: Duration = Duration::from_secs(600);
/// Who makes a subscription anew waits so long for those that another one's may bring.
const GRACE: Duration = Duration::from_secs(2);
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
    /// Stay, and see to it every so many seconds that Restate reads the topic of whoever is noted as
    /// announcing: for an installation in which nobody types it when Kafka or Restate has lost
    /// something. Which worker gets new work it leaves as it is.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(5..=3_600)
    )]
    every: Option<u64>,
    #[command(flatten)]
    config: RegisterConfig,
}

pub(crate) async fn register(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(&args.database_url, "posthorn-register", CONNECTIONS)?;
    if let Some(every) = args.every {
        if args.topic.is_some() {
            bail!(
                "--every follows who is noted as announcing: leave --topic (POSTHORN_WAKE_TOPIC) out"
            );
        }
        keep(args, &store, Duration::from_secs(every)).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (topic, registered) = make(args, &store).await?;
    let never = CancellationToken::new();
    let seen = seen_to(&args.config, &store, topic, registered, &never).await?;
    if seen.readers == Readers::Nobody {
        bail!("{}; Restate's log says why: then type this again", seen.line);
    }
    say!("{}", seen.line);
    Ok(ExitCode::SUCCESS)
}

/// Sees to what is noted again and again, until it is told to stop; says what it had to make.
async fn keep(args: &RegisterArgs, store: &Store, every: Duration) -> anyhow::Result<()> {
    let stop = shutdown_signal().context("cannot listen to signals")?;
    let mut said = String::new();
    let mut pause = every;
    while !stop.is_cancelled() {
        let seen = kept(&args.config, store, &stop).await.unwrap_or_else(|error| Seen {
            line: format!("not now: {error:#}"),
            is_made: false,
            readers: Readers::Unsettled,
        });
        // One that is not read though it was made anew is left alone for longer each time.
        pause = match seen.readers {
            Readers::Nobody => (pause * 2).min(every.max(UNREAD_PATIENCE_MAX)),
            _ => every,
        };
        if (seen.is_made || seen.line != said) && !stop.is_cancelled() {
            say!("{}", seen.line);
        }
        said = seen.line;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// One round.
async fn kept(
    config: &RegisterConfig,
    store: &Store,
    stop: &CancellationToken,
) -> anyhow::Result<Seen> {
    let (topic, registered) = {
        let Some(_alone) = alone(store).await? else {
            bail!("another registration, or a switch of producers, runs");
        };
        // Which topic is a decision, and the first registration makes it.
        let Some(noted) = store.noted_cdc_producer().await? else {
            bail!("nobody is noted as announcing: type `posthorn register` once");
        };
        let topic = named(config, topic_of(noted)).await?;
        let registered =
            actors::keep_subscribed(config, &topic, beside(Some(noted), &topic.name)).await?;
        (topic_of(noted), registered)
    };
    seen_to(config, store, topic, registered, stop).await
}

/// What was made and found.
struct Seen {
    /// All of it.
    line: String,
    is_made: bool,
    /// In the end.
    readers: Readers,
}

/// Waits until `topic` is read, and makes its subscription anew when nobody comes.
async fn seen_to(
    config: &RegisterConfig,
    store: &Store,
    topic: &str,
    mut registered: Registered,
    stop: &CancellationToken,
) -> anyhow::Result<Seen> {
    let mut reads = Reads::awaited(&config.kafka, &registered.group, stop).await;
    if reads.is == Readers::Nobody && !registered.is_subscribed_anew {
        registered.made.extend(anew(config, store, topic).await?);
        reads = Reads::awaited(&config.kafka, &registered.group, stop).await;
    }
    let is_made = !registered.made.is_empty();
    // Where nothing was made it is the same line each time.
    let found = if is_made { reads.line(topic) } else { reads.is_so(topic) };
    let line = format!("{}; {found}", summary(&registered));
    Ok(Seen { line, is_made, readers: reads.is })
}

/// Registers, and notes who announces; the topic that Restate is to read.
async fn make<'a>(args: &'a RegisterArgs, store: &Store) -> anyhow::Result<(&'a str, Registered)> {
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
    Ok((topic, registered))
}

/// Who is in the group of Restate's subscription.
pub(crate) struct Reads {
    is: Readers,
    waited: Duration,
}

impl Reads {
    /// As soon as somebody has a place, when nobody has been there for [`JOIN_PATIENCE`] without a
    /// break, and when it could not be told for twice as long.
    pub(crate) async fn awaited(kafka: &str, group: &str, stop: &CancellationToken) -> Self {
        let begun = Instant::now();
        let mut nobody_since = None;
        loop {
            let is = topics::readers(kafka, group).await.unwrap_or(Readers::Unsettled);
            let alone_for = match is {
                Readers::Nobody => nobody_since.get_or_insert_with(Instant::now).elapsed(),
                _ => {
                    nobody_since = None;
                    Duration::ZERO
                }
            };
            let waited = begun.elapsed();
            if is == Readers::Placed || alone_for >= JOIN_PATIENCE {
                return Self { is, waited };
            }
            if waited >= 2 * JOIN_PATIENCE || stop.is_cancelled() {
                return Self { is: Readers::Unsettled, waited };
            }
            tokio::time::sleep(JOIN_POLL).await;
        }
    }

    /// How it is, and how long it took.
    pub(crate) fn line(&self, topic: &str) -> String {
        let found = self.is_so(topic);
        match self.is {
            Readers::Placed => format!("{found} after {:.1} s", self.waited.as_secs_f64()),
            Readers::Nobody | Readers::Unsettled => found,
        }
    }

    fn is_so(&self, topic: &str) -> String {
        match self.is {
            Readers::Placed => format!("Restate reads {topic}"),
            Readers::Nobody => {
                format!("Restate does not read {topic}: deliveries may be a minute late")
            }
            Readers::Unsettled => format!("it cannot be told yet whether Restate reads {topic}"),
        }
    }
}

/// Makes the subscription to `topic` anew, and says so. Its group stays: it goes on where it was.
/// None: others are at it, or somebody has come.
pub(crate) async fn anew(
    config: &RegisterConfig,
    store: &Store,
    topic: &str,
) -> anyhow::Result<Option<String>> {
    let Some(_alone) = alone(store).await? else { return Ok(None) };
    if let Some(noted) = store.noted_cdc_producer().await?
        && topic_of(noted) != topic
    {
        bail!("{} announces meanwhile, and {topic} was left as it is", noted.name());
    }
    let named = named(config, topic).await?;
    // Another one may have made it anew just now.
    let begun = Instant::now();
    while begun.elapsed() < GRACE {
        if topics::readers(&config.kafka, &named.group()).await? != Readers::Nobody {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
    actors::unsubscribe(&config.restate_admin_url, topic).await?;
    actors::subscribe_beside(config, &named).await?;
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

/// The topic of this name that there is now.
pub(crate) async fn named(config: &RegisterConfig, topic: &str) -> anyhow::Result<Topic> {
    let id = relay::topic_id(&config.kafka, topic).await?;
    Ok(Topic { name: topic.to_owned(), id })
}

/// Asks Kafka which topic it is, and registers with Restate.
pub(crate) async fn with_restate(
    config: &RegisterConfig,
    topic: &str,
    beside: Beside,
) -> anyhow::Result<Registered> {
    Ok(actors::register(config, &named(config, topic).await?, beside).await?)
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
