//! An endpoint's signing secrets: made, brought along, taken over by new ones.
//!
//! A symmetric secret is shown to who asked for it, once (and to a repeat under the same
//! idempotency key); of a key pair only the public half is shown, the other never leaves. What is
//! written is sealed first; nothing here is logged.

use std::time::Duration;

use delivery::secrets::{Sealed, Secret, SignatureScheme};
use domain::EndpointId;
use serde_json::json;
use store::{KeptSecret, NewSecret, Rotation, SealedSecret};
use time::OffsetDateTime;

use super::{Operations, done, id};
use crate::call::{Call, digest_of};
use crate::limits::{LIVE_SECRETS_MAX, OVERLAP_DEFAULT, OVERLAP_MAX, ROTATION_TRIES_MAX};
use crate::refusal::Refusal;

/// The constraint that refuses the second of two rotations at once.
const VERSION_TAKEN: &str = "endpoint_secrets_pkey";

/// Which signatures an endpoint's webhooks carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    V1,
    V1a,
    Both,
}

impl Scheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
            Self::Both => "both",
        }
    }

    pub(super) fn kinds(self) -> &'static [SignatureScheme] {
        match self {
            Self::V1 => &[SignatureScheme::V1],
            Self::V1a => &[SignatureScheme::V1a],
            Self::Both => &[SignatureScheme::V1, SignatureScheme::V1a],
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "v1" => Ok(Self::V1),
            "v1a" => Ok(Self::V1a),
            "both" => Ok(Self::Both),
            _ => Err(Refusal::invalid("signature_scheme", "must be v1, v1a or both")),
        }
    }
}

/// Which secrets an endpoint shall have. Not `Debug`: one of them may be the merchant's own.
pub(super) struct Secrets {
    pub scheme: Scheme,
    pub all: Vec<Secret>,
}

impl Secrets {
    /// One of each kind of the scheme: the merchant's own, if it brought one of that kind, or new.
    /// Without a scheme: what `present` is, unless that has none of the kind that was brought.
    pub(super) fn make(
        scheme: Option<&str>,
        own: Option<&str>,
        present: Scheme,
    ) -> Result<Self, Refusal> {
        let mut own = own
            .map(Secret::import)
            .transpose()
            .map_err(|error| Refusal::invalid("secret", error.to_string()))?;
        let scheme = match (scheme.map(Scheme::parse).transpose()?, &own) {
            (Some(scheme), _) => scheme,
            (None, None) => present,
            (None, Some(own)) if present.kinds().contains(&own.scheme()) => present,
            (None, Some(own)) if own.scheme() == SignatureScheme::V1 => Scheme::V1,
            (None, Some(_)) => Scheme::V1a,
        };
        let mut all = Vec::new();
        for &kind in scheme.kinds() {
            let made = match own.take_if(|own| own.scheme() == kind) {
                Some(own) => Ok(own),
                None if kind == SignatureScheme::V1 => Secret::generate(),
                None => Secret::generate_asymmetric(),
            };
            all.push(made.map_err(Refusal::internal)?);
        }
        match own {
            None => Ok(Self { scheme, all }),
            Some(_) => Err(Refusal::invalid(
                "secret",
                "must be of the signature_scheme: whsec_… for v1, whsk_… for v1a",
            )),
        }
    }
}

/// What is shown of secrets to who asked for them. Not `Debug`.
pub(crate) struct ShownSecrets {
    /// `whsec_…`, if there is a symmetric one.
    pub secret: Option<Secret>,
    /// `whpk_…`, if there is a key pair.
    pub public_key: Option<String>,
}

impl From<Vec<Secret>> for ShownSecrets {
    fn from(secrets: Vec<Secret>) -> Self {
        let public_key = secrets.iter().find_map(Secret::public_key);
        let secret = secrets.into_iter().find(|secret| secret.scheme() == SignatureScheme::V1);
        Self { secret, public_key }
    }
}

impl ShownSecrets {
    /// The symmetric one as text, or nothing.
    pub(crate) fn secret_text(&self) -> String {
        self.secret.as_ref().map_or_else(String::new, |secret| secret.reveal().as_str().to_owned())
    }
}

/// A rotation as a caller asks for it, not yet parsed. Not `Debug`.
#[derive(Default)]
pub(crate) struct RotateSecret {
    pub id: String,
    /// How much longer the old secrets sign.
    pub overlap_s: Option<i64>,
    pub signature_scheme: Option<String>,
    /// The merchant's own.
    pub secret: Option<String>,
}

/// What a rotation made. Not `Debug`.
pub(crate) struct Rotated {
    pub endpoint_id: EndpointId,
    pub secrets: ShownSecrets,
    /// Until when the old ones sign, at the latest.
    pub previous_until: OffsetDateTime,
}

fn overlap_of(seconds: Option<i64>) -> Result<Duration, Refusal> {
    let Some(seconds) = seconds else { return Ok(OVERLAP_DEFAULT) };
    u64::try_from(seconds)
        .map(Duration::from_secs)
        .ok()
        .filter(|overlap| *overlap <= OVERLAP_MAX)
        .ok_or_else(|| {
            Refusal::invalid("overlap_s", format!("must be 0 to {}", OVERLAP_MAX.as_secs()))
        })
}

impl Operations {
    /// Puts new secrets in the place of those that are there, which sign on for the overlap.
    pub(crate) async fn rotate_secret(
        &self,
        call: &Call,
        request: RotateSecret,
    ) -> Result<Rotated, Refusal> {
        let id: EndpointId = id("id", EndpointId::PREFIX, &request.id)?;
        let overlap = overlap_of(request.overlap_s)?;
        // What is wrong with them is said before anything is asked of the database.
        Secrets::make(request.signature_scheme.as_deref(), request.secret.as_deref(), Scheme::V1)?;
        let digest = digest_of(&json!({
            "id": id.to_string(),
            "overlap_s": overlap.as_secs(),
            "signature_scheme": request.signature_scheme,
            "secret": request.secret,
        }));
        let (rotated, fence) = self
            .bounded(async {
                for _ in 0..ROTATION_TRIES_MAX {
                    match self.rotate_once(call, &digest, id, overlap, &request).await {
                        // Another rotation was quicker: this one comes after it.
                        Err(Refusal::Internal(error)) if is_version_taken(&*error) => {}
                        Err(refusal) => return Err(refusal),
                        Ok(rotated) => return Ok((rotated, self.store.secret_made(id).await?)),
                    }
                }
                Err(Refusal::Busy)
            })
            .await?;
        if fence.is_some() {
            self.waker.wake(id, fence);
        }
        Ok(rotated)
    }

    async fn rotate_once(
        &self,
        call: &Call,
        digest: &[u8; 32],
        id: EndpointId,
        overlap: Duration,
        request: &RotateSecret,
    ) -> Result<Rotated, Refusal> {
        let endpoint = self.present_endpoint(id).await?;
        let live = self.store.live_secrets(id).await?;
        let secrets = Secrets::make(
            request.signature_scheme.as_deref(),
            request.secret.as_deref(),
            Scheme::parse(&endpoint.signature_scheme)?,
        )?;
        let first_version = self.store.next_secret_version(id).await?;
        let rotation = Rotation {
            endpoint_id: id,
            signature_scheme: secrets.scheme.as_str(),
            secrets: &self.seal_all(&secrets.all, id, first_version)?,
            overlap,
            live_max: LIVE_SECRETS_MAX,
        };
        let written = self.store.rotate_secrets(&call.write(digest), &rotation).await?;
        let rotated = done(written)?.ok_or_else(|| full(&live))?;
        let secrets = self.shown_again(id, rotated.first_version).await?;
        Ok(Rotated { endpoint_id: id, secrets, previous_until: rotated.at + overlap })
    }

    /// Seals secrets as the versions from `first_version` on.
    pub(super) fn seal_all(
        &self,
        secrets: &[Secret],
        id: EndpointId,
        first_version: i32,
    ) -> Result<Vec<NewSecret>, Refusal> {
        (first_version..)
            .zip(secrets)
            .map(|(version, secret)| {
                let Sealed { key_id, ciphertext } =
                    self.policy.keys.seal(secret, id, version).map_err(Refusal::internal)?;
                let sealed = SealedSecret { key_id, ciphertext };
                Ok(NewSecret { version, sealed, public_key: secret.public_key() })
            })
            .collect()
    }

    /// What was made together with `first_version`: a repeat gets what the first answer had, which
    /// the database has sealed only.
    pub(super) async fn shown_again(
        &self,
        id: EndpointId,
        first_version: i32,
    ) -> Result<ShownSecrets, Refusal> {
        let kept = self.store.secrets_made_together(id, first_version).await?;
        let open = |kept: KeptSecret| {
            let SealedSecret { key_id, ciphertext } = kept.sealed;
            let sealed = Sealed { key_id, ciphertext };
            self.policy.keys.open(&sealed, id, kept.version).map_err(Refusal::internal)
        };
        let secrets = kept.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() {
            return Err(Refusal::State(
                "it was done, and the secret that it made is no longer kept".to_owned(),
            ));
        }
        Ok(secrets.into())
    }
}

fn is_version_taken(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<store::StoreError>()
        .is_some_and(|error| error.constraint() == Some(VERSION_TAKEN))
}

fn full(live: &[KeptSecret]) -> Refusal {
    let next = live.iter().filter_map(|secret| secret.expires_at).min();
    let when = next.map_or_else(String::new, |at| {
        format!(", the next one ends at {}", domain::rfc3339_micros(at))
    });
    Refusal::State(format!(
        "at most {LIVE_SECRETS_MAX} secrets of a kind may be live, and {} secrets are{when}; wait for \
         that, or end them all at once with overlap_s 0",
        live.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn kinds(scheme: Option<&str>, own: Option<&str>) -> Vec<SignatureScheme> {
        let Ok(secrets) = Secrets::make(scheme, own, Scheme::V1) else { panic!("refused") };
        secrets.all.iter().map(Secret::scheme).collect()
    }

    #[test]
    fn a_scheme_has_one_secret_of_each_of_its_kinds() {
        use SignatureScheme::{V1, V1a};
        assert_eq!(kinds(None, None), [V1]);
        assert_eq!(kinds(Some("v1a"), None), [V1a]);
        assert_eq!(kinds(Some("both"), None), [V1, V1a]);
        assert_eq!(kinds(Some("both"), Some(OWN)), [V1, V1a]);
        let pair = Secret::generate_asymmetric().expect("random bytes").reveal();
        assert_eq!(kinds(None, Some(&pair)), [V1a]);
    }

    #[test]
    fn a_secret_of_a_kind_that_the_endpoint_has_leaves_its_scheme_as_it_is() {
        let Ok(both) = Secrets::make(None, Some(OWN), Scheme::Both) else { panic!("refused") };
        assert!(both.scheme == Scheme::Both && both.all.len() == 2);
        assert_eq!(both.all[0].reveal().as_str(), OWN);
        let Ok(other) = Secrets::make(None, Some(OWN), Scheme::V1a) else { panic!("refused") };
        assert!(other.scheme == Scheme::V1 && other.all.len() == 1);
    }

    #[test]
    fn a_secret_of_the_merchants_own_is_taken_as_it_is_or_refused_by_name() {
        let Ok(secrets) = Secrets::make(None, Some(OWN), Scheme::V1a) else { panic!("refused") };
        assert_eq!(secrets.all[0].reveal().as_str(), OWN);
        for (scheme, own, field) in [
            (Some("v1a"), Some(OWN), "secret"),
            (None, Some("whsec_c2hvcnQ="), "secret"),
            (None, Some("hunter2"), "secret"),
            (Some("v2"), None, "signature_scheme"),
        ] {
            let refusal = Secrets::make(scheme, own, Scheme::V1).err().expect("refused");
            assert_eq!(refusal.field(), Some(field));
            assert!(!refusal.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn of_a_key_pair_only_the_public_half_is_shown() {
        let Ok(secrets) = Secrets::make(Some("v1a"), None, Scheme::V1) else { panic!("refused") };
        let shown = ShownSecrets::from(secrets.all);
        assert_eq!(shown.secret_text(), "");
        assert!(shown.public_key.expect("a key").starts_with("whpk_"));
    }

    #[test]
    fn an_overlap_is_a_day_unless_said_and_a_week_at_most() {
        assert_eq!(overlap_of(None).expect("default"), Duration::from_secs(86_400));
        assert_eq!(overlap_of(Some(0)).expect("none"), Duration::ZERO);
        for bad in [-1, 604_801] {
            assert_eq!(overlap_of(Some(bad)).expect_err("refused").field(), Some("overlap_s"));
        }
    }
}
