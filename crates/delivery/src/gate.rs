//! Places for attempts in flight: bounded in all and per endpoint, shared fairly.
//!
//! All wait in line (first come, first served), with one exception: a quarter of the places is
//! kept for endpoints whose last attempt was prompt, or that were not tried here yet and are well by
//! what their state says. However many endpoints hang, each for its whole timeout, those that answer
//! still pass: a prompt attempt gives its place back in milliseconds, so the kept quarter alone
//! carries thousands a second. An attempt that outlives what is prompt takes the privilege from its
//! endpoint at once and gives its kept place back: it goes on in a common place that is free, or in
//! one of as many again that are for nothing else. The endpoint gets the privilege back with its
//! first prompt attempt.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::EndpointId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{PROMPT, PROMPT_SHARE, REMEMBERED_ENDPOINTS_MAX};

/// The places.
pub(crate) struct Gate {
    for_all: Arc<Semaphore>,
    for_prompt: Arc<Semaphore>,
    /// For those that began in a kept place and were not prompt.
    for_overdue: Arc<Semaphore>,
    per_endpoint: usize,
    endpoints: Mutex<HashMap<EndpointId, Arc<Lane>>>,
}

/// One endpoint's share.
struct Lane {
    places: Arc<Semaphore>,
    was_prompt: AtomicBool,
}

/// A place, given back when dropped.
pub(crate) struct Place {
    lane: Arc<Lane>,
    _of_endpoint: OwnedSemaphorePermit,
    of_all: OwnedSemaphorePermit,
    /// Of a kept place: where its attempt may go on once it is not prompt.
    elsewhere: Option<[Arc<Semaphore>; 2]>,
}

impl Gate {
    pub(crate) fn new(places: usize, per_endpoint: usize) -> Self {
        let for_prompt = places / PROMPT_SHARE;
        Self {
            for_all: Arc::new(Semaphore::new(places - for_prompt)),
            for_prompt: Arc::new(Semaphore::new(for_prompt)),
            for_overdue: Arc::new(Semaphore::new(for_prompt)),
            per_endpoint,
            endpoints: Mutex::default(),
        }
    }

    /// Waits for a place. Given up (dropped), it leaves no trace in the line. `is_well`: does one that
    /// was not tried here yet count as prompt?
    pub(crate) async fn place(&self, endpoint_id: EndpointId, is_well: bool) -> Option<Place> {
        let lane = self.lane(endpoint_id, is_well);
        let of_endpoint = Arc::clone(&lane.places).acquire_owned().await.ok()?;
        let elsewhere = || Some([Arc::clone(&self.for_all), Arc::clone(&self.for_overdue)]);
        let (of_all, elsewhere) = if lane.was_prompt.load(Ordering::Relaxed) {
            tokio::select! {
                biased;
                permit = Arc::clone(&self.for_prompt).acquire_owned() => (permit, elsewhere()),
                permit = Arc::clone(&self.for_all).acquire_owned() => (permit, None),
            }
        } else {
            (Arc::clone(&self.for_all).acquire_owned().await, None)
        };
        Some(Place { lane, _of_endpoint: of_endpoint, of_all: of_all.ok()?, elsewhere })
    }

    fn lane(&self, endpoint_id: EndpointId, is_well: bool) -> Arc<Lane> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.len() >= REMEMBERED_ENDPOINTS_MAX && !endpoints.contains_key(&endpoint_id) {
            // Forgets who was prompt: what the next attempt says of the endpoint counts.
            endpoints.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = endpoints.entry(endpoint_id).or_insert_with(|| {
            Arc::new(Lane {
                places: Arc::new(Semaphore::new(self.per_endpoint)),
                was_prompt: AtomicBool::new(is_well),
            })
        });
        Arc::clone(lane)
    }
}

impl Place {
    /// Runs `attempt` in this place.
    pub(crate) async fn hold<F: Future>(&mut self, attempt: F) -> F::Output {
        let mut attempt = pin!(attempt);
        tokio::select! {
            biased;
            output = &mut attempt => return output,
            () = tokio::time::sleep(PROMPT) => self.is_overdue(),
        }
        attempt.await
    }

    /// The attempt was not prompt, and is not over.
    fn is_overdue(&mut self) {
        self.lane.was_prompt.store(false, Ordering::Relaxed);
        let places = self.elsewhere.take().into_iter().flatten();
        if let Some(other) = places.into_iter().find_map(|all| all.try_acquire_owned().ok()) {
            self.of_all = other;
        }
    }

    /// The attempt ended after `duration`.
    pub(crate) fn leave(self, duration: Duration) {
        self.lane.was_prompt.store(duration <= PROMPT, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    fn endpoint(n: u128) -> EndpointId {
        Uuid::from_u128(n).into()
    }

    fn place_now(gate: &Gate, n: u128) -> Option<Place> {
        gate.place(endpoint(n), false).now_or_never().flatten()
    }

    #[test]
    fn endpoints_that_hang_leave_a_quarter_of_the_places_to_those_that_answer() {
        let gate = Gate::new(8, 8);
        place_now(&gate, 1).expect("a place").leave(PROMPT / 2);
        let hanging: Vec<Place> =
            (100..106).map(|n| place_now(&gate, n).expect("a place")).collect();
        assert!(place_now(&gate, 106).is_none(), "the common places are taken");
        let first = place_now(&gate, 1).expect("a kept place");
        let second = place_now(&gate, 1).expect("a kept place");
        assert!(place_now(&gate, 1).is_none(), "the kept ones are bounded as well");
        first.leave(PROMPT * 2);
        assert!(place_now(&gate, 1).is_none(), "it hung, so it waits in the common line");
        drop((second, hanging));
        assert!(place_now(&gate, 1).is_some());
    }

    #[test]
    fn an_endpoint_that_is_well_and_new_here_does_not_wait_behind_those_that_hang() {
        let gate = Gate::new(8, 8);
        let _hanging: Vec<Place> =
            (100..106).map(|n| place_now(&gate, n).expect("a place")).collect();
        assert!(place_now(&gate, 1).is_none(), "it is not well");
        let mut new = gate.place(endpoint(2), true).now_or_never().flatten().expect("kept");
        new.is_overdue();
        drop(new);
        let again = gate.place(endpoint(2), true).now_or_never().flatten();
        assert!(again.is_none(), "it was seen to hang: what its state says counts no more");
    }

    #[test]
    fn an_attempt_that_outlives_what_is_prompt_gives_its_kept_place_back_up_to_a_bound() {
        let gate = Gate::new(8, 8);
        for n in 1..=5 {
            place_now(&gate, n).expect("a place").leave(PROMPT / 2);
        }
        let common: Vec<Place> =
            (100..106).map(|n| place_now(&gate, n).expect("a place")).collect();
        let mut kept: Vec<Place> = (1..=2).map(|n| place_now(&gate, n).expect("kept")).collect();
        assert!(place_now(&gate, 3).is_none(), "all kept places are taken");
        kept.iter_mut().for_each(Place::is_overdue);
        kept.extend((3..=4).map(|n| place_now(&gate, n).expect("a kept place, given back")));
        assert!(place_now(&gate, 1).is_none(), "it has lost the privilege");
        kept.iter_mut().for_each(Place::is_overdue);
        assert!(place_now(&gate, 5).is_none(), "those that are overdue are bounded as well");
        drop(kept);
        assert!(place_now(&gate, 5).is_some());
        drop(common);
        assert_eq!(gate.for_all.available_permits(), 6);
        assert_eq!(gate.for_overdue.available_permits(), 2);
    }

    #[test]
    fn one_endpoint_has_at_most_its_own_places() {
        let gate = Gate::new(64, 2);
        let taken: Vec<Place> = (0..2).map(|_| place_now(&gate, 1).expect("a place")).collect();
        assert!(place_now(&gate, 1).is_none());
        assert!(place_now(&gate, 2).is_some());
        drop(taken);
        assert!(place_now(&gate, 1).is_some());
    }

    #[tokio::test]
    async fn who_waits_is_served_in_the_order_of_asking_and_who_gives_up_leaves_no_trace() {
        let gate = Arc::new(Gate::new(4, 4));
        let taken: Vec<Place> = (0..3).map(|_| place_now(&gate, 1).expect("a place")).collect();
        let mut gave_up = Box::pin(gate.place(endpoint(2), false));
        let mut second = Box::pin(gate.place(endpoint(3), false));
        let mut third = Box::pin(gate.place(endpoint(4), false));
        assert!(futures::poll!(&mut gave_up).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        drop(gave_up);
        let mut taken = taken.into_iter();
        drop(taken.next());
        assert!(futures::poll!(&mut third).is_pending());
        let place = second.await.expect("a place");
        assert!(futures::poll!(&mut third).is_pending());
        drop(place);
        assert!(third.await.is_some());
    }

    #[test]
    fn what_is_remembered_of_endpoints_is_bounded() {
        let gate = Gate::new(8, 8);
        let held = place_now(&gate, 0).expect("a place");
        for n in 1..=REMEMBERED_ENDPOINTS_MAX as u128 {
            place_now(&gate, n).expect("a place").leave(PROMPT / 2);
        }
        assert!(gate.endpoints.lock().expect("a lock").len() <= REMEMBERED_ENDPOINTS_MAX);
        drop(held);
    }
}
