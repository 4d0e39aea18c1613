//! What the tests of the merchants' receivers share: a program that is installed and run as a
//! merchant would, a webhook that is really sent to it, and the same one tampered with.
//!
//! Nothing is skipped: a language whose tools are missing fails and says what to install.

mod program;
mod webhook;

pub use program::{Program, folder, install};
pub use webhook::{Kept, deliver, keep_one, resend};
