//! What each process costs: CPU seconds and memory, from `/proc`.
//!
//! A service is its process and everything below it (PostgreSQL is a family). CPU time of a
//! child that has ended stays with its parent; a service that was restarted begins anew and is
//! added up. What a process used between the last look at it and its death is not seen.

use std::collections::{BTreeMap, HashMap};

use crate::stack::Stack;

/// Ticks of `/proc/<pid>/stat` in a second: fixed by Linux for what it shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one service used so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pid: u32,
    ticks: u64,
    ticks_at_last_look: u64,
    /// Highest memory that a look saw, in KiB; shared pages are counted in parts (PSS).
    pub memory_kib_max: u64,
}

impl Usage {
    /// CPU seconds since the first look.
    #[allow(clippy::cast_precision_loss)] // Ticks of a run are few.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.ticks as f64 / TICKS_PER_SECOND
    }
}

/// Looks at the services of a stack, and at this process, again and again.
#[derive(Debug)]
pub(crate) struct Meter {
    stack: Stack,
    usages: BTreeMap<String, Usage>,
}

impl Meter {
    /// A meter whose first look is now: what was used before does not count.
    pub(crate) fn start(stack: Stack) -> Self {
        let mut meter = Self { stack, usages: BTreeMap::new() };
        meter.look();
        for usage in meter.usages.values_mut() {
            usage.ticks = 0;
        }
        meter
    }

    /// Adds up what was used since the last look.
    pub(crate) fn look(&mut self) {
        let processes = Processes::read();
        // Without a stack of ours, only this process is measured.
        let services = self.stack.services().unwrap_or_default();
        let named = services.into_iter().filter_map(|service| Some((service.name, service.pid?)));
        for (name, pid) in
            named.chain([("bench (load and receiver)".to_owned(), std::process::id())])
        {
            let Some((ticks, memory_kib)) = processes.family(pid) else { continue };
            let usage = self.usages.entry(name).or_default();
            let before = if usage.pid == pid { usage.ticks_at_last_look } else { 0 };
            usage.ticks += ticks.saturating_sub(before);
            usage.pid = pid;
            usage.ticks_at_last_look = ticks;
            usage.memory_kib_max = usage.memory_kib_max.max(memory_kib);
        }
    }

    /// What every service used.
    pub(crate) fn usages(&self) -> &BTreeMap<String, Usage> {
        &self.usages
    }
}

/// All processes of the machine at one moment: ticks, and who is whose child.
#[derive(Debug, Default)]
struct Processes {
    ticks: HashMap<u32, u64>,
    children: HashMap<u32, Vec<u32>>,
}

impl Processes {
    fn read() -> Self {
        let mut processes = Self::default();
        let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in folders.filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok()) {
            // It may have ended meanwhile.
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let Some((parent, ticks)) = parent_and_ticks(&stat) else { continue };
            processes.ticks.insert(pid, ticks);
            processes.children.entry(parent).or_default().push(pid);
        }
        processes
    }

    /// Ticks and memory of a process and of everything below it; none if it is not there.
    fn family(&self, pid: u32) -> Option<(u64, u64)> {
        let mut ticks = *self.ticks.get(&pid)?;
        let mut memory_kib = memory_kib(pid);
        for child in self.children.get(&pid).into_iter().flatten() {
            let (child_ticks, child_memory_kib) = self.family(*child).unwrap_or_default();
            ticks += child_ticks;
            memory_kib += child_memory_kib;
        }
        Some((ticks, memory_kib))
    }
}

/// From a line of `/proc/<pid>/stat`: see proc(5), fields 4 and 14 to 17.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    // The name stands in parentheses and may hold anything, closing parentheses included.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

/// Proportional memory where the system shows it to us, else resident memory.
fn memory_kib(pid: u32) -> u64 {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    field("smaps_rollup", "Pss:").or_else(|| field("status", "VmRSS:")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_process_is_called() {
        let stat = "42 (odd) name) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        assert_eq!(parent_and_ticks(stat), Some((7, 100)));
        assert_eq!(parent_and_ticks("42 (cut"), None);
    }

    #[test]
    fn what_this_process_uses_after_the_first_look_is_seen_and_what_was_before_is_not() {
        let folder = std::env::temp_dir().join("no-such-stack");
        let mut meter = Meter::start(Stack::new(&folder));
        let own = |meter: &Meter| meter.usages()["bench (load and receiver)"].clone();
        assert!(own(&meter).cpu_seconds() < f64::EPSILON);
        while own(&meter).cpu_seconds() < 0.05 {
            std::hint::black_box((0..1_000_000_u64).sum::<u64>());
            meter.look();
        }
        assert!(own(&meter).memory_kib_max > 0);
    }
}
