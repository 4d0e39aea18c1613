//! The spans that are kept: encoded as they came, by trace, within a bound of bytes.
//!
//! When the bound is passed, whole traces go, the one that was quiet for longest first; so a retry
//! hours later keeps its trace. One trace is bounded as well. What must never happen: memory that
//! grows with what is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A trace's id.
pub(crate) type TraceId = [u8; 16];

/// Spans of one trace, at most: beyond that a picture of it helps nobody.
const TRACE_SPANS_MAX: usize = 5_000;
/// What a kept span costs beside its encoded bytes: its place, its allocation, its share of the
/// trace's.
const SPAN_OVERHEAD_BYTES: usize = 112;
/// Processes that are remembered while none of their spans is kept.
const PROCESSES_MAX: usize = 256;

/// Who sent a span.
#[derive(Debug, PartialEq)]
pub(crate) struct Process {
    pub(crate) resource: Resource,
}

/// A span as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct KeptSpan {
    pub(crate) process: Arc<Process>,
    pub(crate) scope: Arc<str>,
    encoded: Box<[u8]>,
}

impl KeptSpan {
    /// The span. Empty only if memory was corrupted: it was encoded here.
    pub(crate) fn span(&self) -> Span {
        Span::decode(&*self.encoded).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct KeptTrace {
    // Its place in the order of what was touched last.
    touched: u64,
    spans: Vec<KeptSpan>,
    bytes: usize,
}

/// The spans that are kept.
#[derive(Debug)]
pub(crate) struct Shelf {
    bytes_max: usize,
    bytes: usize,
    touches: u64,
    traces: HashMap<TraceId, KeptTrace>,
    // The quietest first.
    order: BTreeMap<u64, TraceId>,
    processes: HashMap<Vec<u8>, Arc<Process>>,
    scopes: HashMap<String, Arc<str>>,
}

impl Shelf {
    /// An empty one that keeps at most about `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            touches: 0,
            traces: HashMap::new(),
            order: BTreeMap::new(),
            processes: HashMap::new(),
            scopes: HashMap::new(),
        }
    }

    /// The process that `resource` describes; the same one for the same description.
    pub(crate) fn process(&mut self, resource: Resource) -> Arc<Process> {
        let key = resource.encode_to_vec();
        if let Some(known) = self.processes.get(&key) {
            return Arc::clone(known);
        }
        if self.processes.len() >= PROCESSES_MAX {
            self.processes.retain(|_, process| Arc::strong_count(process) > 1);
        }
        let process = Arc::new(Process { resource });
        self.processes.insert(key, Arc::clone(&process));
        process
    }

    /// Keeps a span; false when it has no ids.
    pub(crate) fn put(&mut self, process: &Arc<Process>, scope: &str, span: &Span) -> bool {
        let Ok(id) = TraceId::try_from(&span.trace_id[..]) else { return false };
        if span.span_id.len() != 8 {
            return false;
        }
        let scope = self.scope(scope);
        self.touches += 1;
        let trace = self.traces.entry(id).or_default();
        if trace.touched > 0 {
            self.order.remove(&trace.touched);
        }
        trace.touched = self.touches;
        self.order.insert(self.touches, id);
        if trace.spans.len() < TRACE_SPANS_MAX {
            let encoded = span.encode_to_vec().into_boxed_slice();
            let bytes = encoded.len() + SPAN_OVERHEAD_BYTES;
            trace.spans.push(KeptSpan { process: Arc::clone(process), scope, encoded });
            trace.bytes += bytes;
            self.bytes += bytes;
        }
        self.make_room();
        true
    }

    /// The spans of a trace, in the order in which they came.
    pub(crate) fn trace(&self, id: &TraceId) -> Option<&[KeptSpan]> {
        self.traces.get(id).map(|trace| &trace.spans[..])
    }

    /// Every trace, what was touched last first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &[KeptSpan]> {
        self.order.values().rev().filter_map(|id| self.trace(id))
    }

    /// What is kept, in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn scope(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.scopes.get(name) {
            return Arc::clone(known);
        }
        let scope: Arc<str> = name.into();
        if self.scopes.len() < PROCESSES_MAX {
            self.scopes.insert(name.to_owned(), Arc::clone(&scope));
        }
        scope
    }

    fn make_room(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((_, quietest)) = self.order.pop_first()
        {
            if let Some(gone) = self.traces.remove(&quietest) {
                self.bytes -= gone.bytes;
            }
        }
    }
}
