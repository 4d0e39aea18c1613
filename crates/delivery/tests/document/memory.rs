//! How much more memory the process had at its peak, since a moment.

use std::fs;

/// The process's memory at a moment.
pub(crate) struct Since {
    kib: u64,
}

impl Since {
    /// Now; the kernel forgets the peak so far.
    pub(crate) fn now() -> Self {
        // proc(5): 5 resets the peak to what it is now.
        fs::write("/proc/self/clear_refs", "5").expect("the peak is reset");
        Self { kib: status_kib("VmRSS:") }
    }

    /// The peak since then, beyond what it was.
    pub(crate) fn peak_kib(&self) -> u64 {
        status_kib("VmHWM:").saturating_sub(self.kib)
    }
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
