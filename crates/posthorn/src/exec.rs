//! `posthorn exec`, hidden: what every child of `up` is first. See `stack::exec`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use nix::sys::signal::Signal;

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The process whose end is ours. None: whoever is the parent now.
    #[arg(long, value_name = "PID")]
    parent: Option<i32>,
    /// The signal that says so, such as KILL.
    #[arg(long, value_parser = signal, default_value = "KILL")]
    signal: Signal,
    /// The user to become first.
    #[arg(long)]
    user: Option<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// It returns only when that failed.
pub(crate) fn exec(args: ExecArgs) -> ExitCode {
    let ExecArgs { parent, signal, user, argv } = args;
    let error = stack::exec::become_command(stack::exec::Exec { user, signal, parent, argv });
    eprintln!("posthorn exec: {error}");
    // What a shell says of a command that cannot be executed.
    ExitCode::from(126)
}

fn signal(name: &str) -> Result<Signal, nix::Error> {
    let prefix = if name.starts_with("SIG") { "" } else { "SIG" };
    Signal::from_str(&format!("{prefix}{name}"))
}
