//! Endpoints: made with their first secrets, shown without them.
//!
//! Headers of the merchant's own may be credentials: they are sealed, and only their names are
//! shown. What is written and what is answered never holds a secret in the clear but the one that
//! was just made.

use std::collections::{BTreeMap, HashSet};

use delivery::CustomHeaders;
use delivery::secrets::{KeyRing, Sealed};
use domain::endpoint::{Ordering, Policy, PolicySettings};
use domain::guard::{AllowedNetworks, CanonicalUrl, UrlPolicy, check_url};
use domain::{EndpointId, EventType, MerchantId};
use serde_json::json;
use store::{Endpoint, FIRST_SECRET_VERSION, NewEndpoint, SealedSecret, Written};
use uuid::Uuid;

use super::secrets::{Scheme, Secrets, ShownSecrets};
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

/// An endpoint as a caller asks for it, not yet parsed. Not `Debug`: it may hold secrets.
#[derive(Clone, Default)]
pub(crate) struct CreateEndpoint {
    pub merchant_id: Option<String>,
    pub url: String,
    /// Empty: every event of the merchant.
    pub event_types: Vec<String>,
    /// None: `v1`, or that of the secret.
    pub signature_scheme: Option<String>,
    /// The merchant's own secret; none: a new one.
    pub secret: Option<String>,
    /// Headers of the merchant's own.
    pub headers: BTreeMap<String, String>,
    pub send_traceparent: bool,
    /// None: `ordered`.
    pub ordering: Option<String>,
    pub policy: PolicySettings,
}

/// An endpoint that was made, and its secrets. Not `Debug`: they are shown to their owner only.
pub(crate) struct CreatedEndpoint {
    pub endpoint: Endpoint,
    pub secrets: ShownSecrets,
}

struct Parsed {
    merchant_id: MerchantId,
    url: CanonicalUrl,
    event_types: Vec<EventType>,
    secrets: Secrets,
    headers: CustomHeaders,
    send_traceparent: bool,
    ordering: Ordering,
    policy: PolicySettings,
    digest: [u8; 32],
}

impl CreateEndpoint {
    fn parse(self, policy: &EndpointPolicy) -> Result<Parsed, Refusal> {
        let headers = CustomHeaders::from_map(&self.headers)?;
        let secrets =
            Secrets::make(self.signature_scheme.as_deref(), self.secret.as_deref(), Scheme::V1)?;
        let merchant_id = merchant_or_demo(self.merchant_id)?;
        let url = endpoint_url(&self.url, policy)?;
        let event_types = event_types(self.event_types)?;
        let ordering = self.ordering.as_deref().map(Ordering::try_from).transpose()?;
        let ordering = ordering.unwrap_or_default();
        let policy = accepted(self.policy)?;
        let digest = digest_of(&json!({
            "merchant_id": merchant_id.as_str(),
            "url": url.as_str(),
            "event_types": event_types,
            "signature_scheme": secrets.scheme.as_str(),
            "secret": self.secret,
            "headers": self.headers,
            "send_traceparent": self.send_traceparent,
            "ordering": ordering,
            "policy": policy,
        }));
        Ok(Parsed {
            merchant_id,
            url,
            event_types,
            secrets,
            headers,
            send_traceparent: self.send_traceparent,
            ordering,
            policy,
            digest,
        })
    }
}

impl Operations {
    /// Makes an endpoint and its first secrets.
    pub(crate) async fn create_endpoint(
        &self,
        call: &Call,
        request: CreateEndpoint,
    ) -> Result<CreatedEndpoint, Refusal> {
        let parsed = request.parse(&self.policy)?;
        let id = EndpointId::from(Uuid::now_v7());
        let headers = self.seal_headers(&parsed.headers, id)?;
        let new = NewEndpoint {
            id,
            merchant_id: &parsed.merchant_id,
            url: parsed.url.as_str(),
            event_types: &parsed.event_types,
            signature_scheme: parsed.secrets.scheme.as_str(),
            secrets: &self.seal_all(&parsed.secrets.all, id, FIRST_SECRET_VERSION)?,
            header_names: &parsed.headers.names(),
            headers: headers.as_ref(),
            send_traceparent: parsed.send_traceparent,
            ordering: parsed.ordering,
            policy: &parsed.policy,
        };
        self.bounded(async {
            match self.store.create_endpoint(&call.write(&parsed.digest), &new).await? {
                Written::Now(endpoint) => {
                    Ok(CreatedEndpoint { endpoint, secrets: parsed.secrets.all.into() })
                }
                Written::Before(endpoint) => {
                    let secrets = self.shown_again(endpoint.id, FIRST_SECRET_VERSION).await?;
                    Ok(CreatedEndpoint { endpoint, secrets })
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
        self.bounded(self.present_endpoint(id)).await
    }

    /// The endpoint, or why it is not there.
    pub(super) async fn present_endpoint(&self, id: EndpointId) -> Result<Endpoint, Refusal> {
        match self.store.endpoint(id).await? {
            Some(endpoint) => Ok(endpoint),
            None => Err(self.no_endpoint(id).await?),
        }
    }

    /// Was it deleted, or was it never there?
    pub(super) async fn no_endpoint(&self, id: EndpointId) -> Result<Refusal, Refusal> {
        let at = self.store.deleted_at(id).await?;
        Ok(at.map_or(Refusal::NotFound("endpoint"), |at| Refusal::Deleted { at }))
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

    pub(super) fn seal_headers(
        &self,
        headers: &CustomHeaders,
        id: EndpointId,
    ) -> Result<Option<SealedSecret>, Refusal> {
        if headers.is_empty() {
            return Ok(None);
        }
        let Sealed { key_id, ciphertext } =
            self.policy.keys.seal_headers(headers, id).map_err(Refusal::internal)?;
        Ok(Some(SealedSecret { key_id, ciphertext }))
    }
}

/// The settings, once the domain has taken them.
pub(super) fn accepted(settings: PolicySettings) -> Result<PolicySettings, Refusal> {
    Policy::try_from(settings.clone())?;
    Ok(settings)
}

/// What the guard says of a URL, as a refusal of the field.
pub(super) fn endpoint_url(text: &str, policy: &EndpointPolicy) -> Result<CanonicalUrl, Refusal> {
    check_url(text, &policy.urls, &policy.networks)
        .map_err(|refusal| Refusal::invalid("url", format!("{refusal} ({})", refusal.code())))
}

/// The types without those that were said before, in the order in which they were said.
pub(super) fn event_types(texts: Vec<String>) -> Result<Vec<EventType>, Refusal> {
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
