//! What the end-to-end tests share: a stack of their own, a client, the invariant checker.
