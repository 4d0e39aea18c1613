//! The endpoint's rules from the outside: what operators, the three orders and long runs make of
//! them, and the journal as it is kept.

mod being;
mod daily_probe;
mod journal;
mod operators;
mod orders;
mod poison;
mod random_runs;
mod why;
