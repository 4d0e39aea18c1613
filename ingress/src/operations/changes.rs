//! An endpoint's configuration changed: what the request names, and nothing else.
//!
//! Everything is parsed before anything is written. The change holds from the next attempt on; the
//! wake after it only makes it quick.

use std::collections::BTreeMap;

use delivery::CustomHeaders;
use delivery::secrets::{Secret, SignatureScheme};
use domain::endpoint::{Ordering, PolicySettings};
use domain::guard::CanonicalUrl;
use domain::{EndpointId, EventType};
use serde_json::json;
use store::{
    Changes, Endpoint, KeptSecret, NewHeaders, NewSecret, NewSignatures, Reconfiguration,
    Reconfigured, Replaced,
};
use uuid::Uuid;

use super::Operations;
use super::commands::{Address, Addressed, name_of, other_command, say_breaker_closed};
use super::endpoints::{EndpointPolicy, accepted, endpoint_url, event_types};
use super::secrets::{Scheme, ShownSecrets};
use crate::call::digest_of;
use crate::limits::ROTATION_TRIES_MAX;
use crate::refusal::Refusal;

/// What a caller wants changed, not yet parsed; none: as it is. Not `Debug`: headers may be secret.
#[derive(Default)]
pub(crate) struct UpdateEndpoint {
    pub url: Option<String>,
    pub event_types: Option<Vec<String>>,
    pub ordering: Option<String>,
    pub policy: Option<PolicySettings>,
    pub headers: Option<BTreeMap<String, String>>,
    pub signature_scheme: Option<String>,
    pub send_traceparent: Option<bool>,
}

/// An endpoint after a change. Not `Debug`: it may show a secret.
pub(crate) struct UpdatedEndpoint {
    pub endpoint: Endpoint,
    pub command_id: Uuid,
    pub changed: bool,
    /// Where it stood after it: `active`, `paused` or `disabled`.
    pub status: &'static str,
    /// It had been disabled for what its old URL did, and has a new one.
    pub enabled_again: bool,
    /// Its breaker was open, and is no more.
    pub breaker_closed: bool,
    /// Those that another scheme made necessary.
    pub secrets: ShownSecrets,
}

struct Parsed {
    url: Option<CanonicalUrl>,
    event_types: Option<Vec<EventType>>,
    ordering: Option<Ordering>,
    policy: Option<PolicySettings>,
    headers: Option<CustomHeaders>,
    scheme: Option<Scheme>,
    send_traceparent: Option<bool>,
    digest: [u8; 32],
}

impl UpdateEndpoint {
    fn parse(self, policy: &EndpointPolicy) -> Result<Parsed, Refusal> {
        let url = self.url.map(|url| endpoint_url(&url, policy)).transpose()?;
        let event_types = self.event_types.map(event_types).transpose()?;
        let ordering = self.ordering.as_deref().map(Ordering::try_from).transpose()?;
        let policy = self.policy.map(accepted).transpose()?;
        let headers = self.headers.as_ref().map(CustomHeaders::from_map).transpose()?;
        let scheme = self.signature_scheme.as_deref().map(Scheme::parse).transpose()?;
        let digest = digest_of(&json!({
            "url": url.as_ref().map(CanonicalUrl::as_str),
            "event_types": event_types,
            "ordering": ordering,
            "policy": policy,
            "headers": self.headers,
            "signature_scheme": self.signature_scheme,
            "send_traceparent": self.send_traceparent,
        }));
        let send_traceparent = self.send_traceparent;
        Ok(Parsed { url, event_types, ordering, policy, headers, scheme, send_traceparent, digest })
    }
}

impl Operations {
    /// Changes what `request` names.
    pub(crate) async fn update_endpoint(
        &self,
        to: Addressed,
        request: UpdateEndpoint,
    ) -> Result<UpdatedEndpoint, Refusal> {
        let address = to.parse()?;
        let parsed = request.parse(&self.policy)?;
        let (updated, fence) = self
            .bounded(async {
                for _ in 0..ROTATION_TRIES_MAX {
                    if let Some((replaced, fence)) = self.update_once(&address, &parsed).await? {
                        return Ok((self.updated(&address, replaced).await?, fence));
                    }
                }
                Err(Refusal::Busy)
            })
            .await?;
        self.waker.wake(address.endpoint, Some(fence));
        if updated.changed {
            let Address { endpoint, command_id, actor } = &address;
            let enabled_again = updated.enabled_again;
            tracing::info!(%endpoint, %command_id, actor, enabled_again, "an endpoint was changed");
        }
        if updated.breaker_closed {
            say_breaker_closed(address.endpoint, &address.actor);
        }
        Ok(updated)
    }

    /// None when its secrets were rotated meanwhile.
    async fn update_once(
        &self,
        to: &Address,
        parsed: &Parsed,
    ) -> Result<Option<(Replaced, Uuid)>, Refusal> {
        let id = to.endpoint;
        let names = parsed.headers.as_ref().map(CustomHeaders::names);
        let sealed = match &parsed.headers {
            Some(headers) => self.seal_headers(headers, id)?,
            None => None,
        };
        let secrets = match parsed.scheme {
            Some(scheme) => self.lacking(id, scheme).await?,
            None => Vec::new(),
        };
        let changes = Changes {
            url: parsed.url.as_ref().map(CanonicalUrl::as_str),
            event_types: parsed.event_types.as_deref(),
            ordering: parsed.ordering,
            policy: parsed.policy.as_ref(),
            headers: names.as_ref().map(|names| NewHeaders { names, sealed: sealed.as_ref() }),
            send_traceparent: parsed.send_traceparent,
            signatures: parsed
                .scheme
                .map(|scheme| NewSignatures { scheme: scheme.as_str(), secrets: &secrets }),
        };
        let change = Reconfiguration {
            endpoint: id,
            id: to.command_id,
            actor: &to.actor,
            digest: &parsed.digest,
            changes,
        };
        match self.store.reconfigure(&change).await? {
            Reconfigured::Done { replaced, fence } => Ok(Some((replaced, fence))),
            Reconfigured::SecretsMoved => Ok(None),
            Reconfigured::NoEndpoint => Err(self.no_endpoint(id).await?),
            Reconfigured::OtherCommand => Err(other_command()),
        }
    }

    /// A new secret of each kind of `scheme` of which there is none that stays, sealed: one that a
    /// rotation has given its end signs until then, and leaves nothing behind.
    async fn lacking(&self, id: EndpointId, scheme: Scheme) -> Result<Vec<NewSecret>, Refusal> {
        let live = self.store.live_secrets(id).await?;
        let stays = |kind: SignatureScheme| {
            let is_of_it = |secret: &KeptSecret| {
                secret.is_key_pair == (kind == SignatureScheme::V1a) && secret.expires_at.is_none()
            };
            live.iter().any(is_of_it)
        };
        let made = scheme
            .kinds()
            .iter()
            .filter(|kind| !stays(**kind))
            .map(|kind| match kind {
                SignatureScheme::V1 => Secret::generate(),
                SignatureScheme::V1a => Secret::generate_asymmetric(),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(Refusal::internal)?;
        self.seal_all(&made, id, self.store.next_secret_version(id).await?)
    }

    async fn updated(&self, to: &Address, replaced: Replaced) -> Result<UpdatedEndpoint, Refusal> {
        let secrets = match replaced.first_version {
            Some(version) => self.shown_again(to.endpoint, version).await?,
            None => ShownSecrets { secret: None, public_key: None },
        };
        Ok(UpdatedEndpoint {
            endpoint: self.present_endpoint(to.endpoint).await?,
            command_id: to.command_id,
            changed: replaced.changed,
            status: name_of(replaced.status),
            enabled_again: replaced.enabled_again,
            breaker_closed: replaced.breaker_closed,
            secrets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_of_a_change_is_named() {
        let some = |text: &str| Some(text.to_owned());
        let policy =
            PolicySettings { attempt_timeout_ms: Some(60_000), ..PolicySettings::default() };
        let cases = [
            (UpdateEndpoint { url: some("ftp://example.com"), ..Default::default() }, "url"),
            (UpdateEndpoint { url: some(""), ..Default::default() }, "url"),
            (UpdateEndpoint { ordering: some("fifo"), ..Default::default() }, "ordering"),
            (
                UpdateEndpoint { policy: Some(policy), ..Default::default() },
                "policy.attempt_timeout_ms",
            ),
            (
                UpdateEndpoint { signature_scheme: some("v2"), ..Default::default() },
                "signature_scheme",
            ),
            (
                UpdateEndpoint {
                    headers: Some([("host".to_owned(), "hunter2".to_owned())].into()),
                    ..Default::default()
                },
                "headers",
            ),
            (
                UpdateEndpoint { event_types: Some(vec!["a b".to_owned()]), ..Default::default() },
                "event_types[0]",
            ),
        ];
        for (request, field) in cases {
            let refusal = request.parse(&EndpointPolicy::strict()).err().expect("refused");
            assert_eq!(refusal.field(), Some(field), "{refusal}");
            assert!(!refusal.to_string().contains("hunter2"));
        }
    }
}
