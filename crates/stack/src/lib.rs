//! Posthorn: stack.
