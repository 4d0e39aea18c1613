//! Restate, as far as one object needs it: its state, its inbox, what is delayed, and which
//! invocation runs.
//!
//! What stands here survives a crash of the worker. A send with an idempotency key is swallowed by
//! an invocation that waits or runs under the same key, and by none that is over (retention 0). An
//! invocation that runs is tried again from its last acknowledged step.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Micros;
use crate::shell::Report;

/// Why a wake was sent; `actors/src/call.rs` has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeCall {
    Notified { looks: u64 },
    Continued { looks: u64 },
    Timer { generation: u64 },
    Swept,
    Commanded,
}

impl WakeCall {
    pub(crate) const fn sent_for(self) -> Option<u64> {
        match self {
            Self::Notified { looks } | Self::Continued { looks } => Some(looks),
            Self::Timer { .. } | Self::Swept | Self::Commanded => None,
        }
    }
}

/// An idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Looks(u64),
    Sweep(u64),
    Command(u64),
}

/// An invocation of `wake`, and how far it got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invocation {
    pub(crate) id: u64,
    pub(crate) call: WakeCall,
    pub(crate) key: Option<Key>,
    /// The counter that it raised; none before it did.
    pub(crate) raised: Option<u64>,
    pub(crate) slices: u32,
    pub(crate) elapsed: Duration,
    /// What the last slice that was acknowledged came back with.
    pub(crate) before: Option<Report>,
}

impl Invocation {
    fn new(id: u64, call: WakeCall, key: Option<Key>) -> Self {
        let (raised, before) = (None, None);
        Self { id, call, key, raised, slices: 0, elapsed: Duration::ZERO, before }
    }
}

/// The timer that is armed, as the object's state has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    pub(crate) at_ms: i64,
    pub(crate) generation: u64,
    pub(crate) invocation: u64,
}

/// One object, and all that Restate has of it.
#[derive(Debug, Default)]
pub(crate) struct Object {
    // Its state.
    pub(crate) looks: u64,
    pub(crate) timer: Option<Timer>,
    pub(crate) generation: u64,
    pub(crate) stuck: u32,
    /// A counter that the running wake has raised and shared handlers may not see yet.
    pub(crate) unseen: Option<u64>,
    pub(crate) inbox: VecDeque<Invocation>,
    pub(crate) running: Option<Invocation>,
    /// What is delayed, and when it fires.
    pub(crate) delayed: BTreeMap<u64, (Micros, WakeCall)>,
    last_id: u64,
}

impl Object {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a wake; what waits or runs under the same key swallows it.
    pub(crate) fn send(&mut self, call: WakeCall, key: Option<Key>) {
        let is_taken = |invocation: &Invocation| invocation.key.is_some() && invocation.key == key;
        if self.running.as_ref().is_some_and(is_taken) || self.inbox.iter().any(is_taken) {
            return;
        }
        let id = self.new_id();
        self.inbox.push_back(Invocation::new(id, call, key));
    }

    /// Sends a wake that comes at `at`; the id of its invocation.
    pub(crate) fn send_at(&mut self, call: WakeCall, at: Micros) -> u64 {
        let id = self.new_id();
        self.delayed.insert(id, (at, call));
        id
    }

    /// Cancels an invocation that is delayed or waits.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.delayed.remove(&id);
        self.inbox.retain(|invocation| invocation.id != id);
    }

    /// The time of a delayed invocation has come: it goes to the end of the inbox.
    pub(crate) fn fire(&mut self, id: u64) -> bool {
        let Some((_, call)) = self.delayed.remove(&id) else { return false };
        self.inbox.push_back(Invocation::new(id, call, None));
        true
    }

    /// Everything that the object keeps is cleared; what was sent to it is not.
    pub(crate) fn clear_all(&mut self) {
        (self.looks, self.unseen, self.timer) = (0, None, None);
        (self.generation, self.stuck) = (0, 0);
    }

    /// Is there nothing of it, and nothing on its way to it?
    pub(crate) fn is_gone(&self) -> bool {
        let keeps = self.looks > 0 || self.unseen.is_some() || self.timer.is_some();
        let comes = !self.inbox.is_empty() || self.running.is_some() || !self.delayed.is_empty();
        !keeps && self.generation == 0 && self.stuck == 0 && !comes
    }

    /// All of it is gone; ids are never drawn again.
    pub(crate) fn lose_everything(&mut self) {
        *self = Self { last_id: self.last_id, ..Self::default() };
    }
}
