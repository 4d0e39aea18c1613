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
use crate::announcer::Announcer;
use crate::error::Error;
use crate::keeper::Keeper;
use crate::publisher::{Brokers, Cluster, Connected, Publisher};
use crate::republish::republish;
use crate::slot;
use crate::stream::Stream;

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
        let (client, announcer, brokers) = tokio::select! {
            // What is open by then is dropped: nothing was confirmed.
            () = shutdown.cancelled() => return Ok(()),
            opened = self.open(unusable) => opened?,
        };
        self.health.ready("slot");
        metrics::relay().session_begins();
        let slot = &self.replication.slot;
        tracing::info!(slot, kafka = self.kafka, "streaming");
        let keeper = Keeper::start(self.store.clone(), slot.clone());
        Stream::new(client, announcer, self, keeper).run(&brokers, shutdown).await
    }

    async fn open(&self, unusable: bool) -> Result<(ReplicationClient, Announcer, Brokers), Error> {
        let Connected { publisher, acknowledgements, brokers, cluster } =
            Publisher::connect(&self.kafka).await?;
        self.health.ready("kafka");
        self.stands_by().await?;
        let mut client = slot::open(self.replication.clone(), &self.store, unusable).await?;
        // Once more: whoever switches waits until the slot is gone, and stays gone.
        self.stands_by().await?;
        let mut announcer = Announcer::new(publisher, acknowledgements, self.announced.clone());
        self.pay_what_is_owed(&mut announcer, &cluster).await?;
        slot::start(&mut client).await?;
        Ok((client, announcer, brokers))
    }

    /// An error when another producer announces.
    async fn stands_by(&self) -> Result<(), Error> {
        match self.store.cdc_producer().await? {
            CdcProducer::Relay => Ok(()),
            CdcProducer::Sequin => Err(Error::StandsBy),
        }
    }

    async fn pay_what_is_owed(
        &self,
        announcer: &mut Announcer,
        cluster: &Cluster,
    ) -> Result<(), Error> {
        let slot = &self.replication.slot;
        let known = self.store.relay_progress(slot).await?;
        let is_same = known.kafka_cluster.as_deref() == Some(&cluster.id);
        if known.owed.is_none() && (!is_same || cluster.had_no_topics) {
            tracing::error!(
                slot,
                kafka = cluster.id,
                before = known.kafka_cluster,
                "this Kafka is not the one that has what the slot confirmed, or lost its topics: \
                 announcing again what waits and what finished meanwhile"
            );
            self.store.relay_owes(slot).await?;
        }
        let Some(owed) = self.store.relay_progress(slot).await?.owed else { return Ok(()) };
        self.health.not_ready("slot", "announcing again what waits");
        republish(&self.store, announcer, owed, &self.health).await?;
        self.store.relay_owes_nothing(slot, &cluster.id).await?;
        Ok(())
    }
}
