//! A trace as Jaeger's query paths tell it, whoever answers them, and what must be true of one.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{Api, until};

/// Spans are sent within a second; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clocks are read to the microsecond, by processes of one machine.
const TOLERANCE_US: u64 = 2_000;

/// Where traces are read.
#[derive(Debug)]
pub struct Traces(Api);

/// One trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub id: String,
    /// Its spans, the earliest first.
    pub spans: Vec<Span>,
    /// As it was told.
    pub text: String,
}

/// One span.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its id.
    pub id: String,
    /// Its parent's; none when it has none.
    pub parent: Option<String>,
    /// What it did.
    pub name: String,
    /// Whose it is.
    pub service: String,
    /// When it began, in microseconds since 1970.
    pub start_us: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Its attributes.
    pub tags: BTreeMap<String, Value>,
    /// Traces and spans that it is linked to.
    pub links: Vec<(String, String)>,
}

impl Traces {
    /// What listens on `port` of this machine.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new(port: u16) -> anyhow::Result<Self> {
        Ok(Self(Api::new(&format!("http://127.0.0.1:{port}"))?))
    }

    /// Waits until the trace `id` is such that `is_there` finds nothing missing, and reads it.
    ///
    /// # Errors
    /// What is missing, when it does not come in time.
    pub async fn read(
        &self,
        id: &str,
        is_there: impl Fn(&Trace) -> anyhow::Result<()>,
    ) -> anyhow::Result<Trace> {
        until(&format!("the trace {id}"), PATIENCE, async || {
            let trace = Trace::of(&self.0.get(&format!("/api/traces/{id}")).await?["data"][0])?;
            is_there(&trace).with_context(|| trace.outline())?;
            Ok(trace)
        })
        .await
    }

    /// Every span that is kept, as it is told, once one of them is about `endpoint`.
    ///
    /// # Errors
    /// When none is.
    pub async fn everything(&self, endpoint: &str) -> anyhow::Result<String> {
        until("a span about the endpoint", PATIENCE, async || {
            let all = self.0.get("/api/traces?limit=1500").await?.to_string();
            ensure!(all.contains(endpoint), "nothing about {endpoint}");
            ensure!(all.contains("\"POST\""), "nothing was sent");
            Ok(all)
        })
        .await
    }

    /// The ids of the traces that a search for one attribute's value finds.
    ///
    /// # Errors
    /// When the search is refused.
    pub async fn find(
        &self,
        service: &str,
        name: &str,
        value: &str,
    ) -> anyhow::Result<Vec<String>> {
        // Braces and quotes, as a query has them.
        let tags = format!("%7B%22{name}%22%3A%22{value}%22%7D");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
        let hour = 3_600_000_000;
        let (start, end) = (now - hour, now + hour);
        let path =
            format!("/api/traces?service={service}&tags={tags}&start={start}&end={end}&limit=20");
        let found = self.0.get(&path).await?;
        let traces = found["data"].as_array().context("no list")?;
        Ok(traces.iter().filter_map(|t| Some(t["traceID"].as_str()?.to_owned())).collect())
    }
}

impl Trace {
    fn of(told: &Value) -> anyhow::Result<Self> {
        let text = told.to_string();
        let mut spans = Vec::new();
        for span in told["spans"].as_array().context("no spans yet")? {
            let of_text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let references = span["references"].as_array().map(Vec::as_slice).unwrap_or_default();
            let (parents, links): (Vec<_>, Vec<_>) =
                references.iter().partition(|reference| reference["refType"] == "CHILD_OF");
            let process = &told["processes"][span["processID"].as_str().unwrap_or_default()];
            let tags = span["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            spans.push(Span {
                id: of_text(&span["spanID"]),
                parent: parents.first().map(|parent| of_text(&parent["spanID"])),
                name: of_text(&span["operationName"]),
                service: of_text(&process["serviceName"]),
                start_us: span["startTime"].as_u64().context("no time")?,
                duration_us: span["duration"].as_u64().context("no duration")?,
                tags: tags.iter().map(|tag| (of_text(&tag["key"]), tag["value"].clone())).collect(),
                links: links
                    .iter()
                    .map(|link| (of_text(&link["traceID"]), of_text(&link["spanID"])))
                    .collect(),
            });
        }
        spans.sort_by_key(|span| span.start_us);
        Ok(Self { id: told["traceID"].as_str().unwrap_or_default().to_owned(), spans, text })
    }

    /// The spans of this name, the earliest first.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// The one span of this name.
    ///
    /// # Errors
    /// When there is none, or another.
    pub fn only(&self, name: &str) -> anyhow::Result<&Span> {
        let named = self.named(name);
        ensure!(named.len() == 1, "{} spans are called {name:?}", named.len());
        Ok(named[0])
    }

    /// The spans directly below one, the earliest first.
    pub fn below(&self, span: &Span) -> Vec<&Span> {
        self.spans.iter().filter(|below| below.parent.as_ref() == Some(&span.id)).collect()
    }

    /// The one span of this name directly below another.
    ///
    /// # Errors
    /// When there is none, or another.
    pub fn one_below(&self, span: &Span, name: &str) -> anyhow::Result<&Span> {
        let below = self.below(span);
        let named: Vec<_> = below.into_iter().filter(|below| below.name == name).collect();
        ensure!(named.len() == 1, "{} spans called {name:?} below {:?}", named.len(), span.name);
        Ok(named[0])
    }

    /// Every span leads to the one that came in from outside: nothing is missing in between.
    ///
    /// # Errors
    /// The span whose parent is not there.
    pub fn is_connected_below(&self, outside: Option<&str>) -> anyhow::Result<()> {
        let ids: HashSet<&str> = self.spans.iter().map(|span| &*span.id).collect();
        ensure!(ids.len() == self.spans.len(), "two spans with one id");
        let roots: Vec<&Span> = self
            .spans
            .iter()
            .filter(|span| span.parent.as_deref().is_none_or(|parent| !ids.contains(parent)))
            .collect();
        let names: Vec<&str> = roots.iter().map(|root| &*root.name).collect();
        ensure!(roots.len() == 1, "not one root but {names:?}");
        ensure!(roots[0].parent.as_deref() == outside, "{:?} is not below the caller", names);
        Ok(())
    }

    /// Spans one below the other, for messages.
    pub fn outline(&self) -> String {
        let line = |span: &Span| {
            format!("{} < {:?} {}: {}", span.id, span.parent, span.service, span.name)
        };
        self.spans.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Span {
    /// An attribute as text; empty when it is not there.
    pub fn tag(&self, name: &str) -> String {
        match self.tags.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// When it ended, in microseconds since 1970.
    pub fn end_us(&self) -> u64 {
        self.start_us + self.duration_us
    }

    /// `inner` happened while this did.
    ///
    /// # Errors
    /// When it did not.
    pub fn contains(&self, inner: &Span) -> anyhow::Result<()> {
        ensure!(
            self.start_us <= inner.start_us + TOLERANCE_US
                && inner.end_us() <= self.end_us() + TOLERANCE_US,
            "{} ({} to {}) is not within {} ({} to {})",
            inner.name,
            inner.start_us,
            inner.end_us(),
            self.name,
            self.start_us,
            self.end_us()
        );
        Ok(())
    }

    /// `parts` came one after the other and make up this span but for `rest`.
    ///
    /// # Errors
    /// When they do not.
    pub fn adds_up(&self, parts: &[&Span], rest: Duration) -> anyhow::Result<()> {
        parts.iter().try_for_each(|part| self.contains(part))?;
        for pair in parts.windows(2) {
            let (one, next) = (pair[0], pair[1]);
            ensure!(
                one.end_us() <= next.start_us + TOLERANCE_US,
                "{} began before {} had ended",
                next.name,
                one.name
            );
        }
        let sum: u64 = parts.iter().map(|part| part.duration_us).sum();
        let missing = self.duration_us.saturating_sub(sum);
        let rest = u64::try_from(rest.as_micros())?;
        ensure!(missing <= rest, "{} us of {} are in none of its parts", missing, self.name);
        Ok(())
    }
}
