//! Where a jitter comes from: the rules take it as an argument.

use domain::endpoint::Jitter;
use uuid::Uuid;

/// A jitter, out of the random bits of a UUID.
pub(crate) fn draw() -> Jitter {
    let random = u32::from_le_bytes(first_four(Uuid::new_v4().as_bytes()));
    Jitter::from_unit(f64::from(random) / f64::from(u32::MAX))
}

/// The first four bytes of a version 4 UUID are all random.
fn first_four(bytes: &[u8; 16]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
