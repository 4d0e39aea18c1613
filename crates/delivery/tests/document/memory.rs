//! How much memory a piece of work had at its peak.

/// What `work` answers, and the most bytes that it had at one time, of those that it allocated. This
/// thread's alone: whoever runs on another is not counted.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let mut answer = None;
    let counted = allocation_counter::measure(|| answer = Some(work()));
    (answer.expect("the work was done"), counted.bytes_max)
}
