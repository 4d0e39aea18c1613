//! Why a wake was sent: the input of `wake`, which Restate keeps for as long as the wake waits.
//!
//! A timer waits for days, so one that an older build armed is read by a newer one, and after a
//! rollback the other way round. One that cannot be read looks in any case.

use observability::metrics::WaitedFor;
use serde::{Deserialize, Serialize};

/// Why a wake was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub(crate) enum WakeCall {
    /// A record announced a delivery, when the counter was `looks`.
    Notified { looks: u64 },
    /// A wake before it used up its budget.
    Continued { looks: u64 },
    /// The timer of this generation fired.
    Timer { generation: u64 },
    /// The sweeper found the endpoint left alone.
    Swept,
    /// An operator told the endpoint something.
    Commanded,
    /// Another build's, of a form that this one cannot read. Nobody sends it.
    #[serde(skip)]
    OfAnotherForm,
}

impl WakeCall {
    /// What deliveries have waited for when such a wake's slice number `slices`, from 0, looks.
    pub(crate) const fn waited_for(self, slices: u32) -> WaitedFor {
        match self {
            Self::Commanded => WaitedFor::Endpoint,
            _ if slices > 0 => WaitedFor::Line,
            Self::Continued { .. } => WaitedFor::Line,
            Self::Notified { .. } | Self::Timer { .. } | Self::Swept | Self::OfAnotherForm => {
                WaitedFor::Nothing
            }
        }
    }

    /// The counter that it was sent for; none: look in any case.
    pub(crate) const fn sent_for(self) -> Option<u64> {
        match self {
            Self::Notified { looks } | Self::Continued { looks } => Some(looks),
            Self::Timer { .. } | Self::Swept | Self::Commanded | Self::OfAnotherForm => None,
        }
    }

    /// Why it was sent, as traces have it.
    pub(crate) const fn because(self) -> &'static str {
        match self {
            Self::Notified { .. } => "notified",
            Self::Continued { .. } => "continued",
            Self::Timer { .. } => "timer",
            Self::Swept => "swept",
            Self::Commanded => "commanded",
            Self::OfAnotherForm => "of_another_form",
        }
    }
}
