//! The end-to-end tests: everything real, run by `posthorn up`.
//!
//! Tests that leave the stack as it is share one and run at the same time, each with merchants of
//! its own. Those that kill something have another, one after the other.

mod agreement;
mod benchmark;
mod bounds;
mod burst;
mod canary;
mod cdc_at_once;
mod cdc_begun;
mod cdc_each_once;
mod cdc_interrupted;
mod cdc_switch;
mod changes;
mod collector;
mod commands;
mod crash;
mod crash_test;
mod disk_full;
mod figures;
mod foreign_backlog;
mod foreign_cdc;
mod forms;
mod fronts;
mod gauges;
mod grpc;
mod ids;
mod in_between;
mod kafka_gone;
mod log_lines;
mod metrics;
mod moved_worker;
mod next_build;
mod observed;
mod open_breaker;
mod orders;
mod our_fault;
mod path;
mod readiness;
mod records;
mod refused;
mod replayed;
mod restate_lost;
mod scripts;
mod secrets;
mod shown;
mod silence;
mod standstill;
mod sweeper_alone;
mod telemetry_away;
mod timers;
mod told;
mod told_apart;
mod traces;
mod traces_lost;
mod traces_parts;
mod traces_ratio;
mod traces_table;
mod turn;
mod turn_beside;
mod turn_lost;
mod unread;
mod up;
mod why;
mod why_odd;
mod workers_away;

use std::sync::atomic::{AtomicU32, Ordering};

use posthorn_tests::Lab;
use tokio::sync::OnceCell;

/// The stack that is shared by tests which break nothing.
async fn shared_lab() -> anyhow::Result<&'static Lab> {
    static LAB: OnceCell<Lab> = OnceCell::const_new();
    LAB.get_or_try_init(Lab::start).await
}

/// A merchant's id that no other test has.
fn merchant(test: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{test}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
