//! Every family of metrics: its name, unit, labels and meaning. Here and nowhere else.
//!
//! `docs/metrics.md` is made from this list, and a test compares it with what a running stack
//! exposes. Names follow Prometheus: base units, `_total` on what only grows.

use std::fmt::Write as _;

use super::PREFIX;

/// What a family counts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until its process ends.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How values are spread.
    Histogram,
}

/// A family of metrics.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Any process has it, by a name without our prefix.
    is_of_any_process: bool,
    /// Its name, without the prefix and without what its kind adds.
    pub name: &'static str,
    /// What it counts with.
    pub kind: Kind,
    /// Its unit, which ends its name.
    pub unit: Option<&'static str>,
    /// The roles that expose it.
    pub roles: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says: a sentence without its full stop.
    pub help: &'static str,
}

impl Definition {
    const fn new(
        kind: Kind,
        roles: &'static str,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { is_of_any_process: false, name, kind, unit: None, roles, labels, help }
    }

    const fn in_unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Every program tells it by this name: what is made for any process shows ours as well.
    const fn of_any_process(mut self) -> Self {
        self.is_of_any_process = true;
        self
    }

    /// Its name as the library wants it: without prefix and unit.
    pub(super) fn base(&self) -> &'static str {
        self.name
    }

    /// The name of the family, as a scraper sees it in `# TYPE`.
    pub fn family(&self) -> String {
        let unit = self.unit.map_or(String::new(), |unit| format!("_{unit}"));
        match self.is_of_any_process {
            true => format!("{}{unit}", self.name),
            false => format!("{PREFIX}_{}{unit}", self.name),
        }
    }

    /// The name to query for; a histogram's is the stem of its three.
    pub fn series(&self) -> String {
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{total}", self.family())
    }
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $id:ident = $definition:expr;)*) => {
        $(pub(crate) static $id: Definition = $definition;)*
        /// All families.
        pub static ALL: &[&Definition] = &[$(&$id),*];
    };
}

const fn counter(
    roles: &'static str,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition::new(Kind::Counter, roles, name, labels, help)
}

const fn gauge(
    roles: &'static str,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition::new(Kind::Gauge, roles, name, labels, help)
}

const fn seconds(
    roles: &'static str,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition::new(Kind::Histogram, roles, name, labels, help).in_unit("seconds")
}

catalogue! {
    COMMIT_TO_ATTEMPT = seconds("worker", "commit_to_attempt", &["waited_for"],
        "From the delivery's row, written in the event's transaction, to the start of its first attempt; waited_for: nothing (ours alone: the promise is about these), line (others of the same endpoint went first), endpoint (it was unwell, paused or blocked)");
    COMMIT_TO_DELIVERED = seconds("worker", "commit_to_delivered", &["attempts"],
        "From the delivery's row, or from when it was put back in line, to the merchant's 2xx, by one attempt or by more");
    ATTEMPTS = counter("worker", "attempts", &["class", "code"],
        "Attempts that ended, by the outcome's class (delivered, unwell, refused, gone, fault) and code");
    ATTEMPT_DURATION = seconds("worker", "attempt_duration", &["class"],
        "How long attempts took, the payload's fetch included");
    ATTEMPTS_IN_FLIGHT = gauge("worker", "attempts_in_flight", &[],
        "Attempts that are under way");
    SLICES = counter("worker", "slices", &["end"],
        "Slices that ended: ended, stuck (by a fault of ours; tried again), fence_lost");
    LOOK_DURATION = seconds("worker", "look_duration", &[],
        "Looks, and how long they took, patience with an absent database included");
    SETTLE_DURATION = seconds("worker", "settle_duration", &["answer"],
        "Settles, and how long they took; moved: a command came in between, decided again");
    FENCES_LOST = counter("worker", "fences_lost", &[],
        "Settles that found that another run has the turn: each is an attempt that may be repeated");
    SWEEPER_ROUNDS = counter("worker", "sweeper_rounds", &["result"],
        "Rounds of the sweeper: swept, not_mine (another one was at it), failed");
    SWEEPER_FOUND = counter("worker", "sweeper_found", &[],
        "Endpoints that the sweeper found left alone with due work; a healthy system has none");
    EXPIRED = counter("worker", "deliveries_expired", &[],
        "Deliveries that were given up because they had waited for 60 days");
    DELIVERIES = gauge("worker", "deliveries_waiting", &["state"],
        "Deliveries that wait: due, aside (refused, until their time), backoff (their whole endpoint waits for its time), held (paused or disabled)");
    OLDEST_DUE = gauge("worker", "oldest_due_age", &[],
        "How long the delivery that is due the longest has been so; 0 when none is").in_unit("seconds");
    OLDEST_WAITING = gauge("worker", "oldest_waiting_age", &[],
        "Age of the oldest delivery that waits, whatever for; 0 when none does").in_unit("seconds");
    ENDPOINT_WAITING = gauge("worker", "endpoint_deliveries_waiting", &["endpoint", "merchant"],
        "Deliveries that wait at the endpoints that are worst: the 20 with the most that waits, the 20 with the most that is due, and the 20 with the oldest that is; `rest` is all others together");
    ENDPOINT_DUE = gauge("worker", "endpoint_deliveries_due", &["endpoint", "merchant"],
        "Of these, deliveries that could be sent now; `rest` is all others together");
    ENDPOINT_DUE_AGE = gauge("worker", "endpoint_oldest_due_age", &["endpoint", "merchant"],
        "For how long their oldest due delivery has been so, 0 when none is; `rest`: of all others, the oldest").in_unit("seconds");
    ENDPOINTS = gauge("worker", "endpoints", &["status"],
        "Endpoints by status: active, paused, disabled_gone, disabled_unwell, disabled_operator");
    BREAKERS = gauge("worker", "breakers", &["state"],
        "Breakers of active endpoints: closed, open, half_open (open, and its probe is due)");
    ENDPOINTS_AT_FAULT = gauge("worker", "endpoints_stuck", &["fault"],
        "Active endpoints, or single deliveries of them, that a fault of ours or of configuration is in the way of");
    PARKED = gauge("worker", "parked_records", &[],
        "Records that could not be understood and lie in the table until a person looks");
    SLOT_LAG = gauge("worker", "slot_lag", &["slot"],
        "WAL that was written and that the slot's reader has not confirmed").in_unit("bytes");
    SLOT_RETAINED = gauge("worker", "slot_retained", &["slot"],
        "WAL that PostgreSQL keeps for the slot: it is never removed until it is confirmed").in_unit("bytes");
    SLOT_ACTIVE = gauge("worker", "slot_active", &["slot"],
        "1 while somebody streams from the slot; 0 also when our relay's is not there");
    RELAY_LAG = gauge("worker", "relay_lag", &[],
        "Age of the oldest waiting delivery behind what the relay has confirmed, to the second; 0 when there is none").in_unit("seconds");
    RESTATE_INVOCATIONS = gauge("worker", "restate_invocations", &["status"],
        "Invocations of the Endpoint object that Restate has, by its status");
    RESTATE_STUCK = gauge("worker", "restate_stuck_objects", &[],
        "Endpoint objects whose last slice was stopped by a fault of ours, such as the database away");
    LOOKED_UP = gauge("relay, worker", "figures_looked_up_timestamp", &["source"],
        "When the gauges of this source (database, restate, kafka) were last looked up, or when this process began to, in seconds since 1970").in_unit("seconds");
    LOOKUP_TOOK = gauge("relay, worker", "figures_lookup_duration", &["source"],
        "How long that took; the pause until the next one is at least 20 times as long").in_unit("seconds");
    RELAY_CAPTURED = counter("relay", "relay_rows_captured", &[],
        "Rows of the outbox that were read from the WAL");
    RELAY_ANNOUNCED = counter("relay", "relay_deliveries_announced", &[],
        "Deliveries that Kafka has acknowledged on both topics: on webhook-wakes themselves, or a wake that stands for them");
    RELAY_WAKES = counter("relay", "relay_wakes_sent", &[],
        "Records on webhook-wakes: announcements of one endpoint within 25 ms are merged");
    RELAY_STOOD_FOR = counter("relay", "relay_deliveries_stood_for", &[],
        "Deliveries for which a wake before them stood, since nobody had looked for it yet: many mean that the workers, or Restate, are behind");
    RELAY_PARKED = counter("relay", "relay_rows_parked", &[],
        "Rows that could not be understood");
    RELAY_ANNOUNCE = seconds("relay", "commit_to_kafka", &[],
        "From a transaction's commit to the acknowledgement of both topics");
    RELAY_IN_FLIGHT = gauge("relay", "relay_in_flight", &[],
        "Deliveries that were given to Kafka and are not yet acknowledged on both topics");
    RELAY_SESSIONS = counter("relay", "relay_sessions", &[],
        "Sessions that began to stream; each one beyond the first followed an interruption");
    KAFKA_LAG = gauge("relay", "kafka_consumer_lag", &["group", "topic"],
        "Records on the topic that Restate's subscription has not committed");
    REQUESTS = counter("api, data-service", "requests", &["front", "operation", "code"],
        "Requests answered: by front (grpc, http, payload), operation (`_OTHER` for what nobody serves: never a word of the caller's), and its own kind of code");
    REQUEST_DURATION = seconds("api, data-service", "request_duration", &["front"],
        "How long answers took");
    POOL = gauge("every role with a database", "pool_connections", &["state"],
        "Connections to PostgreSQL: used, idle, max (the limit)");
    SPANS_DROPPED = counter("every role with an OTLP endpoint", "spans_dropped", &["reason"],
        "Spans that were made and never arrive: queue_full (they are made faster than that endpoint takes them), not_taken (it was away, or took longer than 3 s, for their batch)");
    RSS = gauge("every role", "process_resident_memory", &[],
        "Memory of the process that is in RAM").in_unit("bytes").of_any_process();
    CPU = counter("every role", "process_cpu", &[],
        "Processor time of the process, user and system").in_unit("seconds").of_any_process();
    FDS = gauge("every role", "process_open_fds", &[],
        "Open file descriptors").of_any_process();
    FDS_MAX = gauge("every role", "process_max_fds", &[],
        "Most that may be open").of_any_process();
    THREADS = gauge("every role", "process_threads", &[],
        "Threads").of_any_process();
    STARTED = gauge("every role", "process_start_time", &[],
        "When the process began, in seconds since 1970").in_unit("seconds").of_any_process();
}

/// The whole of `docs/metrics.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Every role serves `/metrics` as OpenMetrics text on the port of its health (`posthorn \
         status` shows it). This page is made from `observability/src/metrics/catalogue.rs`; a \
         test compares it with what a running stack exposes. Latency histograms carry trace ids \
         as exemplars (Prometheus keeps them with `--enable-feature=exemplar-storage`).\n\n\
         Gauges that come from PostgreSQL or Restate are looked up by every worker, at most every \
         15 s and never at work for more than a twentieth of the time: with several workers take `max`, \
         not `sum`. Endpoints are never labels but for those that are worst, 60 at most.\n\n\
         | name | kind | labels | exposed by | what it says |\n|---|---|---|---|---|\n",
    );
    for definition in ALL {
        let kind = match definition.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> =
            definition.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, roles) = (definition.series(), definition.roles);
        let (labels, help) = (labels.join(", "), definition.help);
        // Writing into a string fails for nobody.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {roles} | {help}. |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_convention() {
        let mut names: Vec<String> = ALL.iter().map(|definition| definition.series()).collect();
        names.sort();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for definition in ALL {
            let name = definition.series();
            let allowed = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(allowed), "{name}");
            assert!(!definition.name.ends_with("_total"), "{name}: its kind adds that");
            assert!(!definition.help.ends_with('.'), "{name}: a full stop is added");
            assert!(definition.kind != Kind::Histogram || definition.unit == Some("seconds"));
        }
    }

    #[test]
    fn the_page_is_what_the_catalogue_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("POSTHORN_WRITE_DOCS").is_some() {
            std::fs::write(path, document()).expect("written");
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == document(),
            "docs/metrics.md is not what the catalogue says; to write it: POSTHORN_WRITE_DOCS=1 \
             cargo test --workspace the_page_is_what_the_catalogue_says"
        );
    }
}
