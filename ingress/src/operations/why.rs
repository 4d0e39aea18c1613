//! What became of what somebody asks about. The words are the domain's.

use domain::endpoint::{Asked, Subject};
use time::OffsetDateTime;

use super::Operations;
use crate::refusal::Refusal;

impl Operations {
    /// What is known of what is asked about, and when that was.
    pub(crate) async fn why(
        &self,
        asked: Asked,
    ) -> Result<(Vec<Subject>, OffsetDateTime), Refusal> {
        self.bounded(async {
            let (subjects, now) = self.store.why(asked).await?;
            if subjects.is_empty() {
                return Err(Refusal::NotFound("event, delivery or endpoint"));
            }
            Ok((subjects, now))
        })
        .await
    }
}
