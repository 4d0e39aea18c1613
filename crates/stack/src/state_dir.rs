//! The state directory: where everything of one stack lies, and the lock that makes it one.
//!
//! ```text
//! .posthorn/  lock  status.json  environment  secret-keys  ports.json
//!             parts/ (what was fetched)  log/  run/ (a working directory for each role)
//!             postgres/  kafka/  restate/ (data and configuration)
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Ports, StackError, postgres, secrets};

/// Room that a first start needs: fetched parts (about 550 MiB), fresh data folders, logs, and
/// some days of play.
const NEEDED_MIB: u64 = 2048;
/// How long another `up` is given to end, and how often it is looked at.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_POLL: Duration = Duration::from_millis(20);

const PORTS_FILE: &str = "ports.json";

/// The URL of the database of the stack in `dir`, with its password: for tests and commands that
/// talk to a stack that somebody else runs.
///
/// # Errors
/// When nothing was ever started there.
pub fn database_url(dir: &Path) -> Result<String, StackError> {
    let port = Ports::chosen(&dir.join(PORTS_FILE))?.postgres;
    let password = dir.join(postgres::PASSWORD_FILE);
    let password =
        std::fs::read_to_string(&password).map_err(StackError::file("cannot read", &password))?;
    Ok(postgres::url(&password, port))
}

/// A state directory that is ours alone, for as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    parts: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory if need be, and takes its lock. `parts`: where fetched parts are shared
    /// with other stacks; none: in the directory itself.
    ///
    /// # Errors
    /// When another `up` holds it, or it cannot be written.
    pub fn open(path: &Path, parts: Option<&Path>) -> Result<Self, StackError> {
        let make = |path: &Path| {
            std::fs::create_dir_all(path).map_err(StackError::file("cannot make the folder", path))
        };
        make(path)?;
        let path = path.canonicalize().map_err(StackError::file("cannot find the folder", path))?;
        make(&path.join("log"))?;
        let parts = parts.map_or_else(|| path.join("parts"), Path::to_owned);
        make(&parts)?;
        let parts =
            parts.canonicalize().map_err(StackError::file("cannot find the folder", &parts))?;
        let lock = take_lock(&path)?;
        Ok(Self { path, parts, _lock: lock })
    }

    /// Is an `up` running on this directory now?
    pub fn is_in_use(path: &Path) -> bool {
        let lock = OpenOptions::new().read(true).write(true).open(path.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Looks whether there is room for what is to come.
    ///
    /// # Errors
    /// When there is not.
    pub fn check_room(&self) -> Result<(), StackError> {
        let free_mib = free_mib(&self.path)
            .map_err(|error| StackError::file("cannot look at", &self.path)(error.into()))?;
        if free_mib < NEEDED_MIB {
            let dir = self.path.clone();
            return Err(StackError::DiskFull { dir, free_mib, needed_mib: NEEDED_MIB });
        }
        Ok(())
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which port each part has.
    pub fn ports_file(&self) -> PathBuf {
        self.path.join(PORTS_FILE)
    }

    /// Where fetched parts lie.
    pub fn parts(&self) -> &Path {
        &self.parts
    }

    /// The log of a service or a step.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    /// A folder of this name, made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StackError> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)
            .map_err(StackError::file("cannot make the folder", &path))?;
        Ok(path)
    }

    /// The file with the keys that seal secrets; drawn at the first start, never again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn secret_keys(&self) -> Result<PathBuf, StackError> {
        let path = self.path.join("secret-keys");
        secrets::read_or_draw(&path, secrets::key_ring_line)?;
        Ok(path)
    }

    /// Writes down the variables that every role gets, for people and tests: a file that a shell can
    /// source. Only its owner can read it: the database's password is among them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_environment(&self, variables: &[(String, String)]) -> Result<(), StackError> {
        let lines: String =
            variables.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        secrets::write_private(&self.path.join("environment"), &lines)
    }
}

fn take_lock(dir: &Path) -> Result<File, StackError> {
    let path = dir.join("lock");
    let cannot = |source| StackError::file("cannot write", &path)(source);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(cannot)?;
    let mut taken = lock.try_lock();
    // One that was killed a moment ago may not be gone yet.
    let until = Instant::now() + LOCK_PATIENCE;
    while matches!(taken, Err(TryLockError::WouldBlock)) && Instant::now() < until {
        std::thread::sleep(LOCK_POLL);
        taken = lock.try_lock();
    }
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Who it is helps; that it is there is what counts.
            let _ = lock.read_to_string(&mut pid);
            return Err(StackError::Locked { dir: dir.to_owned(), pid: pid.trim().to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    lock.set_len(0).map_err(cannot)?;
    writeln!(lock, "{}", std::process::id()).map_err(cannot)?;
    Ok(lock)
}

/// What is free for this user where `path` lies, in MiB.
pub(crate) fn free_mib(path: &Path) -> nix::Result<u64> {
    let room = nix::sys::statvfs::statvfs(path)?;
    Ok((room.blocks_available() * room.fragment_size()) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_up_on_one_directory_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path(), None).unwrap();
        assert!(StateDir::is_in_use(dir.path()));
        let refused = StateDir::open(dir.path(), None).unwrap_err().to_string();
        assert!(refused.contains(&format!("(pid {})", std::process::id())), "{refused}");
        drop(first);
        assert!(!StateDir::is_in_use(dir.path()));
        StateDir::open(dir.path(), None).unwrap();
    }

    #[test]
    fn the_keys_are_drawn_once_and_only_their_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path(), None).unwrap();
        let path = state.secret_keys().unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        state.secret_keys().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
