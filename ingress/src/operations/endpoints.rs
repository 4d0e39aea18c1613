//! Endpoints: made with their first secret, shown without it.
//!
//! The secret leaves this file once for each creation (and for a repeat of it under the same
//! idempotency key), sealed for the database and in the clear for the caller; it is in no log.

use std::collections::HashSet;

use delivery::secrets::{KeyRing, Sealed, Secret};
use domain::guard::{AllowedNetworks, CanonicalUrl, UrlPolicy, check_url};
use domain::{EndpointId, EventType, MerchantId};
use serde_json::json;
use store::{Endpoint, FIRST_SECRET_VERSION, NewEndpoint, SealedSecret, Written};
use uuid::Uuid;

use super::{Operations, Page, PageRequest, done, id, merchant_or_demo};
use crate::call::{Call, digest_of};
use crate::limits::EVENT_TYPES_MAX;
use crate::refusal::Refusal;

/// Which URLs an endpoint may have, and what seals its secret.
#[derive(Debug)]
pub(crate) struct EndpointPolicy {
    pub urls: UrlPolicy,
    pub networks: AllowedNetworks,
    pub keys: KeyRing,
}

/// An endpoint as a caller asks for it, not yet parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct CreateEndpoint {
    pub merchant_id: Option<String>,
    pub url: String,
    /// Empty: every event of the merchant.
    pub event_types: Vec<String>,
}

/// An endpoint that was made, and its secret. Not `Debug`: the secret is shown to its owner only.
pub(crate) struct CreatedEndpoint {
    pub endpoint: Endpoint,
    /// `whsec_…`
    pub secret: Secret,
}

struct Parsed {
    merchant_id: MerchantId,
    url: CanonicalUrl,
    event_types: Vec<EventType>,
}

impl CreateEndpoint {
    fn parse(self, policy: &EndpointPolicy) -> Result<Parsed, Refusal> {
        Ok(Parsed {
            merchant_id: merchant_or_demo(self.merchant_id)?,
            url: endpoint_url(&self.url, policy)?,
            event_types: event_types(self.event_types)?,
        })
    }
}

impl Operations {
    /// Makes an endpoint and its first secret.
    pub(crate) async fn create_endpoint(
        &self,
        call: &Call,
        request: CreateEndpoint,
    ) -> Result<CreatedEndpoint, Refusal> {
        let Parsed { merchant_id, url, event_types } = request.parse(&self.policy)?;
        let digest = digest_of(&json!({
            "merchant_id": merchant_id.as_str(),
            "url": url.as_str(),
            "event_types": event_types,
        }));
        let id = EndpointId::from(Uuid::now_v7());
        let secret = Secret::generate().map_err(Refusal::internal)?;
        let sealed = self.seal(&secret, id)?;
        let new = NewEndpoint {
            id,
            merchant_id: &merchant_id,
            url: url.as_str(),
            event_types: &event_types,
            secret: &sealed,
        };
        self.bounded(async {
            match self.store.create_endpoint(&call.write(&digest), &new).await? {
                Written::Now(endpoint) => Ok(CreatedEndpoint { endpoint, secret }),
                Written::Before(endpoint) => {
                    let secret = self.first_secret(endpoint.id).await?;
                    Ok(CreatedEndpoint { endpoint, secret })
                }
                other => Err(match done(other) {
                    Err(refusal) => refusal,
                    Ok(_) => Refusal::State("the endpoint was not made".to_owned()),
                }),
            }
        })
        .await
    }

    /// The endpoint as it is now.
    pub(crate) async fn endpoint(&self, text: &str) -> Result<Endpoint, Refusal> {
        let id: EndpointId = id("id", EndpointId::PREFIX, text)?;
        self.bounded(async { self.store.endpoint(id).await?.ok_or(Refusal::NotFound("endpoint")) })
            .await
    }

    /// A merchant's endpoints, the oldest first.
    pub(crate) async fn endpoints(&self, request: PageRequest) -> Result<Page<Endpoint>, Refusal> {
        let (size, after) = (request.size()?, request.last()?);
        let merchant_id = merchant_or_demo(request.merchant_id)?;
        self.bounded(async {
            let items = self.store.endpoints(&merchant_id, after, i64::from(size) + 1).await?;
            Ok(Page::of(items, size, |endpoint| endpoint.id.to_string()))
        })
        .await
    }

    fn seal(&self, secret: &Secret, id: EndpointId) -> Result<SealedSecret, Refusal> {
        let Sealed { key_id, ciphertext } =
            self.policy.keys.seal(secret, id, FIRST_SECRET_VERSION).map_err(Refusal::internal)?;
        Ok(SealedSecret { key_id, ciphertext })
    }

    /// A repeat gets the secret that the first answer had: the database has it sealed only.
    async fn first_secret(&self, id: EndpointId) -> Result<Secret, Refusal> {
        let kept = self.store.sealed_secret(id, FIRST_SECRET_VERSION).await?;
        let SealedSecret { key_id, ciphertext } = kept.ok_or_else(|| {
            Refusal::State("the endpoint was made, and its first secret is no longer kept".into())
        })?;
        let sealed = Sealed { key_id, ciphertext };
        self.policy.keys.open(&sealed, id, FIRST_SECRET_VERSION).map_err(Refusal::internal)
    }
}

/// What the guard says of a URL, as a refusal of the field.
fn endpoint_url(text: &str, policy: &EndpointPolicy) -> Result<CanonicalUrl, Refusal> {
    check_url(text, &policy.urls, &policy.networks)
        .map_err(|refusal| Refusal::invalid("url", format!("{refusal} ({})", refusal.code())))
}

/// The types without those that were said before, in the order in which they were said.
fn event_types(texts: Vec<String>) -> Result<Vec<EventType>, Refusal> {
    if texts.len() > EVENT_TYPES_MAX {
        return Err(Refusal::invalid("event_types", format!("must be at most {EVENT_TYPES_MAX}")));
    }
    let mut seen = HashSet::new();
    let mut types = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        let event_type = EventType::try_from(text).map_err(|invalid| {
            Refusal::invalid(format!("event_types[{index}]"), invalid.allowed)
        })?;
        if seen.insert(event_type.clone()) {
            types.push(event_type);
        }
    }
    Ok(types)
}

#[cfg(test)]
impl EndpointPolicy {
    /// Nothing but the public internet, and a key of its own.
    pub(crate) fn strict() -> Self {
        let line = KeyRing::generate_line("k1").expect("a line");
        Self {
            urls: UrlPolicy::default(),
            networks: AllowedNetworks::public_only(),
            keys: KeyRing::parse(&line).expect("a ring"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_url_is_kept_as_the_guard_spells_it_and_a_refused_one_names_the_field_and_the_rule() {
        let url = endpoint_url("https://Example.com", &EndpointPolicy::strict()).expect("accepted");
        assert_eq!(url.as_str(), "https://example.com/");
        for (text, code) in [("http://example.com", "scheme"), ("https://127.0.0.1/", "blocked_ip")]
        {
            let refusal = endpoint_url(text, &EndpointPolicy::strict()).expect_err("refused");
            assert_eq!(refusal.field(), Some("url"));
            assert!(refusal.to_string().ends_with(&format!("({code})")), "{refusal}");
        }
    }

    #[test]
    fn a_type_said_twice_counts_once_and_a_bad_one_is_named_by_its_place() {
        let types = event_types(texts(&["a.b", "c", "a.b"])).expect("accepted");
        assert_eq!(types.iter().map(EventType::as_str).collect::<Vec<_>>(), ["a.b", "c"]);
        let refusal = event_types(texts(&["a", "b c"])).expect_err("refused");
        assert_eq!(refusal.field(), Some("event_types[1]"));
        let refusal = event_types(vec!["a".to_owned(); 101]).expect_err("refused");
        assert_eq!(refusal.field(), Some("event_types"));
    }
}
