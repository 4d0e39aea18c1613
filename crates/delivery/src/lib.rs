//! Posthorn: delivery.
