//! The client against real receivers on real sockets, most of them hostile.
//!
//! Each attempt must end in bounded time, in the right class, and leave the way free for the next
//! one. Signatures are verified by a library that is not ours.

#[allow(dead_code, reason = "the other test uses the rest of it")]
mod authority;
mod fairness;
mod guarded;
mod hostile;
mod hostile_bodies;
mod proxied;
#[allow(dead_code, reason = "the other test uses the rest of it")]
mod receiver;
mod reuse;
mod sending;
mod setup;
mod tls;
