//! Random secrets, drawn once and kept in files that only their owner can read.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::StackError;

/// A password of 32 hexadecimal digits: nothing in it needs escaping, in a URL or a file.
pub(crate) fn password() -> Result<String, StackError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An id for a Kafka cluster: 16 bytes, URL-safe base64.
pub(crate) fn cluster_id() -> Result<String, StackError> {
    loop {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        let id = URL_SAFE_NO_PAD.encode(bytes);
        // Kafka's tool takes one that begins with a dash for an option.
        if !id.starts_with('-') {
            return Ok(id);
        }
    }
}

/// A line of the key ring: `key-id:base64 of 32 bytes`.
pub(crate) fn key_ring_line() -> Result<String, StackError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("local-1:{}\n", STANDARD.encode(bytes)))
}

/// Writes `content` to a file that only its owner can read, all of it or nothing.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), StackError> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(StackError::file("cannot write", path))
}

/// The content of a private file; drawn by `draw` and written when there is none yet.
pub(crate) fn read_or_draw(
    path: &Path,
    draw: impl FnOnce() -> Result<String, StackError>,
) -> Result<String, StackError> {
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(content),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let content = draw()?;
            write_private(path, &content)?;
            Ok(content)
        }
        Err(error) => Err(StackError::file("cannot read", path)(error)),
    }
}
