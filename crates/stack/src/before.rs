//! What a service needs to find on the disk, looked at before every start of it.
//!
//! A data folder that was removed while its service ran is made anew, and that is said: otherwise
//! the service would die for the same reason again and again.

use std::path::PathBuf;

use crate::{Launch, Progress, StackError};

/// Something that must be there.
#[derive(Debug, Clone)]
pub struct Before {
    /// The file.
    pub file: PathBuf,
    /// What makes it.
    pub otherwise: Launch,
    /// What that is, as a phrase: "formatting a new data folder".
    pub what: &'static str,
}

impl Before {
    /// Makes what is not there.
    pub(crate) async fn make(&self, name: &str, progress: &Progress) -> Result<(), StackError> {
        if self.file.exists() {
            return Ok(());
        }
        progress.line(name, self.what);
        self.otherwise.run(self.what).await
    }
}
