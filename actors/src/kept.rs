//! What Restate keeps for longer than a build lives: an object's state, and the inputs of messages
//! that wait.
//!
//! They meet the next build's code, and after a rollback that of the build before. All of it is a
//! copy or a reminder, PostgreSQL has the truth; so what a build cannot read counts as not known, and
//! is written anew in the form of today. What must never happen: that a form which cannot be read
//! fails a handler, which Restate would try again until it is killed, and after it every later one.

use std::convert::Infallible;

use bytes::Bytes;
use restate_sdk::serde::{Deserialize, PayloadMetadata, Serialize};
use serde::de::DeserializeOwned;

/// A value that may be of another build's form; then it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept<T>(pub(crate) Option<T>);

impl<T: serde::Serialize> Serialize for Kept<T> {
    type Error = serde_json::Error;

    fn serialize(&self) -> Result<Bytes, Self::Error> {
        serde_json::to_vec(&self.0).map(Bytes::from)
    }
}

impl<T: DeserializeOwned> Deserialize for Kept<T> {
    type Error = Infallible;

    fn deserialize(bytes: &mut Bytes) -> Result<Self, Self::Error> {
        let read = serde_json::from_slice(bytes);
        if let Err(error) = &read {
            let of = std::any::type_name::<T>();
            let goes_on = "Restate kept a form that this build cannot read; it goes on without";
            tracing::warn!(of, %error, "{goes_on}");
        }
        Ok(Self(read.ok()))
    }
}

/// As of JSON.
impl<T> PayloadMetadata for Kept<T> {
    fn json_schema() -> Option<serde_json::Value> {
        Some(serde_json::json!({}))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::awaited::Awaited;
    use crate::call::WakeCall;
    use crate::report::StateView;
    use crate::stuck::Stuck;
    use crate::timer::Timer;

    /// What builds have written: lines are added, never edited. A line that this build no longer
    /// reads is an endpoint whose copies are lost at the next deployment, and whose timer doubles.
    const LINES: &str = include_str!("../fixtures/kept_in_restate.jsonl");

    /// Its name, and what this build writes of what it read. The patterns are without a rest: the
    /// compiler asks whoever adds a field or a variant, and a line and a name in `NAMES` are the answer.
    fn read(kind: &str, kept: &Value) -> (&'static str, Value) {
        let bytes = Bytes::from(kept.to_string());
        match kind {
            "timer" => {
                let timer: Timer = value(bytes);
                let Timer { at_ms: _, at: _, generation: _, invocation: _ } = &timer;
                ("timer", written(timer))
            }
            "state" => {
                let view: StateView = value(bytes);
                let StateView {
                    merchant: _,
                    status: _,
                    breaker: _,
                    trouble: _,
                    waits_until: _,
                    version: _,
                } = &view;
                ("state", written(view))
            }
            "stuck" => {
                let stuck: Stuck = value(bytes);
                let Stuck { reason: _, times: _ } = &stuck;
                ("stuck", written(stuck))
            }
            "appear" => {
                let awaited: Awaited = value(bytes);
                let Awaited { delivery: _, looks: _, is_seen } = awaited;
                (if is_seen { "appear, seen" } else { "appear" }, written(awaited))
            }
            "wake" => {
                let call: WakeCall = value(bytes);
                let name = match call {
                    WakeCall::Notified { looks: _ } => "wake, notified",
                    WakeCall::Continued { looks: _ } => "wake, continued",
                    WakeCall::Timer { generation: _ } => "wake, timer",
                    WakeCall::Swept => "wake, swept",
                    WakeCall::Commanded => "wake, commanded",
                    WakeCall::OfAnotherForm => panic!("nobody sends it"),
                };
                (name, written(call))
            }
            _ => panic!("`{kind}` is kept nowhere"),
        }
    }

    const NAMES: [&str; 10] = [
        "timer",
        "state",
        "stuck",
        "appear",
        "appear, seen",
        "wake, notified",
        "wake, continued",
        "wake, timer",
        "wake, swept",
        "wake, commanded",
    ];

    fn value<T: DeserializeOwned>(mut bytes: Bytes) -> T {
        let Ok(kept) = Kept::deserialize(&mut bytes);
        kept.0.unwrap_or_else(|| panic!("this build cannot read {bytes:?}"))
    }

    fn written<T: serde::Serialize>(value: T) -> Value {
        let bytes = Kept(Some(value)).serialize().expect("it serialises");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn what_builds_before_have_left_in_restate_is_read_and_written_as_it_was() {
        let mut seen = BTreeSet::new();
        for line in LINES.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let (name, written) = read(line["kind"].as_str().expect("a kind"), &line["kept"]);
            assert_eq!(written, line["kept"], "{name}");
            seen.insert(name);
        }
        assert_eq!(seen, BTreeSet::from(NAMES), "a line of each");
    }

    #[test]
    fn what_cannot_be_read_is_none_and_no_error() {
        for other in ["", "null", "seven", r#"{"at_ms":1,"at":"","generation":1}"#, "\u{1}"] {
            let Ok(kept) = Kept::<Timer>::deserialize(&mut Bytes::from(other));
            assert_eq!(kept, Kept(None), "{other}");
        }
        for other in [r#"{"because":"dreamt"}"#, r#"{"because":"notified"}"#] {
            let Ok(kept) = Kept::<WakeCall>::deserialize(&mut Bytes::from(other));
            assert_eq!(kept, Kept(None), "{other}");
        }
    }
}
