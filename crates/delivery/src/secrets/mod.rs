//! Signing secrets: made or imported, sealed for the database, opened for an attempt.
//!
//! Text comes in once (an import) and goes out once (when it is shown to the merchant). Between,
//! a secret is zeroized when dropped, prints as `[redacted]`, and lies in PostgreSQL only sealed
//! under a key of the [`KeyRing`]. A sealed secret of one endpoint and version does not open as
//! another's.

mod key_ring;
mod secret;

pub use key_ring::{KeyRing, KeyRingError, SealError, Sealed};
pub use secret::{Secret, SecretError, SignatureScheme};
