//! What stands between us and a child: the child dies with its parent, and never runs as root when
//! it must not.
//!
//! `become_command` runs in the child, before the program that it is to become. The order is the
//! point: a change of user clears the death signal, so the signal is set after it; a parent that
//! died before it was set would never be noticed, so it is looked for after that.

use std::ffi::{CString, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, User, getppid, initgroups, setgid, setuid};

use crate::dev_null;

/// What a child is told about itself.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The user to become; none: stay.
    pub user: Option<String>,
    /// The signal that the kernel sends when the parent dies.
    pub signal: Signal,
    /// The parent that must still be there; none: whoever it is when this begins.
    pub parent: Option<i32>,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
}

/// Why the child did not become what it was to be.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No program was named.
    #[error("nothing to execute")]
    Nothing,
    /// There is no such user.
    #[error("there is no user {0}")]
    NoUser(String),
    /// The system refused.
    #[error("{what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: nix::Error,
    },
    /// The parent is gone already.
    #[error("the parent is gone")]
    Orphan,
    /// The program cannot be executed.
    #[error("cannot execute {0:?}: {1}")]
    Exec(OsString, std::io::Error),
}

/// Becomes the command: it returns only when that failed.
///
/// # Errors
/// When a step was refused.
pub fn become_command(exec: Exec) -> ExecError {
    match prepare(&exec) {
        Err(error) => error,
        Ok(()) => match exec.argv.split_first() {
            None => ExecError::Nothing,
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments);
                // Our own binary is reached through /proc: people should still read its name.
                if program == crate::launch::SELF {
                    command.arg0("posthorn");
                }
                ExecError::Exec(program.clone(), command.exec())
            }
        },
    }
}

fn prepare(exec: &Exec) -> Result<(), ExecError> {
    let parent = exec.parent.map_or_else(getppid, Pid::from_raw);
    let refused = |what| move |source| ExecError::Refused { what, source };
    if let Some(name) = &exec.user {
        dev_null::let_everybody_write().map_err(refused(
            "only root may write to /dev/null (chmod 666 /dev/null repairs it), and a private one \
             cannot be made",
        ))?;
        let user = User::from_name(name)
            .map_err(refused("cannot look up the user"))?
            .ok_or_else(|| ExecError::NoUser(name.clone()))?;
        let c_name = CString::new(name.as_str()).map_err(|_| ExecError::NoUser(name.clone()))?;
        initgroups(&c_name, user.gid).map_err(refused("cannot set the groups"))?;
        setgid(user.gid).map_err(refused("cannot set the group"))?;
        setuid(user.uid).map_err(refused("cannot set the user"))?;
    }
    prctl::set_pdeathsig(exec.signal).map_err(refused("cannot ask for a death signal"))?;
    if getppid() != parent {
        return Err(ExecError::Orphan);
    }
    Ok(())
}

/// Shows this process as `posthorn-…` to `ps` and `top`: started through /proc, it would be `exe`.
pub fn show_as(role: &str) {
    if let Ok(name) = CString::new(format!("posthorn-{role}")) {
        // Linux keeps fifteen bytes of it; a refusal costs nothing but the name.
        let _ = prctl::set_name(&name);
    }
}
