//! A `/dev/null` that anybody may write to, for one child.
//!
//! Some containers have one that only root may write to. PostgreSQL, which must not be root, cannot
//! even write its cluster then. So the child gets a proper one, in a view of the mounts of its own:
//! nothing on the machine changes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

const DEV_NULL: &str = "/dev/null";

/// Makes sure that every user may write to `/dev/null`, for this process and its children. Needs to
/// be root when there is something to do; leaves nothing in the working directory.
///
/// # Errors
/// When the system refuses: what would have to be allowed, or repaired.
pub(crate) fn let_everybody_write() -> nix::Result<()> {
    let fine = std::fs::metadata(DEV_NULL).is_ok_and(|null| null.permissions().mode() & 0o002 != 0);
    if fine {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    // What is mounted from here on stays here.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let node = PathBuf::from(format!(".null-{}", std::process::id()));
    mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3))?;
    let mounted = std::fs::set_permissions(&node, PermissionsExt::from_mode(0o666))
        .map_err(|error| error.raw_os_error().map_or(nix::Error::EIO, nix::Error::from_raw))
        .and_then(|()| mount(Some(&node), DEV_NULL, nothing, MsFlags::MS_BIND, nothing));
    // The mount keeps the node, its name is not needed any more.
    let removed = std::fs::remove_file(&node);
    mounted?;
    removed.map_err(|error| error.raw_os_error().map_or(nix::Error::EIO, nix::Error::from_raw))
}
