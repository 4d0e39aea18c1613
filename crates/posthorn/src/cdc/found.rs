//! What a switch finds, and whether it fits together.

use std::fmt::Write;

use anyhow::bail;
use store::{CdcProducer, Store};

use super::{Producer, SwitchArgs};
use crate::register::topic_of;

/// Who announces, what Restate reads, and the slots that stand.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) producer: CdcProducer,
    topics: Vec<String>,
    /// Whether each is there, and then whether somebody streams from it.
    relay_slot: Option<bool>,
    sequin_slot: Option<bool>,
}

impl Found {
    pub(super) async fn look(args: &SwitchArgs, store: &Store) -> anyhow::Result<Self> {
        let is_active = |slot: store::SlotState| slot.is_active;
        Ok(Self {
            producer: store.cdc_producer().await?,
            topics: actors::subscribed_topics(&args.restate_admin_url).await?,
            relay_slot: store.slot_state(&args.relay_slot).await?.map(is_active),
            sequin_slot: store.slot_state(&args.sequin_slot).await?.map(is_active),
        })
    }

    pub(super) fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|known| known == topic)
    }

    pub(super) fn has_relay_slot(&self) -> bool {
        self.relay_slot.is_some()
    }

    pub(super) fn has_sequin_slot(&self) -> bool {
        self.sequin_slot.is_some()
    }

    /// Does `producer` announce, with a slot that it streams from, and nobody else?
    pub(super) fn is_left_to(&self, producer: CdcProducer) -> bool {
        let (its_own, other) = match producer {
            CdcProducer::Relay => (self.relay_slot, self.sequin_slot),
            CdcProducer::Sequin => (self.sequin_slot, self.relay_slot),
        };
        self.producer == producer
            && self.topics == [topic_of(producer)]
            && its_own == Some(true)
            && other.is_none()
    }

    /// An error when it does not fit together: then nothing is touched. Each state that a switch
    /// passes through does: whoever announces has its topic subscribed, and a slot.
    pub(super) fn fits(&self, args: &SwitchArgs) -> anyhow::Result<()> {
        let Some(what_to_do) = self.complaint(args) else { return Ok(()) };
        let found = self.described(args);
        bail!("nothing was changed, since this does not fit together: {found}. {what_to_do}")
    }

    /// All of it, in a sentence.
    pub(super) fn described(&self, args: &SwitchArgs) -> String {
        let mut found = format!("{} announces, as the database has it", self.producer.name());
        let topics = if self.topics.is_empty() { "nothing".into() } else { self.topics.join(", ") };
        // A text of our own: writing to it cannot fail.
        let _ = write!(found, "; Restate reads {topics}");
        for (slot, state) in
            [(&args.relay_slot, self.relay_slot), (&args.sequin_slot, self.sequin_slot)]
        {
            let state = match state {
                None => "is not there",
                Some(false) => "is there, and nobody streams from it",
                Some(true) => "streams",
            };
            let _ = write!(found, "; the slot {slot} {state}");
        }
        found
    }

    fn complaint(&self, args: &SwitchArgs) -> Option<String> {
        let topic = topic_of(self.producer);
        if !self.reads(topic) {
            return Some(self.topics.first().map_or_else(
                || "Type `posthorn register` first".to_owned(),
                |read| {
                    format!(
                        "Type `posthorn register --topic {read}` first: it notes who announces on \
                         what Restate reads"
                    )
                },
            ));
        }
        match (self.producer, args.to) {
            (CdcProducer::Relay, Producer::Sequin) if self.relay_slot.is_none() => Some(
                "Start the relay, or name its slot with --relay-slot: it must say what it has \
                 announced before it goes"
                    .to_owned(),
            ),
            (CdcProducer::Sequin, _) if self.sequin_slot.is_none() && !args.sequin_is_gone => Some(
                "Name Sequin's slot with --sequin-slot, or start Sequin; when both are gone: \
                     `posthorn cdc switch relay --sequin-is-gone`"
                    .to_owned(),
            ),
            _ if args.sequin_is_gone && self.sequin_slot == Some(true) => Some(
                "Somebody streams from Sequin's slot: stop it, or leave --sequin-is-gone out"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
