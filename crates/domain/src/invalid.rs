//! What is wrong with a field that came from outside.
//!
//! It carries the field's name and what is allowed, never the value itself: a value may be a
//! secret or a megabyte of garbage.

/// A field that cannot be what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {allowed}")]
pub struct Invalid {
    /// Name of the field, as the caller spells it.
    pub field: &'static str,
    /// What would have been accepted, as a sentence.
    pub allowed: String,
}

impl Invalid {
    /// `field` must be as `allowed` says.
    pub fn new(field: &'static str, allowed: impl Into<String>) -> Self {
        Self { field, allowed: allowed.into() }
    }
}
