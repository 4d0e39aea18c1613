//! Gauges that are looked up now and then, and shown as they were last found.
//!
//! A source (database, restate, kafka, a pool) gives all of its figures at once; they replace those
//! that it gave before, so an endpoint that waits no longer is gone from the next scrape. A scrape
//! never looks anything up: what a lookup costs, whoever looks up decides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::catalogue::{self, Definition};

/// One value of a gauge.
#[derive(Debug, Clone)]
pub struct Figure {
    definition: &'static Definition,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Figure {
    /// A value under the labels of its family, in their order.
    fn new<const N: usize>(definition: &'static Definition, labels: [&str; N], value: f64) -> Self {
        debug_assert_eq!(definition.labels.len(), N, "{}", definition.name);
        let labels =
            definition.labels.iter().zip(labels).map(|(k, v)| (*k, v.to_owned())).collect();
        Self { definition, labels, value }
    }
}

/// The figures that the catalogue knows, by what they say.
pub mod figure {
    use super::{Figure, catalogue};

    macro_rules! figures {
        ($($(#[$doc:meta])* $name:ident($($label:ident),*) = $definition:ident;)*) => {
            $($(#[$doc])* pub fn $name($($label: &str,)* value: f64) -> Figure {
                Figure::new(&catalogue::$definition, [$($label),*], value)
            })*
        };
    }

    figures! {
        /// Deliveries that wait, by state.
        deliveries(state) = DELIVERIES;
        /// Age of what is due the longest, in seconds.
        oldest_due() = OLDEST_DUE;
        /// Age of what waits the longest, in seconds.
        oldest_waiting() = OLDEST_WAITING;
        /// What waits at an endpoint.
        endpoint_waiting(endpoint, merchant) = ENDPOINT_WAITING;
        /// What could be sent to an endpoint now.
        endpoint_due(endpoint, merchant) = ENDPOINT_DUE;
        /// For how long an endpoint has had due work, in seconds.
        endpoint_due_age(endpoint, merchant) = ENDPOINT_DUE_AGE;
        /// Endpoints by status.
        endpoints(status) = ENDPOINTS;
        /// Breakers by state.
        breakers(state) = BREAKERS;
        /// Endpoints with a fault of ours, by its code.
        endpoints_stuck(fault) = ENDPOINTS_AT_FAULT;
        /// Records that lie parked.
        parked() = PARKED;
        /// Bytes that a slot's reader has not confirmed.
        slot_lag(slot) = SLOT_LAG;
        /// Bytes that are kept for a slot.
        slot_retained(slot) = SLOT_RETAINED;
        /// Is somebody streaming from a slot?
        slot_active(slot) = SLOT_ACTIVE;
        /// How far the relay is behind, in seconds.
        relay_lag() = RELAY_LAG;
        /// Restate's invocations by status.
        restate_invocations(status) = RESTATE_INVOCATIONS;
        /// Objects that are stuck on our side.
        restate_stuck() = RESTATE_STUCK;
        /// Records that a group has not committed.
        kafka_lag(group, topic) = KAFKA_LAG;
    }
}

type Source = Box<dyn Fn() -> Vec<Figure> + Send + Sync>;

#[derive(Default)]
struct Kept {
    found: BTreeMap<&'static str, Vec<Figure>>,
    // Free to ask: asked at each scrape.
    asked: Vec<Source>,
}

/// What was found. Clones share it.
#[derive(Clone, Default)]
pub struct Figures(Arc<Mutex<Kept>>);

impl fmt::Debug for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Figures")
    }
}

impl Figures {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        static FIGURES: LazyLock<Figures> = LazyLock::new(Figures::default);
        FIGURES.clone()
    }

    /// Notes that `source` is going to be looked up: until it is, its figures are as old as this, so
    /// that one which is away from the start is seen.
    pub fn begin(&self, source: &'static str) {
        let began = Figure::new(&catalogue::LOOKED_UP, [source], seconds_since_1970());
        self.lock().found.entry(source).or_insert_with(|| vec![began]);
    }

    /// Replaces what `source` gave before, and notes when, and how long it took to find out.
    pub fn replace(&self, source: &'static str, mut figures: Vec<Figure>, took: Duration) {
        figures.push(Figure::new(&catalogue::LOOKED_UP, [source], seconds_since_1970()));
        figures.push(Figure::new(&catalogue::LOOKUP_TOOK, [source], took.as_secs_f64()));
        self.lock().found.insert(source, figures);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Values that are replaced as a whole: a panic leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds_since_1970() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// Shows a pool of connections: how many are used, idle, and allowed, whenever it is asked.
pub fn pool(ask: impl Fn() -> [u32; 3] + Send + Sync + 'static) {
    let source = move || {
        let states = ["used", "idle", "max"];
        let figure = |(state, count)| Figure::new(&catalogue::POOL, [state], f64::from(count));
        states.into_iter().zip(ask()).map(figure).collect()
    };
    Figures::of_this_process().lock().asked.push(Box::new(source));
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kept = self.lock();
        let asked: Vec<Figure> = kept.asked.iter().flat_map(|source| source()).collect();
        let all: Vec<&Figure> = kept.found.values().flatten().chain(&asked).collect();
        for definition in catalogue::ALL {
            let of_it = all.iter().filter(|figure| std::ptr::eq(figure.definition, *definition));
            encode_family(&mut encoder, definition, of_it.copied())?;
        }
        Ok(())
    }
}

fn encode_family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: &Definition,
    figures: impl Iterator<Item = &'a Figure>,
) -> fmt::Result {
    let mut figures = figures.peekable();
    if figures.peek().is_none() {
        return Ok(());
    }
    let unit = definition.unit.map(|unit| Unit::Other(unit.to_owned()));
    let gauge = ConstGauge::new(0.0);
    let help = format!("{}.", definition.help);
    let mut family =
        encoder.encode_descriptor(definition.base(), &help, unit.as_ref(), gauge.metric_type())?;
    for figure in figures {
        let gauge = ConstGauge::new(figure.value);
        if figure.labels.is_empty() {
            // There is no second one.
            return gauge.encode(family);
        }
        gauge.encode(family.encode_family(&figure.labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn told(figures: &Figures) -> String {
        let mut registry = Registry::with_prefix("posthorn");
        registry.register_collector(Box::new(figures.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        text
    }

    #[test]
    fn a_source_that_was_never_looked_up_is_as_old_as_the_process() {
        let figures = Figures::default();
        figures.begin("restate");
        let looked_up = "posthorn_figures_looked_up_timestamp_seconds{source=\"restate\"} ";
        let at = |figures: &Figures| {
            let text = told(figures);
            let line = text.lines().find_map(|line| line.strip_prefix(looked_up));
            line.expect("a series").parse::<f64>().expect("a number")
        };
        let began = at(&figures);
        assert!(began > 1.7e9, "{began}");
        figures.begin("restate");
        assert!((at(&figures) - began).abs() < f64::EPSILON, "it began once");
        figures.replace("restate", Vec::new(), Duration::ZERO);
        assert!(at(&figures) > began);
    }

    #[test]
    fn what_a_source_no_longer_finds_is_gone_and_what_others_found_stays() {
        let figures = Figures::default();
        let took = Duration::from_millis(2);
        let ep = figure::endpoint_waiting("ep_1", "demo", 3.0);
        figures.replace("database", vec![ep, figure::oldest_due(1.5)], took);
        figures.replace("restate", vec![figure::restate_invocations("ready", 1.0)], took);
        let text = told(&figures);
        assert!(text.contains(
            "posthorn_endpoint_deliveries_waiting{endpoint=\"ep_1\",merchant=\"demo\"} 3.0"
        ));
        assert!(text.contains("\nposthorn_oldest_due_age_seconds 1.5\n"), "{text}");
        figures.replace("database", vec![figure::oldest_due(0.0)], took);
        let text = told(&figures);
        assert!(!text.contains("ep_1"));
        assert!(text.contains("posthorn_restate_invocations{status=\"ready\"} 1.0"), "{text}");
    }
}
