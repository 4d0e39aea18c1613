//! The process itself, as the kernel counts it; read from `/proc` when it is scraped.

use std::fmt;
use std::fs;
use std::sync::LazyLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::catalogue::{self, Definition, Kind};

/// The process that this is.
#[derive(Debug)]
pub(super) struct Process;

/// Ticks of the kernel in a second, in what it shows to programs: on Linux always so.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Elsewhere than on Linux there is nothing to read, and nothing is shown.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let fds = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
        let figures = [
            (&catalogue::RSS, number(&status, "VmRSS:").map(|kib| kib * 1_024.0)),
            (&catalogue::CPU, cpu_seconds(&stat)),
            // The one that counts them is open as well.
            (&catalogue::FDS, fds.and_then(|count| u32::try_from(count - 1).ok()).map(f64::from)),
            (&catalogue::FDS_MAX, number(&limits, "Max open files")),
            (&catalogue::THREADS, number(&status, "Threads:")),
            (&catalogue::STARTED, started_at(&stat)),
        ];
        for (definition, value) in figures {
            if let Some(value) = value {
                tell(&mut encoder, definition, value)?;
            }
        }
        Ok(())
    }
}

fn tell(encoder: &mut DescriptorEncoder<'_>, definition: &Definition, value: f64) -> fmt::Result {
    let unit = definition.unit.map(|unit| Unit::Other(unit.to_owned()));
    let help = format!("{}.", definition.help);
    let is_counter = definition.kind == Kind::Counter;
    let kind = if is_counter { MetricType::Counter } else { MetricType::Gauge };
    let metric = encoder.encode_descriptor(definition.base(), &help, unit.as_ref(), kind)?;
    if is_counter {
        return ConstCounter::new(value).encode(metric);
    }
    ConstGauge::new(value).encode(metric)
}

/// The first number after `name`, at the beginning of a line.
fn number(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/self/stat` behind the name, which may hold anything; the first is number 3.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS_PER_SECOND)
}

fn started_at(stat: &str) -> Option<f64> {
    static BOOTED_AT: LazyLock<Option<f64>> =
        LazyLock::new(|| number(&fs::read_to_string("/proc/stat").ok()?, "btime"));
    Some((*BOOTED_AT)? + field(stat, 22)? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 4 0 900 0 0";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(field(stat, 22), Some(900.0));
    }

    #[test]
    fn this_process_has_memory_and_open_files() {
        let status = fs::read_to_string("/proc/self/status").expect("linux");
        assert!(number(&status, "VmRSS:").is_some_and(|kib| kib > 100.0));
        let limits = fs::read_to_string("/proc/self/limits").expect("linux");
        assert!(number(&limits, "Max open files").is_some_and(|files| files > 10.0));
    }
}
