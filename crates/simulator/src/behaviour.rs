//! What a merchant was told to do, and what it does with the next webhook.
//!
//! A [`Behaviour`] is data that an operator or a test puts at run time; `react` turns it into one
//! [`Reaction`]. A merchant that was told nothing answers 200. No clock and no IO here: a delay is
//! a value that the caller waits out.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::HeaderValue;
use serde::{Deserialize, Serialize};

/// The name under which every merchant without a behaviour of its own is told.
pub(crate) const EVERYONE: &str = "*";
/// Longest delay: longer is what `hang` is for.
const DELAY_MS_MAX: u64 = 3_600_000;
/// Largest answer that a merchant can be told to give.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Most merchants that are told something; each costs memory until it is deleted.
const BEHAVIOURS_MAX: usize = 10_000;

/// What a merchant was told, as the API reads and shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    /// Answer this status. Without it: 503 with `fail_times`, 400 with `refuse_event_type`, else 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Wait so long before the answer.
    delay_ms: u64,
    /// Only for the next so many webhooks; then 200 at once. Shows how many are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_times: Option<u32>,
    /// Never answer.
    hang: bool,
    /// Close the connection instead of answering.
    close: bool,
    /// The answer's `retry-after` header, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
    /// Only for webhooks of this type; others get 200 at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    refuse_event_type: Option<String>,
    /// The answer's body, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// What happens to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// An answer, after a wait.
    Answer {
        /// Its status.
        status: u16,
        /// The wait before it.
        delay: Duration,
        /// Its `retry-after` header.
        retry_after: Option<HeaderValue>,
        /// Its body; none: the usual one.
        body: Option<String>,
    },
    /// No answer until the sender gives up.
    Hang,
    /// The connection ends without an answer.
    Close,
}

impl Reaction {
    /// What a merchant does that was told nothing.
    const OK: Self =
        Self::Answer { status: 200, delay: Duration::ZERO, retry_after: None, body: None };
}

impl Behaviour {
    /// Refuses what cannot be done; the text names the field and what is allowed.
    fn check(&self) -> Result<(), String> {
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err("status: must be 200 to 599".to_owned());
        }
        if self.delay_ms > DELAY_MS_MAX {
            return Err(format!("delay_ms: must be at most {DELAY_MS_MAX}"));
        }
        if self.hang && self.close {
            return Err("hang, close: one or the other".to_owned());
        }
        if self.fail_times == Some(0) {
            return Err("fail_times: must be at least 1".to_owned());
        }
        if self.retry_after.as_ref().is_some_and(|text| HeaderValue::from_str(text).is_err()) {
            return Err("retry_after: cannot be the value of a header".to_owned());
        }
        if self.body.as_ref().is_some_and(|body| body.len() > BODY_BYTES_MAX) {
            return Err(format!("body: must be at most {BODY_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn react(&mut self, event_type: Option<&str>) -> Reaction {
        if self.refuse_event_type.is_some() && self.refuse_event_type.as_deref() != event_type {
            return Reaction::OK;
        }
        match &mut self.fail_times {
            Some(0) => return Reaction::OK,
            Some(left) => *left -= 1,
            None => {}
        }
        if self.hang {
            return Reaction::Hang;
        }
        if self.close {
            return Reaction::Close;
        }
        let unnamed = match (self.fail_times, &self.refuse_event_type) {
            (Some(_), _) => 503,
            (None, Some(_)) => 400,
            (None, None) => 200,
        };
        Reaction::Answer {
            status: self.status.unwrap_or(unnamed),
            delay: Duration::from_millis(self.delay_ms),
            retry_after: self.retry_after.as_ref().and_then(|t| HeaderValue::from_str(t).ok()),
            body: self.body.clone(),
        }
    }
}

/// What all merchants were told.
#[derive(Debug, Default)]
pub(crate) struct Behaviours(BTreeMap<String, Behaviour>);

impl Behaviours {
    /// From now on `name` (a path, its first part, or [`EVERYONE`]) behaves so.
    ///
    /// # Errors
    /// A sentence that names the field and what is allowed.
    pub(crate) fn put(&mut self, name: &str, behaviour: Behaviour) -> Result<(), String> {
        behaviour.check()?;
        if self.0.len() >= BEHAVIOURS_MAX && !self.0.contains_key(name) {
            return Err(format!("{BEHAVIOURS_MAX} merchants have behaviours; delete some first"));
        }
        self.0.insert(name.to_owned(), behaviour);
        Ok(())
    }

    /// What `name` was told, and what of it is left.
    pub(crate) fn get(&self, name: &str) -> Option<&Behaviour> {
        self.0.get(name)
    }

    /// `name` answers 200 again, or what everyone was told.
    pub(crate) fn delete(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Everyone answers 200 again.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// All that was told.
    pub(crate) fn all(&self) -> &BTreeMap<String, Behaviour> {
        &self.0
    }

    /// What the merchant at `path` does with a webhook of this type. The path's own behaviour is
    /// taken before the one of its first part, and that before everyone's.
    pub(crate) fn react(&mut self, path: &str, event_type: Option<&str>) -> Reaction {
        if self.0.is_empty() {
            return Reaction::OK;
        }
        let first = path.split('/').next().unwrap_or(path);
        let name = [path, first, EVERYONE].into_iter().find(|name| self.0.contains_key(*name));
        name.and_then(|name| self.0.get_mut(name))
            .map_or(Reaction::OK, |behaviour| behaviour.react(event_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> anyhow::Result<Behaviours> {
        let mut behaviours = Behaviours::default();
        behaviours.put("m", serde_json::from_str(json)?).map_err(anyhow::Error::msg)?;
        Ok(behaviours)
    }

    fn statuses(behaviours: &mut Behaviours, event_types: &[&str]) -> Vec<u16> {
        event_types
            .iter()
            .map(|event_type| match behaviours.react("m", Some(event_type)) {
                Reaction::Answer { status, .. } => status,
                Reaction::Hang | Reaction::Close => 0,
            })
            .collect()
    }

    #[test]
    fn it_fails_as_often_as_it_was_told_and_then_answers_200() -> anyhow::Result<()> {
        let mut behaviours = told(r#"{"fail_times":2}"#)?;
        assert_eq!(statuses(&mut behaviours, &["a", "a", "a", "a"]), [503, 503, 200, 200]);
        let mut behaviours = told(r#"{"fail_times":1,"close":true}"#)?;
        assert_eq!(behaviours.react("m", None), Reaction::Close);
        assert_eq!(behaviours.react("m", None), Reaction::OK);
        Ok(())
    }

    #[test]
    fn only_the_type_that_it_refuses_is_refused_or_counted() -> anyhow::Result<()> {
        let mut behaviours = told(r#"{"refuse_event_type":"b","fail_times":1,"status":422}"#)?;
        assert_eq!(statuses(&mut behaviours, &["a", "b", "b"]), [200, 422, 200]);
        let mut behaviours = told(r#"{"refuse_event_type":"b"}"#)?;
        assert_eq!(statuses(&mut behaviours, &["a", "b", "b"]), [200, 400, 400]);
        Ok(())
    }

    #[test]
    fn the_nearest_behaviour_counts_path_then_merchant_then_everyone() -> anyhow::Result<()> {
        let mut behaviours = Behaviours::default();
        for (name, status) in [("m/a", 501), ("m", 502), (EVERYONE, 503)] {
            let behaviour = serde_json::from_value(serde_json::json!({ "status": status }))?;
            behaviours.put(name, behaviour).map_err(anyhow::Error::msg)?;
        }
        for (path, expected) in [("m/a", 501), ("m/b", 502), ("m", 502), ("other", 503)] {
            let reaction = behaviours.react(path, None);
            assert!(
                matches!(reaction, Reaction::Answer { status, .. } if status == expected),
                "{path}: {reaction:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_fields_name() {
        for (json, field) in [
            (r#"{"status":99}"#, "status"),
            (r#"{"status":600}"#, "status"),
            (r#"{"delay_ms":3600001}"#, "delay_ms"),
            (r#"{"hang":true,"close":true}"#, "hang"),
            (r#"{"fail_times":0}"#, "fail_times"),
            (r#"{"retry_after":"a\nb"}"#, "retry_after"),
            (r#"{"stauts":500}"#, "stauts"),
        ] {
            let refused = told(json).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains(field), "{json}: {refused}");
        }
    }
}
