//! Posthorn: bench.
