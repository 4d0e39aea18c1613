//! One session: both sides opened, what is owed announced again, then the stream.
//!
//! Kafka first: a replication connection that cannot get rid of its rows would hold up a server
//! that is asked to stop. A session ends with the first error, and leaves nothing behind.

use observability::{Health, metrics};
use pgwire_replication::client::ReplicationClient;
use pgwire_replication::config::ReplicationConfig;
use store::{CdcProducer, Store};
use tokio_util::sync::CancellationToken;

use crate::announced::Announced;
use crate::announcer::{Announcer, Fences};
use crate::error::Error;
use crate::keeper::Keeper;
use crate::publisher::{Brokers, Connected, Publisher};
use crate::republish::republish;
use crate::slot;
use crate::stream::Stream;
use crate::topic_ids::TopicIds;

/// What all sessions of a relay have in common.
pub(crate) struct Sessions {
    pub(crate) replication: ReplicationConfig,
    pub(crate) kafka: String,
    pub(crate) store: Store,
    pub(crate) announced: Announced,
    pub(crate) health: Health,
}

impl Sessions {
    /// Runs one session until `shutdown` or an error.
    ///
    /// `unusable`: the session before found that the slot can never be read again.
    pub(crate) async fn run(
        &self,
        unusable: bool,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let (client, announcer, brokers, topics) = tokio::select! {
            // What is open by then is dropped: nothing was confirmed.
            () = shutdown.cancelled() => return Ok(()),
            opened = self.open(unusable) => opened?,
        };
        self.health.ready("slot");
        metrics::relay().session_begins();
        let slot = &self.replication.slot;
        tracing::info!(slot, kafka = self.kafka, "streaming");
        let keeper = Keeper::start(self.store.clone(), slot.clone());
        let away = brokers.are_away(&self.kafka, topics);
        Stream::new(client, announcer, self, keeper).run(away, shutdown).await
    }

    async fn open(
        &self,
        unusable: bool,
    ) -> Result<(ReplicationClient, Announcer, Brokers, TopicIds), Error> {
        let Connected { publisher, acknowledgements, brokers } =
            Publisher::connect(&self.kafka).await?;
        let topics = TopicIds::of(&self.kafka).await?;
        self.health.ready("kafka");
        self.stands_by().await?;
        let mut client = slot::open(self.replication.clone(), &self.store, unusable).await?;
        // Once more: whoever switches waits until the slot is gone, and stays gone.
        self.stands_by().await?;
        let store = self.store.clone();
        let fences: Fences = Box::new(move |endpoints| {
            let store = store.clone();
            Box::pin(async move { store.fences(&endpoints).await })
        });
        let mut announcer =
            Announcer::new(publisher, acknowledgements, self.announced.clone(), fences);
        self.pay_what_is_owed(&mut announcer, topics).await?;
        slot::start(&mut client).await?;
        Ok((client, announcer, brokers, topics))
    }

    /// An error when another producer announces.
    async fn stands_by(&self) -> Result<(), Error> {
        match self.store.cdc_producer().await? {
            CdcProducer::Relay => Ok(()),
            CdcProducer::Sequin => Err(Error::StandsBy),
        }
    }

    /// Whoever made the topics, and whenever this relay died: topics that are not the ones to which
    /// everything was announced so far are owed everything again.
    async fn pay_what_is_owed(
        &self,
        announcer: &mut Announcer,
        topics: TopicIds,
    ) -> Result<(), Error> {
        let slot = &self.replication.slot;
        let topics = topics.to_string();
        let known = self.store.relay_progress(slot).await?;
        if known.owed.is_none() && known.kafka_topics.as_ref() != Some(&topics) {
            tracing::error!(
                slot,
                topics,
                before = known.kafka_topics,
                "Kafka's topics are not the ones that have what the slot confirmed: announcing \
                 again what waits and what finished meanwhile"
            );
            self.store.relay_owes(slot).await?;
        }
        let Some(owed) = self.store.relay_progress(slot).await?.owed else { return Ok(()) };
        self.health.not_ready("slot", "announcing again what waits");
        republish(&self.store, announcer, owed, &self.health).await?;
        self.store.relay_owes_nothing(slot, &topics).await?;
        Ok(())
    }
}
