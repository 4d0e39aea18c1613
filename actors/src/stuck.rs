//! What the object's state says while something on our side stands in the way of a whole slice.

use serde::{Deserialize, Serialize};

/// What is the matter on our side, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stuck {
    pub(crate) reason: String,
    /// How many wakes in a row.
    pub(crate) times: u32,
}
