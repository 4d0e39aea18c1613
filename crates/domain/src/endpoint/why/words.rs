//! The sentences: what stands in the way, for how long, and what comes next.

use time::OffsetDateTime;

use super::super::history::{cause_in_words, clock, fault_in_words, span};
use super::super::time_between::between;
use super::super::{Breaker, DisabledReason, EndpointState, Faulty, Status};
use super::{DeliveryStory, Ended, EndpointStory, LastAttempt, Why};
use crate::{EndpointId, EventId, PaymentId};

/// Due for longer than this, and nobody looked: the sweeper would have.
const FORGOTTEN_AFTER: time::Duration = time::Duration::seconds(90);

pub(super) fn of_delivery(story: &DeliveryStory, stuck: Option<&str>, now: OffsetDateTime) -> Why {
    if let Some(ended) = &story.ended {
        return why_ended(story, ended, now);
    }
    let Some(state) = &story.state else {
        let gone = "waiting, and its endpoint was deleted: it is about to be cancelled".to_owned();
        return Why::new("deleted", gone, None);
    };
    let at_endpoint = endpoint_in_the_way(story.endpoint, state, stuck, now);
    let is_aside = story.next_attempt_at.filter(|at| *at > now);
    let mut why = match (at_endpoint, is_aside) {
        (Some(why), Some(at)) if is_last(at, state, stuck, now) => {
            aside(story, at, false, now).and(format!("besides: {}", why.sentences[0]))
        }
        (Some(why), Some(at)) => {
            with_place(why, &format!("it stepped aside itself, for {}", span(between(now, at))))
        }
        (None, Some(at)) => aside(story, at, true, now),
        (at_endpoint, None) => match neglected_since(story.due_at(), story.looked_at, state, stuck)
        {
            Some(since) if now - since > FORGOTTEN_AFTER => {
                forgotten("waiting: it could be sent", since, now)
            }
            _ => at_endpoint.map_or_else(|| in_line(story), |why| waiting(why, story.ahead)),
        },
    };
    if let Some(last) = &story.last {
        why = why.and(last_attempt(story.attempts, last, now));
    }
    why
}

pub(super) fn of_endpoint(story: &EndpointStory, stuck: Option<&str>, now: OffsetDateTime) -> Why {
    let state = &story.state;
    let wait = match story.waiting {
        0 => "nothing waits for it".to_owned(),
        1 => "1 delivery waits".to_owned(),
        10_001.. => "more than 10000 deliveries wait".to_owned(),
        many => format!("{many} deliveries wait"),
    };
    let neglected = story
        .due_since
        .and_then(|due_at| neglected_since(due_at, story.looked_at, state, stuck))
        .filter(|since| now - *since > FORGOTTEN_AFTER);
    if let Some(since) = neglected {
        return forgotten(&wait, since, now);
    }
    let told = story.faulty.as_ref().map(|faulty| of_faulty(faulty, now));
    match (endpoint_in_the_way(story.endpoint, state, stuck, now), told) {
        (Some(why), told) => {
            let first = format!("{}; {wait}", why.sentences[0]);
            Why { sentences: std::iter::once(first).chain(told).collect(), ..why }
        }
        (None, Some(told)) => {
            Why::new("stuck", told, None).and(format!("nothing else stands in the way: {wait}"))
        }
        (None, None) => Why::new("well", format!("nothing stands in the way: {wait}"), None),
    }
}

fn of_faulty(faulty: &Faulty, now: OffsetDateTime) -> String {
    let others = match faulty.others {
        0 => String::new(),
        others => format!(", as did {others} more"),
    };
    format!(
        "{} stepped aside on a fault on our side {} ago: {}{others}",
        faulty.delivery,
        ago(faulty.since, now),
        fault_in_words(faulty.fault)
    )
}

pub(super) fn no_delivery(event_type: &str, merchant: &str, at: OffsetDateTime) -> Why {
    Why::new(
        "no_endpoint",
        format!(
            "occurred at {}, and no endpoint of merchant {merchant} had asked for {event_type} \
             then: there is nothing to deliver",
            clock(at)
        ),
        None,
    )
}

pub(super) fn no_payment(payment: PaymentId) -> Why {
    Why::new(
        "unknown",
        format!(
            "there is no {payment}: its transaction was rolled back, or never came, and so there \
             is nothing to deliver; or the id is not quite right"
        ),
        None,
    )
}

pub(super) fn no_event(at: OffsetDateTime) -> Why {
    Why::new(
        "no_event",
        format!(
            "the payment was made at {}, and no event of it is there: events are not kept for ever, \
             and none is written while the triggers are off, as in a restore; there is nothing to \
             deliver",
            clock(at)
        ),
        None,
    )
}

pub(super) fn more_events(told: usize) -> Why {
    let sentence = format!(
        "the payment has more events than the first {told}, which are told: the others' ids are in \
         domain_events, by object_id"
    );
    Why::new("more", sentence, None)
}

pub(super) fn more_deliveries(event: EventId, told: usize) -> Why {
    let sentence = format!(
        "the event has more deliveries than the first {told}, which are told: the others' ids are in \
         deliveries and finished_deliveries, where event_id = '{}'",
        event.uuid()
    );
    Why::new("more", sentence, None)
}

fn why_ended(story: &DeliveryStory, ended: &Ended, now: OffsetDateTime) -> Why {
    let attempts = count(story.attempts, "attempt");
    let at = clock(ended.at);
    let took = span(between(story.in_line_since(), ended.at));
    let by_hand = format!(
        "to send it again: posthorn endpoint redeliver {} {}",
        story.endpoint, story.delivery
    );
    match (&*ended.state, &*ended.reason) {
        ("delivered", _) => {
            let status = story.last.as_ref().and_then(|last| last.status);
            let answer = status.map_or(String::new(), |status| format!(": it answered {status}"));
            let written = match story.put_back_at {
                Some(_) => {
                    let in_all = span(between(story.written_at, ended.at));
                    format!("put back in line, {in_all} after it was written")
                }
                None => "written".to_owned(),
            };
            let told = format!("delivered at {at} by {attempts}, {took} after it was {written}");
            Why::new("delivered", format!("{told}{answer}"), None)
        }
        ("cancelled", "deleted") => {
            let told = format!("cancelled at {at} after {attempts}: its endpoint was deleted");
            Why::new("cancelled", told, None)
        }
        ("cancelled", _) => {
            let told = format!("skipped by an operator at {at} after {attempts}");
            Why::new("cancelled", told, None).and(by_hand)
        }
        (_, reason) => {
            let why = match reason {
                "refused" => "it was refused until its schedule was used up",
                "unwell" => "its endpoint was unwell for the whole span of its schedule",
                "expired" => "it had waited for too long",
                other => other,
            };
            let told = format!("given up at {at} after {attempts} and {took}: {why}");
            let mut why = Why::new("exhausted", told, None);
            if let Some(last) = &story.last {
                why = why.and(last_attempt(story.attempts, last, now));
            }
            why.and(by_hand)
        }
    }
}

/// What makes everything of the endpoint wait, if anything does.
fn endpoint_in_the_way(
    endpoint: EndpointId,
    state: &EndpointState,
    stuck: Option<&str>,
    now: OffsetDateTime,
) -> Option<Why> {
    match state.status {
        Status::Paused { since } => {
            let told = format!(
                "the endpoint has been paused for {}: it goes on when somebody types: posthorn \
                 endpoint resume {endpoint}",
                ago(since, now)
            );
            return Some(Why::new("paused", told, None));
        }
        Status::Disabled { reason, since } => {
            return Some(disabled(endpoint, state, reason, since, now));
        }
        Status::Active => {}
    }
    if let Some(reason) = stuck {
        return Some(Why::new("stuck", format!("our side is stuck: {reason}"), None));
    }
    let next_at = state.waits_until(now);
    let next = |what: &str| match next_at {
        Some(at) => format!("{what} in {}", span(between(now, at))),
        None => format!("{what} now"),
    };
    if let Some(fault) = state.fault {
        let told = format!(
            "a fault on our side for {}: {}; {}",
            ago(fault.since, now),
            fault_in_words(fault.fault),
            next("next try")
        );
        return Some(Why::new("stuck", told, next_at));
    }
    if let Some(unwell) = state.unwell {
        let is_open = matches!(state.breaker, Breaker::Open { .. });
        let what = if is_open { "the breaker is open, next probe" } else { "next try" };
        let told = format!(
            "the endpoint has been unwell for {} ({}, {} in a row); {}",
            ago(unwell.since, now),
            cause_in_words(unwell.cause),
            unwell.consecutive,
            next(what)
        );
        return Some(Why::new("unwell", told, next_at));
    }
    let block = state.blocked?;
    let why = block.fault.map_or_else(|| "the merchant refuses it".to_owned(), fault_in_words);
    let told = format!(
        "{} has not got through for {} ({why}), and in a strict endpoint nobody passes it; {}",
        block.delivery,
        ago(block.since, now),
        next("next try")
    );
    Some(Why::new("blocked", told, next_at))
}

fn disabled(
    endpoint: EndpointId,
    state: &EndpointState,
    reason: DisabledReason,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Why {
    let since = ago(since, now);
    let enable = format!("posthorn endpoint enable {endpoint}");
    let (told, next_at) = match reason {
        DisabledReason::Deleted => {
            let told = format!("deleted {since} ago: what waited for it was cancelled");
            return Why::new("deleted", told, None);
        }
        DisabledReason::Gone => (
            format!("disabled for {since}: the merchant answered 410, gone; to go on: {enable}"),
            None,
        ),
        DisabledReason::Operator => {
            (format!("disabled by an operator for {since}; to go on: {enable}"), None)
        }
        DisabledReason::Unwell => {
            let next = state.waits_until(now);
            let when = next.map_or("now".to_owned(), |at| format!("in {}", span(between(now, at))));
            let told = format!(
                "disabled for {since}, because it was unwell for days: its daily probe comes \
                 {when}; to go on at once: {enable}"
            );
            (told, next)
        }
    };
    Why::new("disabled", told, next_at)
}

/// Is `at` later than all that is known of the endpoint's own wait?
fn is_last(
    at: OffsetDateTime,
    state: &EndpointState,
    stuck: Option<&str>,
    now: OffsetDateTime,
) -> bool {
    let ends_by_itself = stuck.is_none() && state.status == Status::Active;
    ends_by_itself && state.waits_until(now).is_none_or(|until| at > until)
}

fn waiting(why: Why, ahead: u32) -> Why {
    let line = match ahead {
        0 => "it is the first in line".to_owned(),
        10_001.. => "more than 10000 deliveries ahead".to_owned(),
        ahead => format!("{} ahead", plural(ahead, "delivery", "deliveries")),
    };
    with_place(why, &line)
}

fn with_place(why: Why, place: &str) -> Why {
    Why { sentences: vec![format!("waiting: {}; {place}", why.sentences[0])], ..why }
}

fn aside(
    story: &DeliveryStory,
    at: OffsetDateTime,
    others_go_on: bool,
    now: OffsetDateTime,
) -> Why {
    let is_fault = story.last.as_ref().is_some_and(|last| last.class == "fault");
    let (is, why) = if is_fault {
        ("stuck", "a fault on our side stands in the way of this delivery")
    } else if others_go_on {
        ("aside", "the merchant refused this event; others go on meanwhile")
    } else {
        ("aside", "the merchant refused this event")
    };
    let told = format!(
        "waiting: {why}; attempt {} in {}",
        story.attempts.saturating_add(1),
        span(between(now, at))
    );
    Why::new(is, told, Some(at))
}

/// Since when what is due since `due_at` could be sent and nobody has looked at the endpoint, as the
/// sweeper counts; none when it is known why nobody does.
fn neglected_since(
    due_at: OffsetDateTime,
    looked_at: Option<OffsetDateTime>,
    state: &EndpointState,
    stuck: Option<&str>,
) -> Option<OffsetDateTime> {
    if stuck.is_some() || !state.may_send() {
        return None;
    }
    Some(due_at).max(state.not_before).max(looked_at)
}

fn forgotten(what: &str, since: OffsetDateTime, now: OffsetDateTime) -> Why {
    let told = format!(
        "{what}, and nobody looked for {}: the workers, or what wakes them, do not work; see \
         posthorn status",
        ago(since, now)
    );
    Why::new("forgotten", told, None)
}

fn in_line(story: &DeliveryStory) -> Why {
    let told = match story.ahead {
        0 => "waiting: the next one to be sent".to_owned(),
        ahead => format!("waiting: in line, {} ahead", plural(ahead, "delivery", "deliveries")),
    };
    Why::new("in_line", told, None)
}

fn last_attempt(number: u32, last: &LastAttempt, now: OffsetDateTime) -> String {
    let status = last.status.map_or(String::new(), |status| format!(", status {status}"));
    let said = last.sentence.as_ref().map_or(String::new(), |said| format!(": {said}"));
    let ago = ago(last.at, now);
    format!("attempt {number}, {ago} ago: {}{status}{said}", last.class)
}

fn ago(since: OffsetDateTime, now: OffsetDateTime) -> String {
    span(between(since, now))
}

fn count(n: u32, what: &str) -> String {
    plural(n, what, &format!("{what}s"))
}

fn plural(n: u32, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}
