//! The client against real receivers on real sockets, most of them hostile.
//!
//! Each attempt must end in bounded time, in the right class, and leave the way free for the next
//! one. Signatures are verified by a library that is not ours.

mod authority;
mod fairness;
mod guarded;
mod hostile;
mod hostile_bodies;
mod proxied;
mod receiver;
mod reuse;
mod sending;
mod setup;
mod tls;
