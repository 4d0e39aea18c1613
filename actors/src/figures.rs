//! Gauges that need somebody to look: what waits, how endpoints stand, the slot, Restate's backlog.
//!
//! Every worker looks, each at its own pace: a pause is at least 15 s and at least 20 times what the
//! look took, so that it never costs more than a twentieth of one connection; after one that only waited
//! in vain it is 30 s at most. Nothing waits for it, and no source for another: one that hangs makes its
//! own figures old.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::Fault;
use observability::metrics::{Figure, Figures, figure};
use serde_json::{Value, json};
use store::{Backlog, SlotSize, Standings, Store, StoreError, Sums};
use tokio_util::sync::CancellationToken;

use crate::restate::{Http, RestateError};

/// Shortest pause between two looks: what a scraper asks for in the usual interval.
const PAUSE_MIN: Duration = Duration::from_secs(15);
/// The pause is at least so many times what the look took.
const PAUSE_FACTOR: u32 = 20;
/// But no longer after one that failed within [`ONLY_WAITED_MAX`]: what comes back shows soon.
const PAUSE_FAILED_MAX: Duration = Duration::from_secs(30);
/// A look that failed by then only waited, for a connection or for an answer; later it was work that
/// the server gave up.
const ONLY_WAITED_MAX: Duration = Duration::from_secs(6);
/// Kinds that are shown as 0 when there are none of them: an alert needs a series.
const STATUSES: [&str; 5] =
    ["active", "paused", "disabled_gone", "disabled_unwell", "disabled_operator"];
const BREAKERS: [&str; 3] = ["closed", "open", "half_open"];
const INVOCATIONS: [&str; 7] =
    ["pending", "scheduled", "ready", "running", "suspended", "backing-off", "paused"];
/// Of an endpoint that stands otherwise nobody waits for its breaker, or for our fault to be mended.
const AT_WORK: &str = "active";

/// Looks until `shutdown`.
pub(crate) async fn run(store: Store, admin: Http, shutdown: CancellationToken) {
    tokio::join!(
        keep_looking("database", async || of_the_database(&store).await, &shutdown),
        keep_looking("restate", async || of_restate(&admin).await, &shutdown),
    );
}

async fn keep_looking<E: std::fmt::Display>(
    source: &'static str,
    look: impl AsyncFn() -> Result<Vec<Figure>, E>,
    shutdown: &CancellationToken,
) {
    let figures = Figures::of_this_process();
    figures.begin(source);
    loop {
        let began = Instant::now();
        let found = look().await;
        let pause = pause(began.elapsed(), found.is_ok());
        match found {
            Ok(found) => figures.replace(source, found, began.elapsed()),
            // The sweeper and readiness say so as well, more often; the figures grow old, which shows.
            Err(error) => tracing::debug!(%error, source, "figures could not be looked up"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// After a look that `took` so long.
fn pause(took: Duration, is_found: bool) -> Duration {
    let pause = PAUSE_MIN.max(took * PAUSE_FACTOR);
    if is_found || took > ONLY_WAITED_MAX { pause } else { pause.min(PAUSE_FAILED_MAX) }
}

async fn of_the_database(store: &Store) -> Result<Vec<Figure>, StoreError> {
    let mut found = backlog(&store.backlog().await?);
    found.extend(standings(&store.standings().await?));
    found.extend(store.slot_sizes().await?.iter().flat_map(of_slot));
    found.extend(of_the_way(store.relay_lag_s().await?, store.parked_count().await?));
    Ok(found)
}

fn of_the_way(relay_lag_s: f64, parked: i64) -> [Figure; 2] {
    [figure::relay_lag(relay_lag_s), figure::parked(float(parked))]
}

fn backlog(backlog: &Backlog) -> Vec<Figure> {
    let mut found = vec![
        figure::deliveries("due", float(backlog.due)),
        figure::deliveries("aside", float(backlog.aside)),
        figure::deliveries("backoff", float(backlog.backoff)),
        figure::deliveries("held", float(backlog.held)),
        figure::oldest_due(backlog.oldest_due_s),
        figure::oldest_waiting(backlog.oldest_waiting_s),
    ];
    for one in &backlog.named {
        found.extend(of_endpoint(&one.endpoint.to_string(), &one.merchant_id, &one.sums));
    }
    found.extend(of_endpoint("rest", "rest", &backlog.rest));
    found
}

fn of_endpoint(endpoint: &str, merchant: &str, sums: &Sums) -> [Figure; 3] {
    [
        figure::endpoint_waiting(endpoint, merchant, float(sums.waiting)),
        figure::endpoint_due(endpoint, merchant, float(sums.due)),
        figure::endpoint_due_age(endpoint, merchant, sums.due_s),
    ]
}

fn of_slot(slot: &SlotSize) -> [Figure; 3] {
    [
        figure::slot_lag(&slot.slot, float(slot.lag_bytes)),
        figure::slot_retained(&slot.slot, float(slot.retained_bytes)),
        figure::slot_active(&slot.slot, f64::from(u8::from(slot.active))),
    ]
}

fn standings(standings: &[Standings]) -> Vec<Figure> {
    let mut statuses: BTreeMap<&str, i64> = STATUSES.map(|status| (status, 0)).into();
    let mut breakers: BTreeMap<&str, i64> = BREAKERS.map(|state| (state, 0)).into();
    let mut faults: BTreeMap<&str, i64> = Fault::ALL.map(|fault| (fault.code(), 0)).into();
    for kind in standings {
        *statuses.entry(&kind.status).or_default() += kind.count;
        if kind.status != AT_WORK {
            continue;
        }
        *breakers.entry(&kind.breaker).or_default() += kind.count;
        if !kind.fault.is_empty() {
            *faults.entry(fault_code(&kind.fault)).or_default() += kind.count;
        }
    }
    let statuses = statuses.iter().map(|(status, count)| figure::endpoints(status, float(*count)));
    let breakers = breakers.iter().map(|(state, count)| figure::breakers(state, float(*count)));
    let faults = faults.iter().map(|(fault, count)| figure::endpoints_stuck(fault, float(*count)));
    statuses.chain(breakers).chain(faults).collect()
}

/// A state keeps a fault by its name in the journal, a delivery by its code: both are told by it.
fn fault_code(kept: &str) -> &str {
    serde_json::from_value::<Fault>(kept.to_owned().into()).map_or(kept, |fault| fault.code())
}

async fn of_restate(admin: &Http) -> Result<Vec<Figure>, RestateError> {
    let by_status = "select status, count(1) as count from sys_invocation \
                     where target_service_name = 'Endpoint' group by status";
    let stuck = "select count(1) as count from state \
                 where service_name = 'Endpoint' and key = 'stuck'";
    Ok(invocations(&admin.query(by_status).await?, &admin.query(stuck).await?))
}

/// Of the rows that Restate answered.
fn invocations(by_status: &[Value], stuck: &[Value]) -> Vec<Figure> {
    let count = |row: &Value| row["count"].as_f64().unwrap_or_default();
    let mut counts: BTreeMap<&str, f64> = INVOCATIONS.map(|status| (status, 0.0)).into();
    for row in by_status {
        counts.insert(row["status"].as_str().unwrap_or_default(), count(row));
    }
    let mut found: Vec<Figure> =
        counts.iter().map(|(status, count)| figure::restate_invocations(status, *count)).collect();
    found.push(figure::restate_stuck(stuck.first().map_or(0.0, count)));
    found
}

impl Http {
    /// Asks the admin API's SQL; the rows.
    async fn query(&self, sql: &str) -> Result<Vec<Value>, RestateError> {
        let mut answer = self.post("/query", &json!({ "query": sql })).await?;
        Ok(match answer["rows"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        })
    }
}

/// Counts of deliveries and bytes are far below where a float would round them.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use domain::EndpointId;
    use store::EndpointBacklog;

    use super::*;

    #[test]
    fn a_look_costs_a_twentieth_of_the_time_and_one_that_failed_is_tried_again_soon() {
        let after = |took, is_found| pause(Duration::from_secs(took), is_found).as_secs();
        assert_eq!([after(0, true), after(5, true)], [15, 100]);
        assert_eq!([after(0, false), after(5, false), after(10, false)], [15, 30, 200]);
    }

    #[test]
    fn an_alert_finds_a_series_while_there_is_nothing_to_alert_about() {
        let found = format!("{:?}", standings(&[]));
        for kind in ["disabled_gone", "half_open", "payload_missing"] {
            assert!(found.contains(kind), "{kind} in {found}");
        }
    }

    #[test]
    fn what_restate_and_the_way_say_is_told_under_its_own_name() {
        let by_status = [
            json!({ "status": "scheduled", "count": 3 }),
            json!({ "status": "backing-off", "count": 2 }),
        ];
        let found = format!("{:?}", invocations(&by_status, &[json!({ "count": 4 })]));
        let told = [
            figure::restate_invocations("backing-off", 2.0),
            figure::restate_invocations("scheduled", 3.0),
            figure::restate_invocations("running", 0.0),
            figure::restate_stuck(4.0),
        ];
        for figure in told {
            assert!(found.contains(&format!("{figure:?}")), "{figure:?} in {found}");
        }
        let way = [figure::relay_lag(1.5), figure::parked(2.0)];
        assert_eq!(format!("{:?}", of_the_way(1.5, 2)), format!("{way:?}"));
    }

    #[test]
    fn what_waits_is_told_under_its_own_name() {
        let endpoint = EndpointId::from(uuid::Uuid::nil());
        let sums = Sums { waiting: 9, due: 8, due_s: 7.5 };
        let found = backlog(&Backlog {
            due: 1,
            aside: 2,
            backoff: 3,
            held: 4,
            oldest_due_s: 5.5,
            oldest_waiting_s: 6.5,
            named: vec![EndpointBacklog { endpoint, merchant_id: "m".to_owned(), sums }],
            rest: Sums { waiting: 12, due: 11, due_s: 10.5 },
        });
        let id = endpoint.to_string();
        let told = [
            figure::deliveries("due", 1.0),
            figure::deliveries("aside", 2.0),
            figure::deliveries("backoff", 3.0),
            figure::deliveries("held", 4.0),
            figure::oldest_due(5.5),
            figure::oldest_waiting(6.5),
            figure::endpoint_waiting(&id, "m", 9.0),
            figure::endpoint_due(&id, "m", 8.0),
            figure::endpoint_due_age(&id, "m", 7.5),
            figure::endpoint_waiting("rest", "rest", 12.0),
            figure::endpoint_due("rest", "rest", 11.0),
            figure::endpoint_due_age("rest", "rest", 10.5),
        ];
        assert_eq!(format!("{found:#?}"), format!("{told:#?}"));
    }

    #[test]
    fn endpoints_and_slots_are_told_under_their_own_names() {
        let kind = |status: &str, breaker: &str, fault: &str, count| Standings {
            status: status.to_owned(),
            breaker: breaker.to_owned(),
            fault: fault.to_owned(),
            count,
        };
        let stuck = Fault::PayloadMissing.code();
        let found = standings(&[
            kind("active", "open", "", 1),
            kind("active", "half_open", "", 2),
            kind("active", "closed", "", 4),
            kind("active", "closed", stuck, 8),
            // Nobody waits for these.
            kind("paused", "open", stuck, 16),
            kind("disabled_unwell", "open", stuck, 32),
        ]);
        let slot =
            SlotSize { slot: "s".to_owned(), active: true, lag_bytes: 16, retained_bytes: 32 };
        let found = format!("{found:?}{:?}", of_slot(&slot));
        for figure in [
            figure::endpoints("active", 15.0),
            figure::endpoints("paused", 16.0),
            figure::endpoints("disabled_unwell", 32.0),
            figure::endpoints("disabled_gone", 0.0),
            figure::breakers("open", 1.0),
            figure::breakers("half_open", 2.0),
            figure::breakers("closed", 12.0),
            figure::endpoints_stuck(stuck, 8.0),
            figure::slot_lag("s", 16.0),
            figure::slot_retained("s", 32.0),
            figure::slot_active("s", 1.0),
        ] {
            assert!(found.contains(&format!("{figure:?}")), "{figure:?} in {found}");
        }
    }
}
