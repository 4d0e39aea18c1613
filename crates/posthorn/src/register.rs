//! `posthorn register`: the worker, Kafka and the one subscription, made known to Restate, and who
//! announces behind it to the database.
//!
//! Whoever is noted as announcing stays so: another one takes over by a switch alone. Registrations
//! and switches are made one at a time; what must never happen is that one of them goes by what it
//! read before another one changed it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use actors::{Beside, RegisterConfig, Registered, Topic};
use anyhow::{Context, bail};
use clap::Args;
use relay::topics;
use store::{Alone, CdcProducer, Chore, Store};

use crate::say::say;

/// One holds the right to it.
const CONNECTIONS: u32 = 2;
/// A registration takes seconds; a switch may take longer, and is then named.
const OTHERS_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(250);

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// PostgreSQL, as a URL: it keeps who announces.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The topic to subscribe to: webhook-wakes behind our relay, webhook-events behind a CDC that
    /// cannot merge. None: of whoever is noted as announcing, else our relay.
    #[arg(long, env = "POSTHORN_WAKE_TOPIC")]
    topic: Option<String>,
    #[command(flatten)]
    config: RegisterConfig,
}

pub(crate) async fn register(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(&args.database_url, "posthorn-register", CONNECTIONS)?;
    let Some(_alone) = alone(&store).await? else { bail!(OTHERS_RUN) };
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
    say!("{}", summary(&registered));
    Ok(ExitCode::SUCCESS)
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
