//! How long each step of the way took, over the last payments of a load: the reference design's own
//! timeline, step by step, beside what it publishes.
//!
//! The moments come from those that were there: the relay says when a transaction committed, when
//! it read it and when Kafka had it, the attempt's row when it was invoked and what followed. All
//! are on one machine, so one clock orders them.

use std::fmt::{self, Display};
use std::time::Duration;

use anyhow::Context;
use domain::PaymentId;
use serde::{Deserialize, Serialize};
use store::{Store, Timeline};
use time::OffsetDateTime;

use crate::event::{Kind, Made, micros_of};
use crate::report::{millis, nearest_rank};
use crate::target::Target;

/// The relay remembers some four thousand deliveries; refunds are among them.
const PAYMENTS_MAX: usize = 3_000;
/// Payments of one statement.
const AT_ONCE: usize = 500;
/// One request to a role on this machine.
const TIMEOUT: Duration = Duration::from_secs(5);

/// PostgreSQL takes the time of a commit before it flushes it, and its WAL is sent when it is flushed:
/// so the second step is the one that ends with a payment that is durable.
///
/// The steps, what each ends with, and the milliseconds that the reference design publishes.
const STEPS: [(&str, &str, f64); 7] = [
    ("committed", "the payment's commit record is written", 10.0),
    ("captured", "durable, and read from the WAL", 60.0),
    ("on Kafka", "acknowledged, on both topics", 65.0),
    ("invoked", "Restate woke the endpoint's object, which looked", 70.0),
    ("payload", "the payment as it is now, from the data service", 150.0),
    ("POST", "the request's first byte is out", 200.0),
    ("answered", "the merchant's 200", 360.0),
];

/// The steps over many payments.
#[derive(Debug, Serialize)]
pub(crate) struct Breakdown {
    /// Payments whose every step is known.
    pub payments: usize,
    pub steps: Vec<Step>,
}

/// One step: milliseconds since the outbox's row was written, shortly before its commit.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub name: &'static str,
    pub ends_with: &'static str,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the step alone: from the end of the one before.
    pub alone_p50_ms: f64,
    pub alone_p99_ms: f64,
    /// What the reference design publishes, since the beginning.
    pub reference_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Announced {
    #[serde(with = "time::serde::rfc3339")]
    committed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    captured_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    acknowledged_at: OffsetDateTime,
}

/// Asks the database and the relay about the last payments of `made`.
pub(crate) async fn measure(target: &Target, made: &[Made]) -> anyhow::Result<Breakdown> {
    let url = target.database_url.as_ref();
    let url = url.context("--breakdown needs --database-url, or the --dir of an `up`")?;
    let store = Store::new(url, "posthorn bench", 1)?;
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let paid = made.iter().filter(|made| made.event.kind == Kind::Succeeded);
    let payments: Vec<PaymentId> = paid.map(|made| made.event.payment).collect();
    let last = &payments[payments.len().saturating_sub(PAYMENTS_MAX)..];
    let mut ways = Vec::new();
    for some in last.chunks(AT_ONCE) {
        for timeline in store.timelines_of(some).await? {
            let url = format!("{}/announced/{}", target.relay_url, timeline.delivery_id);
            let answer = client.get(url).send().await.context("the relay does not answer")?;
            // It has forgotten the older ones.
            if let Ok(announced) = answer.json::<Announced>().await {
                ways.extend(way(&timeline, &announced));
            }
        }
    }
    Ok(Breakdown::of(&ways))
}

type Way = [i64; STEPS.len()];

/// Microseconds since the row was written; none when a step is not known.
fn way(timeline: &Timeline, announced: &Announced) -> Option<Way> {
    let moments = [
        announced.committed_at,
        announced.captured_at,
        announced.acknowledged_at,
        timeline.invoked_at?,
        timeline.posted_at,
        timeline.sent_at,
        timeline.answered_at,
    ];
    Some(moments.map(|at| micros_of(at) - micros_of(timeline.written_at)))
}

impl Breakdown {
    fn of(ways: &[Way]) -> Self {
        let sorted = |of: &dyn Fn(&Way) -> i64| {
            let mut values: Vec<i64> = ways.iter().map(of).collect();
            values.sort_unstable();
            values
        };
        let at = |values: &[i64], percent| match values {
            [] => f64::NAN,
            values => millis(nearest_rank(values, percent)),
        };
        let steps = STEPS.iter().enumerate().map(|(index, (name, ends_with, reference_ms))| {
            let since = sorted(&|way| way[index]);
            let alone = sorted(&|way| match index {
                0 => way[0],
                // An acknowledgement may come back after the wake that it caused has begun.
                index => way[index] - way[..index].iter().max().unwrap_or(&0),
            });
            Step {
                name,
                ends_with,
                p50_ms: at(&since, 50),
                p99_ms: at(&since, 99),
                alone_p50_ms: at(&alone, 50),
                alone_p99_ms: at(&alone, 99),
                reference_ms: *reference_ms,
            }
        });
        Self { payments: ways.len(), steps: steps.collect() }
    }
}

impl Display for Breakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| step | p50 ms | p99 ms | alone p50 | alone p99 | reference ms | it ends with |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|---|")?;
        for step in &self.steps {
            writeln!(
                f,
                "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {} |",
                step.name,
                step.p50_ms,
                step.p99_ms,
                step.alone_p50_ms,
                step.alone_p99_ms,
                step.reference_ms,
                step.ends_with,
            )?;
        }
        writeln!(
            f,
            "\nOver the last {} payments, in milliseconds since the outbox's row was written; \
             *alone*: since the end of the steps before. The reference's figures are its own, of \
             one payment, published without conditions.",
            self.payments
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_counted_from_the_row_and_alone_from_whatever_came_last_before_it() {
        let ways: Vec<Way> = (1..=100)
            .map(|n| [n * 100, n * 200, n * 500, n * 400, n * 600, n * 700, n * 900])
            .collect();
        let breakdown = Breakdown::of(&ways);
        let steps = &breakdown.steps;
        assert_eq!((breakdown.payments, steps.len()), (100, 7));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(steps[0].p50_ms, 5.0) && close(steps[6].p99_ms, 89.1), "{steps:?}");
        // Invoked before Kafka's acknowledgement was back: it cost nothing, and less.
        assert!(close(steps[3].alone_p50_ms, -5.1), "{:?}", steps[3]);
        assert!(close(steps[4].alone_p50_ms, 5.0), "{:?}", steps[4]);
        assert!(breakdown.to_string().contains("| answered | 45.0 | 89.1 |"), "{breakdown}");
    }
}
