//! What is checked when all is over: nobody is lost, and every promise was kept.

use domain::endpoint::{DisabledReason, EndpointEvent, FinishReason, Ordering, Status, fold};

use super::{LEFT_ALONE_MAX, Witness};
use crate::clock::{DAY, HOUR, Micros, length, shown};
use crate::database::{Database, delivery_id};
use crate::restate::Object;
use crate::scenario::{Behaviour, Mishap, TAIL, What};

impl Witness {
    /// The end of a run: everything is over, or waits for a reason and a time.
    pub(crate) fn at_the_end(&mut self, now: Micros, database: &Database, object: &Object) {
        if self.violation.is_some() {
            return;
        }
        self.nobody_is_lost(now, database);
        self.delivered_is_delivered(now, database);
        self.who_waits_is_waited_for(now, database, object);
        self.merchants_that_are_back_have_everything(now, database);
        self.merchants_that_are_gone_are_disabled(now, database);
        self.poison_stops_nobody(now, database);
        self.nothing_is_left_of_a_deleted_one(now, database, object);
        self.journal_is_readable(now, database);
    }

    fn nobody_is_lost(&mut self, now: Micros, database: &Database) {
        for payment in &self.scenario.payments.clone() {
            let id = delivery_id(payment.number);
            let places = usize::from(database.row(id).is_some())
                + usize::from(database.finished.contains_key(&id));
            // A payment that began when nobody asked for it any more makes none.
            let expected = usize::from(!self.unasked.contains(&payment.number));
            self.check(places == expected, "every delivery waits or is over", now, || {
                format!("{} is in {places} places", payment.number)
            });
        }
    }

    fn delivered_is_delivered(&mut self, now: Micros, database: &Database) {
        for finished in database.finished.values() {
            let number = finished.row.number;
            let has_it = self.seen.get(&number).is_some_and(|seen| seen.has_it);
            let holds = finished.reason != FinishReason::Delivered || has_it;
            let check = "what is delivered, the merchant has";
            self.check(holds, check, now, || format!("{number}"));
        }
    }

    fn who_waits_is_waited_for(&mut self, now: Micros, database: &Database, object: &Object) {
        let Some(due) = database.due_from() else { return };
        let since = due.max(self.touched);
        self.check(now - since <= LEFT_ALONE_MAX, "nobody is left alone at the end", now, || {
            format!("{} wait, {:?}, {object:?}", database.waiting.len(), database.state)
        });
    }

    /// Is nothing in its way but itself?
    fn may_send(database: &Database) -> bool {
        match database.state.status {
            Status::Active => true,
            Status::Paused { .. } => false,
            Status::Disabled { reason, .. } => reason == DisabledReason::Unwell,
        }
    }

    fn merchants_that_are_back_have_everything(&mut self, now: Micros, database: &Database) {
        let merchant = &self.scenario.merchant;
        let back = merchant.segments.last().map_or(0, |(from, _)| *from);
        let is_back = merchant.behaviour(now) == Behaviour::Healthy
            && now - back >= TAIL - DAY
            && Self::may_send(database);
        if !is_back {
            return;
        }
        let is_strict = database.policy.ordering == Ordering::Strict;
        // A poisonous event that is alone in line looks like an endpoint that is down, and waits
        // with it for somebody who gets through.
        let is_disabled = database.state.status != Status::Active;
        let excused = |number: u32| {
            merchant.missing.contains(&number) || (is_disabled && merchant.poison.contains(&number))
        };
        // A missing payload blocks a strict line for as long as it may wait; so does a poisonous
        // event at its head once that has the endpoint disabled, until an operator skips it.
        let head = database.waiting.values().next().map(|row| row.number);
        let is_held = is_disabled && head.is_some_and(|head| merchant.poison.contains(&head));
        let stands_behind = is_strict && (!merchant.missing.is_empty() || is_held);
        let left: Vec<u32> = database
            .waiting
            .values()
            .filter(|row| now - row.waiting_since > TAIL - DAY)
            .map(|row| row.number)
            .filter(|number| !excused(*number))
            .collect();
        let check = "a merchant that is back gets everything that waits";
        self.check(left.is_empty() || stands_behind, check, now, || {
            format!("{left:?} still wait, {:?}", database.state)
        });
    }

    fn merchants_that_are_gone_are_disabled(&mut self, now: Micros, database: &Database) {
        let scenario = &self.scenario;
        let Some((from, Behaviour::Down(_))) = scenario.merchant.segments.last() else { return };
        // A missing payload that blocks a strict line is no failure of the merchant's.
        let is_quiet = scenario.mishaps.is_empty()
            && scenario.orders.is_empty()
            && scenario.merchant.missing.is_empty();
        let oldest = database.waiting.values().map(|row| row.waiting_since).min().unwrap_or(now);
        let since = oldest.max(*from);
        if !is_quiet || now - since < 7 * DAY {
            return;
        }
        // For whichever reason: it may have said 410 before.
        let is_disabled = matches!(database.state.status, Status::Disabled { .. });
        self.check(is_disabled, "an endpoint that is down for days is disabled", now, || {
            format!("{:?}", database.state)
        });
    }

    /// One poisonous event does not stop the shop: the others are delivered within hours.
    fn poison_stops_nobody(&mut self, now: Micros, database: &Database) {
        let scenario = &self.scenario;
        let is_healthy =
            scenario.merchant.segments.iter().all(|(_, what)| *what == Behaviour::Healthy);
        let is_quiet = scenario.mishaps.is_empty() && scenario.orders.is_empty();
        let is_strict = scenario.policy.ordering == Ordering::Strict;
        if scenario.merchant.poison.is_empty() || !is_healthy || !is_quiet || is_strict {
            return;
        }
        // Until the breaker opens, the head alone is tried.
        let policy = &scenario.policy;
        let opens_within: Micros =
            (1..=policy.breaker_opens_after).map(|n| length(policy.backoff.after(n))).sum();
        let late: Vec<(u32, Micros)> = scenario
            .payments
            .iter()
            .filter(|payment| !scenario.merchant.poison.contains(&payment.number))
            .filter_map(|payment| {
                let first = self.seen.get(&payment.number)?.first_at?;
                Some((payment.number, first - payment.commits_at))
            })
            .filter(|(_, waited)| *waited > opens_within + 4 * HOUR)
            .collect();
        self.nobody_is_found_out_twice(now, database);
        // Once another got through, it is known, and never opens the breaker again.
        let opened = |event: &&EndpointEvent| matches!(event, EndpointEvent::BreakerOpened { .. });
        let opened = database.journal.iter().filter(opened).count();
        self.check(opened <= 1, "a poisonous event opens the breaker once", now, || {
            format!("it opened {opened} times")
        });
        self.check(late.is_empty(), "one poisonous event stops nobody for long", now, || {
            format!("{late:?}, {:?}", database.state)
        });
    }

    fn nothing_is_left_of_a_deleted_one(
        &mut self,
        now: Micros,
        database: &Database,
        object: &Object,
    ) {
        if database.deleted_at.is_none() {
            return;
        }
        let left = database.waiting.len();
        let check = "what waits at a deleted endpoint is cancelled";
        self.check(left == 0, check, now, || format!("{left} wait"));
        // A wake that is killed after its look leaves a state that nobody misses; and the sweeper
        // looks for a deleted endpoint for a day.
        let excuses = |mishap: &Mishap| match mishap.what {
            What::Kill(_) => true,
            What::WorkersAway(lasts) | What::DatabaseAway(lasts) => lasts >= DAY,
            _ => false,
        };
        let excused = self.scenario.mishaps.iter().any(excuses);
        let check = "nothing is left of a deleted endpoint's object";
        self.check(object.is_gone() || excused, check, now, || format!("{object:?}"));
    }

    fn nobody_is_found_out_twice(&mut self, now: Micros, database: &Database) {
        let mut known = Vec::new();
        let mut again = Vec::new();
        for event in &database.journal {
            match event {
                EndpointEvent::FoundPoisonous { delivery, .. } => known.push(*delivery),
                EndpointEvent::FoundUnwell { delivery, .. } if known.contains(delivery) => {
                    again.push(*delivery);
                }
                _ => {}
            }
        }
        self.check(again.is_empty(), "a poisonous event is found out once", now, || {
            format!("{again:?}")
        });
    }

    /// The whole journal, written and read again, folds to the state.
    fn journal_is_readable(&mut self, now: Micros, database: &Database) {
        let written: Result<Vec<String>, _> =
            database.journal.iter().map(serde_json::to_string).collect();
        let read = written.and_then(|lines| {
            lines
                .iter()
                .map(|line| serde_json::from_str(line))
                .collect::<Result<Vec<EndpointEvent>, _>>()
        });
        let holds = read.is_ok_and(|events| fold(&events) == database.state);
        self.check(holds, "the journal is readable", now, || format!("at {:?}", shown(now)));
    }
}
