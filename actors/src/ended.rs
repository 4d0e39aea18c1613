//! How a slice may end before its end: it lost its turn, or something on our side is in its way.

use futures::FutureExt as _;
use store::StoreError;

/// Why a slice ended before its end.
pub(crate) enum Ended {
    FenceLost,
    /// The reason, for people.
    Stuck(String),
}

impl Ended {
    /// A stable word for it, for traces and logs.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::FenceLost => "fence_lost",
            Self::Stuck(_) => "database",
        }
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Stuck(error.to_string())
    }
}

/// What `slice` comes to; a panic in it is a fault of ours like another. Let through, it would be
/// tried twenty times at once and then be killed in silence.
pub(crate) async fn caught<T>(slice: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
    // What it leaves half done is its own and is dropped with it.
    let ended = std::panic::AssertUnwindSafe(slice).catch_unwind().await;
    ended.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Ended::Stuck(format!("a slice panicked: {message}")))
    })
}

#[cfg(test)]
mod tests {
    use super::{Ended, caught};

    #[tokio::test]
    async fn a_panic_is_a_slice_that_is_stuck_and_says_why() {
        let literal = caught::<()>(async { panic!("a literal") }).await;
        let seven = std::hint::black_box(7);
        let formatted = caught::<()>(async { panic!("{seven} of them") }).await;
        for (ended, said) in [(literal, "a literal"), (formatted, "7 of them")] {
            let Err(Ended::Stuck(reason)) = ended else { panic!("it went through") };
            assert_eq!(reason, format!("a slice panicked: {said}"));
        }
    }
}
