//! Merchants: made known.

use domain::{MerchantId, MerchantName};
use serde_json::json;
use store::Merchant;

use super::{Operations, done};
use crate::call::{Call, digest_of};
use crate::refusal::Refusal;

/// A merchant as a caller asks for it, not yet parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct CreateMerchant {
    pub merchant_id: String,
    pub name: String,
}

impl Operations {
    /// Makes a merchant, or finds the one that has this id and name.
    pub(crate) async fn create_merchant(
        &self,
        call: &Call,
        request: CreateMerchant,
    ) -> Result<Merchant, Refusal> {
        let id = MerchantId::try_from(request.merchant_id)?;
        let name = MerchantName::try_from(request.name)?;
        let digest = digest_of(&json!({ "merchant_id": id.as_str(), "name": name.as_str() }));
        self.bounded(async {
            let written = self.store.create_merchant(&call.write(&digest), &id, &name).await?;
            done(written)?.ok_or(Refusal::Taken {
                field: "merchant_id",
                problem: "there is a merchant with this id and another name",
            })
        })
        .await
    }
}
