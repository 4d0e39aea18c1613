//! What commands print on standard output. A reader that has seen enough (`| head -1`) ends them
//! quietly, as it ends every other program of a pipeline.
//!
//! `up` and the roles do not print by this: what runs is not ended by whoever has stopped to look.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

/// What a shell says of a program that SIGPIPE has ended: 128 and the signal's number. The runtime
/// ignores the signal, because one that goes to a socket must not end a role.
const ENDED_BY_SIGPIPE: i32 = 128 + 13;

/// Prints a line, with the arguments of `format!`.
macro_rules! say {
    ($($line:tt)*) => { $crate::say::line(format_args!($($line)*)) };
}
pub(crate) use say;

/// What `say!` does.
pub(crate) fn line(line: Arguments<'_>) {
    text(format_args!("{line}\n"));
}

/// Prints a text as it is, if somebody reads it: what is half done goes on in any case.
pub(crate) fn text_if_read(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a text as it is.
pub(crate) fn text(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            std::process::exit(ENDED_BY_SIGPIPE);
        }
        Err(error) => {
            // Where nobody can be told, nobody is.
            let _ = writeln!(std::io::stderr(), "posthorn: cannot print: {error}");
            std::process::exit(1);
        }
    }
}
