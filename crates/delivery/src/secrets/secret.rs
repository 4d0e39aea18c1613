//! One signing secret: `whsec_` (symmetric) or `whsk_` (ed25519).
//!
//! The format is that of Standard Webhooks 1.0.0, "Signature scheme". A value of this type always
//! can sign: its length is right and an imported key pair belongs together. Nothing prints it but
//! [`Secret::reveal`].

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::verify::verifies;

const SYMMETRIC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// Bytes of a symmetric secret: 192 to 512 bits, as the specification says.
const SYMMETRIC_LENGTH_MIN: usize = 24;
const SYMMETRIC_LENGTH_MAX: usize = 64;

/// Bytes of a symmetric secret that we make: the block of security that SHA-256 can use.
const SYMMETRIC_LENGTH_MADE: usize = 32;

/// Longest text worth decoding: the longest secret in base64, with its prefix.
const TEXT_LENGTH_MAX: usize = 128;

/// A signing secret.
#[derive(Clone)]
pub struct Secret(Key);

#[derive(Clone)]
enum Key {
    Symmetric(Zeroizing<Vec<u8>>),
    // Boxed to keep the enum small; the key zeroizes itself.
    Asymmetric(Box<SigningKey>),
}

/// How a secret signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureScheme {
    /// HMAC-SHA256.
    V1,
    /// ed25519.
    V1a,
}

impl SignatureScheme {
    /// Its name, as it stands before each signature.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }
}

/// Why a text is not a secret. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Another prefix, or none.
    #[error("a secret begins with whsec_ (HMAC-SHA256) or whsk_ (ed25519)")]
    Prefix,
    /// A public key, which cannot sign.
    #[error("whpk_ is a public key: it verifies and cannot sign")]
    PublicKey,
    /// What follows the prefix is not base64.
    #[error("what follows the prefix must be standard base64 with padding")]
    Base64,
    /// Too short to be safe or longer than the specification allows.
    #[error("a whsec_ secret has 24 to 64 bytes, not {0}")]
    Length(usize),
    /// Written by hand rather than drawn at random.
    #[error("a secret must be random bytes; this one repeats the same few")]
    Weak,
    /// Not an ed25519 key pair.
    #[error("a whsk_ secret is a 32-byte seed followed by its 32-byte public key")]
    KeyPair,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

impl Secret {
    /// A new symmetric secret.
    pub fn generate() -> Result<Self, SecretError> {
        let mut bytes = Zeroizing::new(vec![0; SYMMETRIC_LENGTH_MADE]);
        getrandom::fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
        Ok(Self(Key::Symmetric(bytes)))
    }

    /// A new ed25519 key pair.
    pub fn generate_asymmetric() -> Result<Self, SecretError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| SecretError::NoRandomness)?;
        Ok(Self(Key::Asymmetric(Box::new(SigningKey::from_bytes(&seed)))))
    }

    /// A secret of the merchant's own. It must also look as if it had been drawn at random.
    pub fn import(text: &str) -> Result<Self, SecretError> {
        let secret: Self = text.parse()?;
        let is_random = match &secret.0 {
            Key::Symmetric(bytes) => looks_random(bytes),
            Key::Asymmetric(key) => looks_random(key.as_bytes()),
        };
        if is_random { Ok(secret) } else { Err(SecretError::Weak) }
    }

    /// The secret as text, to be shown to its owner once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let (prefix, bytes) = match &self.0 {
            Key::Symmetric(bytes) => (SYMMETRIC_PREFIX, bytes.clone()),
            Key::Asymmetric(key) => {
                (PRIVATE_PREFIX, Zeroizing::new(key.to_keypair_bytes().to_vec()))
            }
        };
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LENGTH_MAX));
        text.push_str(prefix);
        STANDARD.encode_string(&*bytes, &mut text);
        text
    }

    /// The key that verifies, as `whpk_…`; a symmetric secret has none.
    pub fn public_key(&self) -> Option<String> {
        match &self.0 {
            Key::Symmetric(_) => None,
            Key::Asymmetric(key) => {
                let public = STANDARD.encode(key.verifying_key().as_bytes());
                Some(format!("{PUBLIC_PREFIX}{public}"))
            }
        }
    }

    /// How it signs.
    pub fn scheme(&self) -> SignatureScheme {
        match &self.0 {
            Key::Symmetric(_) => SignatureScheme::V1,
            Key::Asymmetric(_) => SignatureScheme::V1a,
        }
    }

    /// Is `signature` this secret's of `content`? It takes as long for a wrong one as for a right one.
    pub(crate) fn is_signature(&self, content: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Key::Symmetric(bytes) => hmac_of(bytes, content).verify_slice(signature).is_ok(),
            Key::Asymmetric(key) => verifies(&key.verifying_key(), content, signature),
        }
    }

    /// One token of the `webhook-signature` header for `content`.
    pub(crate) fn signature_token(&self, content: &[u8]) -> String {
        match &self.0 {
            Key::Symmetric(bytes) => {
                let mac = hmac_of(bytes, content);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            Key::Asymmetric(key) => {
                format!("v1a,{}", STANDARD.encode(key.sign(content).to_bytes()))
            }
        }
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if text.starts_with(PUBLIC_PREFIX) {
            return Err(SecretError::PublicKey);
        }
        if let Some(encoded) = text.strip_prefix(SYMMETRIC_PREFIX) {
            let bytes = decode(encoded)?;
            return match bytes.len() {
                SYMMETRIC_LENGTH_MIN..=SYMMETRIC_LENGTH_MAX => Ok(Self(Key::Symmetric(bytes))),
                length => Err(SecretError::Length(length)),
            };
        }
        let encoded = text.strip_prefix(PRIVATE_PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = decode(encoded)?;
        let pair: Zeroizing<[u8; 64]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| SecretError::KeyPair)?);
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| SecretError::KeyPair)?;
        Ok(Self(Key::Asymmetric(Box::new(key))))
    }
}

/// 24 random bytes have fewer than 13 different ones less than once in 10^14 times.
const DIFFERENT_BYTES_MIN: usize = 13;

fn looks_random(bytes: &[u8]) -> bool {
    bytes.iter().collect::<std::collections::BTreeSet<_>>().len() >= DIFFERENT_BYTES_MIN
}

fn hmac_of(key: &[u8], content: &[u8]) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(content);
    mac
}

fn decode(encoded: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    if encoded.len() > TEXT_LENGTH_MAX {
        return Err(SecretError::Length(encoded.len() / 4 * 3));
    }
    STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| SecretError::Base64)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?}, [redacted])", self.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";

    fn symmetric_of(length: usize) -> Result<Secret, SecretError> {
        format!("whsec_{}", STANDARD.encode(vec![7; length])).parse()
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        for length in [24, 32, 64] {
            assert!(symmetric_of(length).is_ok(), "{length}");
        }
        for length in [0, 1, 23, 65, 90] {
            assert_eq!(symmetric_of(length).err(), Some(SecretError::Length(length)));
        }
    }

    #[test]
    fn what_was_made_can_be_imported_again_and_no_two_are_the_same() {
        for make in [Secret::generate, Secret::generate_asymmetric] {
            let secret = make().expect("random bytes");
            let again: Secret = secret.reveal().parse().expect("its own text");
            assert_eq!(*again.reveal(), *secret.reveal());
            assert_ne!(*make().expect("random bytes").reveal(), *secret.reveal());
        }
    }

    #[test]
    fn a_key_pair_is_imported_with_its_public_key_and_one_that_does_not_match_is_refused() {
        let secret: Secret = PAIR.parse().expect("a key pair");
        let public = secret.public_key();
        assert_eq!(public.as_deref(), Some("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="));
        let other = Secret::generate_asymmetric().expect("random bytes");
        let mut bytes = STANDARD.decode(&other.reveal()["whsk_".len()..]).expect("base64");
        bytes[..32].fill(9);
        let mixed = format!("whsk_{}", STANDARD.encode(bytes));
        assert_eq!(mixed.parse::<Secret>().err(), Some(SecretError::KeyPair));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let cases = [
            ("", SecretError::Prefix),
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", SecretError::Prefix),
            ("whsec_", SecretError::Length(0)),
            ("whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD", SecretError::Base64),
            ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7o", SecretError::Base64),
            ("whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", SecretError::KeyPair),
            ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", SecretError::PublicKey),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Secret>().err(), Some(error), "{text}");
        }
    }

    #[test]
    fn an_imported_secret_looks_as_if_it_were_drawn_at_random() {
        for bytes in
            [[7; 32], std::array::from_fn(|n| b'a' + u8::try_from(n % 10).expect("a digit"))]
        {
            let text = format!("whsec_{}", STANDARD.encode(bytes));
            assert_eq!(Secret::import(&text).err(), Some(SecretError::Weak), "{text}");
        }
        assert!(Secret::import(PAIR).is_ok());
        for _ in 0..100 {
            assert!(Secret::import(&Secret::generate().expect("random bytes").reveal()).is_ok());
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        for secret in [PAIR.parse(), symmetric_of(24)] {
            let secret: Secret = secret.expect("a secret");
            let printed = format!("{secret:?}");
            assert!(printed.contains("[redacted]"));
            assert!(!printed.contains(&secret.reveal()[6..20]), "{printed}");
        }
    }
}
