//! The delivery: the guarded, signed, bounded POST, and the only HTTP client that may reach a
//! merchant.
//!
//! A request goes in, an attempt comes out: whatever the receiver does is a value, never an error.
//! No attempt reaches an address that the guard refuses, follows a redirect, uses a proxy from the
//! environment, repeats a request on its own, or costs more than its bounds.

pub mod secrets;
pub mod sign;
