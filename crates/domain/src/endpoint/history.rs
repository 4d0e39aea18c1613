//! The journal as a story: what happened to an endpoint, in plain sentences.
//!
//! Events and who asked for them come in, oldest first; a line for each that a person would tell
//! comes out, with how long things took. It reads only the journal, so it tells the same story of
//! an endpoint of last year. It decides nothing, and what it says is for people, not for parsing.

use std::time::Duration;

use time::OffsetDateTime;

use super::time_between::between;
use super::{
    Breaker, DisabledReason, EnabledBecause, EndpointEvent, EndpointState, Status, evolve,
};
use crate::{Fault, Unwell};

/// An event of the journal, and who asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What happened.
    pub event: &'a EndpointEvent,
    /// Who asked; none: an attempt found it.
    pub actor: Option<&'a str>,
}

/// The story that the whole journal of an endpoint tells.
pub fn history<'a>(journal: impl IntoIterator<Item = Entry<'a>>) -> Vec<String> {
    history_from(&mut EndpointState::default(), journal)
}

/// The story that a part of a journal tells: `state` is where the endpoint stood before it, and where
/// it stands after it.
pub fn history_from<'a>(
    state: &mut EndpointState,
    journal: impl IntoIterator<Item = Entry<'a>>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in journal {
        if let Some(sentence) = sentence(state, entry.event) {
            let at = clock(entry.event.at());
            let by = entry.actor.map_or(String::new(), |actor| format!(" ({actor})"));
            lines.push(format!("{at}  {sentence}{by}"));
        }
        *state = evolve(*state, entry.event);
    }
    lines
}

fn sentence(before: &EndpointState, event: &EndpointEvent) -> Option<String> {
    let at = event.at();
    Some(match *event {
        EndpointEvent::FoundUnwell { .. } => found_unwell(before, event)?,
        EndpointEvent::BreakerOpened { .. } => {
            let failures = before.unwell.map_or(0, |span| span.consecutive);
            format!("the breaker opened (failures in a row: {failures}): from now on probes only")
        }
        EndpointEvent::FoundPoisonous { delivery, .. } => {
            format!("{delivery} fails while others get through: its 5xx count as refusals now")
        }
        EndpointEvent::Recovered { delivery, .. } => recovered(before, delivery, at),
        // They are kept for the fold: nobody asks for them.
        EndpointEvent::Answered { .. } => return None,
        EndpointEvent::Blocked { delivery, fault, not_before, .. } => {
            let why = fault.map_or("the merchant refuses it".to_owned(), fault_in_words);
            let wait = span(between(at, not_before));
            format!("{delivery} does not get through ({why}); all others wait behind it, {wait}")
        }
        EndpointEvent::Unblocked { .. } => {
            let took = before.blocked.map_or(String::new(), |block| after(block.since, at));
            format!("the line goes on{took}")
        }
        EndpointEvent::FoundFault { fault, not_before, .. } => {
            // Only the first one of a run is news.
            if before.fault.is_some_and(|span| span.fault == fault) {
                return None;
            }
            let (why, wait) = (fault_in_words(fault), span(between(at, not_before)));
            format!("a fault on our side: {why}; everything waits, {wait} at first")
        }
        EndpointEvent::FaultEnded { .. } => {
            let took = before.fault.map_or(String::new(), |fault| after(fault.since, at));
            format!("the fault on our side is over{took}")
        }
        EndpointEvent::Disabled { reason, .. } => disabled(before, reason, at),
        EndpointEvent::Enabled { because, .. } => {
            let why = match because {
                EnabledBecause::Operator => "enabled again",
                EnabledBecause::Probe => "enabled again by its daily probe, which got an answer",
                EnabledBecause::NewUrl => "enabled again, because it has a new URL,",
            };
            format!("{why}{}", in_that_state(before, at))
        }
        EndpointEvent::Paused { .. } => "paused: its deliveries wait".to_owned(),
        EndpointEvent::Resumed { .. } => format!("resumed{}", in_that_state(before, at)),
        EndpointEvent::UrlChanged { .. } => {
            let stays = match before.status {
                Status::Paused { .. } => "; it stays paused",
                Status::Disabled { reason: DisabledReason::Operator, .. } => "; it stays disabled",
                Status::Active | Status::Disabled { .. } => "",
            };
            format!("it has a new URL; what stood in the way is forgotten{stays}")
        }
        EndpointEvent::OrderingChanged { .. } => {
            "its deliveries go out in another order now".to_owned()
        }
        EndpointEvent::Skipped { delivery, .. } => format!("{delivery} was skipped"),
        EndpointEvent::Redelivered { deliveries, .. } => {
            let s = if deliveries == 1 { "y was" } else { "ies were" };
            format!("{deliveries} deliver{s} put back in line")
        }
    })
}

fn found_unwell(before: &EndpointState, event: &EndpointEvent) -> Option<String> {
    let EndpointEvent::FoundUnwell { cause, at, not_before, .. } = *event else { return None };
    let (what, wait) = (cause_in_words(cause), span(between(at, not_before)));
    let Some(unwell) = before.unwell else {
        return Some(format!("it began to fail: {what}; everything waits {wait}"));
    };
    if before.breaker == Breaker::Closed {
        let n = unwell.consecutive.saturating_add(1);
        return Some(format!("it failed again, {n} in a row: {what}; everything waits {wait}"));
    }
    let since = span(between(unwell.since, at));
    Some(format!("a probe failed: {what}, unwell for {since}; the next one in {wait}"))
}

fn recovered(before: &EndpointState, delivery: crate::DeliveryId, at: OffsetDateTime) -> String {
    let took = before.unwell.map_or(String::new(), |span| after(span.since, at));
    match before.breaker {
        Breaker::Open { .. } => format!("{delivery} got through{took}: the breaker closed"),
        Breaker::Closed => format!("{delivery} got through{took}"),
    }
}

fn disabled(before: &EndpointState, reason: DisabledReason, at: OffsetDateTime) -> String {
    match reason {
        DisabledReason::Gone => {
            "disabled: the merchant answered 410, the endpoint is no more; its deliveries wait"
                .to_owned()
        }
        DisabledReason::Unwell => {
            let since = before.unwell.map_or(String::new(), |unwell| {
                format!(" for {}", span(between(unwell.since, at)))
            });
            format!("disabled: it has been unwell{since}; its deliveries wait for the daily probe")
        }
        DisabledReason::Operator => "disabled; its deliveries wait".to_owned(),
        DisabledReason::Deleted => "deleted; what waited was cancelled".to_owned(),
    }
}

/// How long the pause, or being disabled, lasted.
fn in_that_state(before: &EndpointState, at: OffsetDateTime) -> String {
    match before.status {
        Status::Active => String::new(),
        Status::Paused { since } | Status::Disabled { since, .. } => after(since, at),
    }
}

fn after(since: OffsetDateTime, at: OffsetDateTime) -> String {
    format!(" after {}", span(between(since, at)))
}

pub(super) fn cause_in_words(cause: Unwell) -> String {
    match cause {
        Unwell::Dns => "its name cannot be resolved".to_owned(),
        Unwell::Connect => "no connection".to_owned(),
        Unwell::Tls => "no TLS".to_owned(),
        Unwell::Timeout => "no answer in time".to_owned(),
        Unwell::Protocol => "the connection broke, or what came was no HTTP".to_owned(),
        Unwell::Status(status) => format!("it answers {status}"),
    }
}

pub(super) fn fault_in_words(fault: Fault) -> String {
    match fault {
        Fault::Blocked => "its address is not one that may be reached",
        Fault::Secret => "no secret of it could be opened",
        Fault::NamesUnavailable => "our own name servers do not answer",
        Fault::CannotConnect => "the worker itself could make no connection",
        Fault::PayloadUnavailable => "the data service could not be asked",
        Fault::PayloadMissing => "the data service knows no such object",
        Fault::PayloadTooLarge => "its payload is too large",
        Fault::PayloadInvalid => "its payload is not JSON",
        Fault::Busy => "too many attempts were in flight",
    }
    .to_owned()
}

/// `2026-01-05 12:00:07`: to the second, in UTC, as people read it.
pub(super) fn clock(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (h, m, s) = at.time().as_hms();
    format!("{} {h:02}:{m:02}:{s:02}", at.date())
}

/// The two largest units of a duration: `3 d 4 h`, `2 min 10 s`, `900 ms`, `0 s`.
pub(super) fn span(duration: Duration) -> String {
    let total = duration.as_secs();
    if total == 0 && !duration.is_zero() {
        return format!("{} ms", duration.as_millis());
    }
    let parts = [
        (total / 86_400, "d"),
        (total / 3_600 % 24, "h"),
        (total / 60 % 60, "min"),
        (total % 60, "s"),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(parts.len() - 1);
    let shown = parts[first..].iter().take(2).enumerate();
    let shown = shown.filter(|(place, (n, _))| *place == 0 || *n > 0);
    shown.map(|(_, (n, unit))| format!("{n} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_its_two_largest_units() {
        let told = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(told(0), "0 s");
        assert_eq!(span(Duration::from_millis(999)), "999 ms");
        assert_eq!(span(Duration::from_millis(1_999)), "1 s");
        assert_eq!(told(130), "2 min 10 s");
        assert_eq!(told(3_600), "1 h");
        assert_eq!(told(3_601), "1 h");
        assert_eq!(told(3 * 86_400 + 4 * 3_600 + 59), "3 d 4 h");
    }
}
