//! File descriptors: as many as the worker may need at once, or it does not start.
//!
//! The usual soft limit is 1024, less than a worker that is full needs. Out of them, it could not
//! reach anybody, neither merchants nor PostgreSQL.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Beside PostgreSQL's connections and those to merchants: Restate's, the data service's, those
/// that ask for health and metrics, listeners, files.
const OTHERS: u64 = 256;

/// Why there are too few.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorsError {
    /// The hard limit does not allow as many.
    #[error(
        "the worker may need {needed} file descriptors at once and may open {hard}: raise the hard limit \
         (ulimit -Hn, LimitNOFILE= of systemd, ulimits of compose), or lower \
         POSTHORN_CONCURRENT_ATTEMPTS"
    )]
    TooFew {
        /// What it may need.
        needed: u64,
        /// The hard limit.
        hard: u64,
    },
    /// The limit could not be read or raised.
    #[error("the limit of file descriptors cannot be raised: {0}")]
    System(#[from] Errno),
}

/// Raises the soft limit to the hard one, which must be what `config` may need, or more.
///
/// # Errors
/// When the hard limit is too low.
pub(crate) fn raise(config: &crate::Config) -> Result<(), DescriptorsError> {
    let of_merchants = config.delivery.descriptors_max();
    let needed = of_merchants.saturating_add(config.connections_max.into()).saturating_add(OTHERS);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        return Err(DescriptorsError::TooFew { needed, hard });
    }
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        tracing::info!(from = soft, to = hard, needed, "the limit of file descriptors is raised");
    }
    Ok(())
}
