//! The endpoint: its state, its rules.
