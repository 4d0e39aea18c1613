//! A script: a merchant's answers and what is told to one endpoint, step by step and without chance.
//!
//! The same script can be played by the simulation and on the real parts; what an endpoint comes to
//! must be the same. So a step waits for what has happened and never for a time, and nothing is
//! compared that the machine's speed decides.

use domain::Outcome;
use domain::endpoint::{EndpointEvent, EndpointState, FinishReason, Ordering, Policy};
use serde_json::Value;

use crate::clock::{DAY, MILLI};
use crate::database::Row;
use crate::scenario::{Deed, Merchant, Order, Payment, Scenario};
use crate::violation::Violation;
use crate::world::World;

/// What a merchant answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// For how many seconds it wants to be left alone, if it says so.
    pub retry_after_s: Option<u32>,
}

/// What a merchant answers to whom.
#[derive(Debug, Clone, Copy)]
pub struct Replies {
    /// The status for this event whenever it comes; events are numbered from 1.
    pub always: fn(number: u32) -> Option<u16>,
    /// What the first requests get, whatever they are about; the ones after them get a 200.
    pub first: &'static [Reply],
}

impl Replies {
    /// What a request about the event `number` gets, when there were `before` requests before it.
    pub fn to(&self, number: u32, before: usize) -> Reply {
        let plain = |status| Reply { status, retry_after_s: None };
        let scripted = || self.first.get(before).copied();
        (self.always)(number).map(plain).or_else(scripted).unwrap_or(plain(200))
    }

    pub(crate) fn outcome(&self, number: u32, before: usize) -> Outcome {
        let Reply { status, retry_after_s } = self.to(number, before);
        let retry_after = retry_after_s.map(|secs| std::time::Duration::from_secs(u64::from(secs)));
        Outcome::of_status(status, retry_after)
    }
}

/// A step of a script.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// So many payments, each committed before the next begins.
    Pay(u32),
    /// An operator's command.
    Tell(Deed),
    /// Wait until so many attempts were settled in all.
    Attempts(u32),
    /// Wait until so many deliveries are over.
    Finished(usize),
}

/// A script.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// For messages.
    pub name: &'static str,
    /// The order of the endpoint.
    pub ordering: Ordering,
    /// Its policy, as it is stored.
    pub policy: &'static str,
    /// The merchant.
    pub replies: Replies,
    /// What happens.
    pub steps: &'static [Step],
}

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryStanding {
    /// The number of its event.
    pub number: u32,
    /// Attempts that were settled.
    pub attempts: u32,
    /// How many of them were refusals.
    pub refusals: u32,
    /// Is it known to fail while others get through?
    pub poisonous: bool,
    /// How it ended, or that it waits.
    pub ended: String,
}

/// What a script came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of the state: what no clock and no jitter is in.
    pub state: Value,
    /// Every delivery, by number.
    pub deliveries: Vec<DeliveryStanding>,
    /// The kinds of the journal's events, in order.
    pub journal: Vec<String>,
    /// What each request was about; of an unordered endpoint by number.
    pub requests: Vec<u32>,
}

impl Standing {
    /// What is kept of an endpoint, with everything left out that the machine's speed decides.
    pub fn of(
        ordering: Ordering,
        state: &EndpointState,
        journal: &[EndpointEvent],
        mut deliveries: Vec<DeliveryStanding>,
        mut requests: Vec<u32>,
    ) -> Self {
        deliveries.sort();
        if ordering == Ordering::Unordered {
            requests.sort_unstable();
        }
        let state = serde_json::json!({
            "status": timeless(serde_json::to_value(state.status)),
            "breaker": timeless(serde_json::to_value(state.breaker)),
            "unwell": state.unwell.map(|span| (span.consecutive, span.cause)),
            "fault": state.fault.map(|span| (span.consecutive, span.fault)),
            "is_blocked": state.blocked.is_some(),
            "lanes": state.ramp.map(|ramp| ramp.lanes),
            "waits": state.not_before.is_some(),
        });
        Self { state, deliveries, journal: journal.iter().map(kind).collect(), requests }
    }
}

/// The JSON of something, without when it began.
fn timeless(json: serde_json::Result<Value>) -> Value {
    let mut json = json.unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("since");
    }
    json
}

fn kind(event: &EndpointEvent) -> String {
    let json = serde_json::to_value(event).unwrap_or_default();
    let particulars = ["cause", "fault", "reason", "because", "deliveries"];
    let told =
        particulars.iter().filter_map(|name| json.get(name)).map(|value| format!(" {value}"));
    format!("{}{}", json["type"].as_str().unwrap_or_default(), told.collect::<String>())
}

/// Plays `script` in simulated time.
///
/// # Errors
/// When a check of the simulation does not hold, or what a step waits for never comes.
pub fn play(script: &Script) -> Result<Standing, Violation> {
    let scenario = scenario_of(script);
    let ends_at = scenario.ends_at();
    let mut world = World::unscheduled(&scenario, None, false);
    let (mut paid, mut told) = (0, 0);
    for step in script.steps {
        let came = match *step {
            Step::Pay(count) => (0..count).all(|_| {
                paid += 1;
                world.pay(paid - 1);
                world.until(ends_at, |world| {
                    let unasked = count_of(world.witness.unasked());
                    world.tally.deliveries + unasked == count_of(paid)
                })
            }),
            Step::Tell(_) => {
                world.order(told);
                told += 1;
                true
            }
            Step::Attempts(count) => world.until(ends_at, |world| {
                world.database.rows().map(|(row, _)| row.facts.attempts).sum::<u32>() >= count
            }),
            Step::Finished(count) => {
                world.until(ends_at, |world| world.database.finished.len() >= count)
            }
        };
        world.witness.verdict()?;
        if !came {
            let what = format!("{}: {step:?}", script.name);
            return Err(Violation { check: "what a script waits for comes", at: world.now, what });
        }
    }
    let database = &world.database;
    let deliveries = database.rows().map(|(row, reason)| standing_of(row, reason)).collect();
    let (state, journal) = (&database.state, &database.journal);
    Ok(Standing::of(script.ordering, state, journal, deliveries, world.requests.clone()))
}

fn count_of(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

fn standing_of(row: &Row, reason: Option<FinishReason>) -> DeliveryStanding {
    DeliveryStanding {
        number: row.number,
        attempts: row.facts.attempts,
        refusals: row.facts.refusals,
        poisonous: row.facts.poisonous,
        ended: reason.map_or("waits", |reason| reason.names().1).to_owned(),
    }
}

fn scenario_of(script: &Script) -> Scenario {
    let policy: Policy = serde_json::from_str(script.policy).unwrap_or_default();
    let payments = script.steps.iter().map(|step| if let Step::Pay(n) = step { *n } else { 0 });
    let payments: u32 = payments.sum();
    let deeds = script.steps.iter().filter_map(|step| match step {
        Step::Tell(deed) => Some(*deed),
        _ => None,
    });
    let orders =
        deeds.zip(1..).map(|(deed, number)| Order { at: 0, number, deed, again_after: None });
    Scenario {
        seed: 1,
        endpoint: 0,
        policy: policy.with_ordering(script.ordering),
        limit: 50,
        early: 0,
        payments: (1..=payments)
            .map(|number| Payment { number, begins_at: 0, commits_at: MILLI })
            .collect(),
        merchant: Merchant::scripted(script.replies),
        mishaps: Vec::new(),
        orders: orders.collect(),
        quiet_from: DAY,
    }
}
