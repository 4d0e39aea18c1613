//! The scripts that the simulation and the real parts must come to the same by.
//!
//! Waits are short, or so long that nothing happens between two steps. Where several deliveries must
//! be in line before the first is sent, they are paid during a pause.

use domain::endpoint::Ordering::{Ordered, Strict, Unordered};
use simulation::Deed::{
    ChangeOrdering, ChangePolicy, ChangeUrl, Delete, Disable, Enable, Pause, Redeliver, Resume,
    Skip, Subscribe,
};
use simulation::Step::{Attempts, Finished, Pay, Tell};
use simulation::{Replies, Reply, Script};

const QUICK: &str = r#"{"backoff_initial_ms": 200, "backoff_max_ms": 400, "schedule_s": [2, 2],
    "throttled_wait_min_ms": 0, "disables_after_s": 3600, "breaker_opens_after": 5}"#;
/// The same, with a schedule that does not end while an endpoint is unwell.
const PATIENT: &str = r#"{"backoff_initial_ms": 200, "backoff_max_ms": 400,
    "schedule_s": [2, 600], "throttled_wait_min_ms": 0}"#;
/// Waits in which an operator's command fits.
const SLOW: &str =
    r#"{"backoff_initial_ms": 6000, "backoff_max_ms": 6000, "schedule_s": [2, 600]}"#;

/// The same, with a breaker that opens at once.
const SLOW_AND_STRICT_BREAKER: &str = r#"{"backoff_initial_ms": 6000, "backoff_max_ms": 6000,
    "schedule_s": [2, 600], "breaker_opens_after": 1}"#;
/// Who is refused comes back when all is over.
const ONE_LONG_WAIT: &str = r#"{"schedule_s": [600]}"#;

const fn status(status: u16) -> Reply {
    Reply { status, retry_after_s: None }
}

const WELL: Replies = Replies { always: |_| None, first: &[] };

const fn first(first: &'static [Reply]) -> Replies {
    Replies { always: |_| None, first }
}

const FAILS_THREE_TIMES: &[Reply] = &[status(500), status(503), status(500)];

/// Every script.
pub(crate) const SCRIPTS: &[Script] = &[
    Script {
        name: "a healthy merchant",
        ordering: Ordered,
        policy: QUICK,
        replies: WELL,
        steps: &[Pay(5), Finished(5)],
    },
    Script {
        name: "a healthy merchant without an order",
        ordering: Unordered,
        policy: QUICK,
        replies: WELL,
        steps: &[Pay(5), Finished(5)],
    },
    Script {
        name: "fails three times and recovers",
        ordering: Ordered,
        policy: PATIENT,
        replies: first(FAILS_THREE_TIMES),
        steps: &[Pay(3), Finished(3)],
    },
    Script {
        name: "fails three times and recovers, strict",
        ordering: Strict,
        policy: PATIENT,
        replies: first(FAILS_THREE_TIMES),
        steps: &[Pay(3), Finished(3)],
    },
    Script {
        name: "fails until the breaker opens, and a probe that walked failed as well",
        ordering: Ordered,
        policy: PATIENT,
        replies: first(&[status(500); 8]),
        steps: &[Tell(Pause), Pay(3), Tell(Resume), Finished(3)],
    },
    Script {
        name: "one poisonous event",
        ordering: Ordered,
        policy: PATIENT,
        replies: Replies {
            always: |number| if number == 1 { Some(500) } else { None },
            first: &[],
        },
        // Six failures and two refusals of the poisonous one, and four that got through.
        steps: &[Tell(Pause), Pay(5), Tell(Resume), Attempts(12)],
    },
    Script {
        name: "one refused event in the middle is exhausted",
        ordering: Ordered,
        policy: QUICK,
        replies: Replies {
            always: |number| if number == 2 { Some(422) } else { None },
            first: &[],
        },
        steps: &[Tell(Pause), Pay(4), Tell(Resume), Finished(4)],
    },
    Script {
        name: "one refused event blocks a strict endpoint until it is exhausted",
        ordering: Strict,
        policy: QUICK,
        replies: Replies {
            always: |number| if number == 2 { Some(422) } else { None },
            first: &[],
        },
        steps: &[Tell(Pause), Pay(4), Tell(Resume), Finished(4)],
    },
    Script {
        name: "one refused event without an order",
        ordering: Unordered,
        policy: QUICK,
        replies: Replies {
            always: |number| if number == 2 { Some(422) } else { None },
            first: &[],
        },
        steps: &[Tell(Pause), Pay(4), Tell(Resume), Finished(4)],
    },
    Script {
        name: "five at once fail, and the lanes come back one by one",
        ordering: Unordered,
        policy: SLOW,
        replies: first(&[status(500); 5]),
        steps: &[Tell(Pause), Pay(5), Tell(Resume), Finished(5)],
    },
    Script {
        name: "gone, and enabled by an operator",
        ordering: Ordered,
        policy: QUICK,
        replies: first(&[status(410)]),
        steps: &[Pay(1), Attempts(1), Pay(1), Tell(Enable), Finished(2)],
    },
    Script {
        name: "gone, and enabled by a new URL",
        ordering: Ordered,
        policy: QUICK,
        replies: first(&[status(410)]),
        steps: &[Pay(1), Attempts(1), Pay(1), Tell(ChangeUrl), Finished(2)],
    },
    Script {
        name: "disabled by an operator, and still so at a new URL",
        ordering: Ordered,
        policy: QUICK,
        replies: WELL,
        steps: &[Tell(Disable), Pay(2), Tell(ChangeUrl)],
    },
    Script {
        name: "gone, and left so",
        ordering: Strict,
        policy: QUICK,
        replies: first(&[status(410)]),
        steps: &[Pay(2), Attempts(1)],
    },
    Script {
        name: "asks for two seconds",
        ordering: Ordered,
        policy: PATIENT,
        replies: first(&[Reply { status: 429, retry_after_s: Some(2) }]),
        steps: &[Pay(3), Finished(3)],
    },
    Script {
        name: "paused while it waits, and resumed",
        ordering: Ordered,
        policy: SLOW,
        replies: first(&[status(500)]),
        steps: &[Pay(2), Attempts(1), Tell(Pause), Pay(1), Tell(Resume), Finished(3)],
    },
    Script {
        name: "paused and left so",
        ordering: Ordered,
        policy: SLOW,
        replies: first(&[status(500)]),
        steps: &[Pay(2), Attempts(1), Tell(Pause), Pay(1)],
    },
    Script {
        name: "skipped and redelivered in the middle",
        ordering: Ordered,
        policy: QUICK,
        replies: WELL,
        steps: &[
            Tell(Pause),
            Pay(4),
            Tell(Skip(1)),
            Tell(Skip(1)),
            Tell(Resume),
            Finished(4),
            Tell(Redeliver(500)),
            Attempts(4),
        ],
    },
    Script {
        name: "a strict head is skipped while it blocks",
        ordering: Strict,
        policy: ONE_LONG_WAIT,
        replies: Replies {
            always: |number| if number == 1 { Some(400) } else { None },
            first: &[],
        },
        steps: &[Tell(Pause), Pay(3), Tell(Resume), Attempts(1), Tell(Skip(0)), Finished(3)],
    },
    Script {
        name: "disabled while it is unwell; enabling forgets why",
        ordering: Unordered,
        policy: SLOW,
        replies: first(&[status(503)]),
        steps: &[Pay(1), Attempts(1), Tell(Disable), Pay(2), Tell(Enable), Finished(3)],
    },
    Script {
        name: "another URL while it waits",
        ordering: Ordered,
        policy: SLOW,
        replies: first(&[status(500)]),
        steps: &[Pay(2), Attempts(1), Tell(ChangeUrl), Finished(2)],
    },
    Script {
        name: "another URL while the breaker is open",
        ordering: Ordered,
        policy: SLOW_AND_STRICT_BREAKER,
        replies: first(&[status(500)]),
        steps: &[Pay(2), Attempts(1), Tell(ChangeUrl), Finished(2)],
    },
    Script {
        name: "becomes strict while one stepped aside",
        ordering: Ordered,
        policy: ONE_LONG_WAIT,
        replies: first(&[status(200), status(422)]),
        steps: &[
            Tell(Pause),
            Pay(3),
            Tell(Resume),
            Attempts(3),
            Tell(ChangeOrdering(Strict)),
            Finished(3),
        ],
    },
    Script {
        name: "is strict and blocked, and becomes ordered",
        ordering: Strict,
        policy: ONE_LONG_WAIT,
        replies: Replies {
            always: |number| if number == 1 { Some(400) } else { None },
            first: &[],
        },
        steps: &[
            Tell(Pause),
            Pay(3),
            Tell(Resume),
            Attempts(1),
            Tell(ChangeOrdering(Ordered)),
            Finished(3),
        ],
    },
    Script {
        name: "is unordered and unwell, and becomes ordered",
        ordering: Unordered,
        policy: SLOW,
        replies: first(&[status(500)]),
        steps: &[Pay(1), Attempts(1), Pay(2), Tell(ChangeOrdering(Ordered)), Finished(3)],
    },
    Script {
        name: "another policy while it is unwell, by which its breaker opens",
        ordering: Ordered,
        policy: SLOW,
        replies: first(&[status(500), status(502)]),
        steps: &[
            Pay(2),
            Attempts(1),
            Tell(ChangePolicy(
                r#"{"backoff_initial_ms": 200, "backoff_max_ms": 400, "schedule_s": [600],
                    "throttled_wait_min_ms": 0, "breaker_opens_after": 2}"#,
            )),
            Finished(2),
        ],
    },
    Script {
        name: "asks for other events while it is unwell, and for these again",
        ordering: Ordered,
        policy: SLOW,
        replies: first(&[status(500)]),
        steps: &[
            Pay(1),
            Attempts(1),
            Tell(Subscribe(false)),
            Pay(2),
            Tell(Subscribe(true)),
            Pay(1),
            Finished(2),
        ],
    },
    Script {
        name: "deleted while it is unwell and its breaker is open",
        ordering: Ordered,
        policy: SLOW_AND_STRICT_BREAKER,
        replies: first(&[status(500)]),
        steps: &[Pay(3), Attempts(1), Tell(Delete), Finished(3)],
    },
    Script {
        name: "deleted while it is paused and one stepped aside",
        ordering: Unordered,
        policy: ONE_LONG_WAIT,
        replies: Replies {
            always: |number| if number == 2 { Some(404) } else { None },
            first: &[],
        },
        steps: &[Pay(3), Attempts(3), Tell(Pause), Pay(1), Tell(Delete), Pay(1), Finished(4)],
    },
];
