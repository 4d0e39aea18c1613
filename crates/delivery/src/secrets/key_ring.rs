//! The keys that seal secrets for the database.
//!
//! A ring is text, one key a line, `key-id:base64 of 32 bytes`. The first key seals, all open, so
//! a key is replaced by putting a new one first and sealing everything again. What is sealed is
//! bound to its endpoint, its version and the key's id: moved to another row, it does not open.
//! Keys are zeroized when dropped and never printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::EndpointId;
use zeroize::Zeroizing;

use super::secret::{Secret, SecretError};
use crate::headers::CustomHeaders;

/// Bytes of the nonce in front of a ciphertext. XChaCha20's are long enough to be drawn at random.
const NONCE_LENGTH: usize = 24;

const KEY_LENGTH: usize = 32;

/// Longest key id, in characters.
const KEY_ID_LENGTH_MAX: usize = 32;

/// Most keys of a ring: each is one more that a thief could use.
const KEYS_MAX: usize = 16;

/// What is sealed: what was sealed as one thing never opens as another.
const SECRET: &[u8] = b"posthorn endpoint secret v1";
const HEADERS: &[u8] = b"posthorn endpoint headers v1";

/// An endpoint's headers have no versions.
const NO_VERSION: i32 = 0;

/// The keys, the sealing one first.
pub struct KeyRing(Vec<SealingKey>);

struct SealingKey {
    id: String,
    bytes: Zeroizing<[u8; KEY_LENGTH]>,
}

/// A secret as the database has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the key that opens it.
    pub key_id: String,
    /// Nonce, then ciphertext, then tag.
    pub ciphertext: Vec<u8>,
}

/// Why a text is not a key ring. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// No key at all.
    #[error("the key ring has no key: expected lines such as `k1:` followed by 32 bytes in base64")]
    Empty,
    /// Too many.
    #[error("the key ring has more than {KEYS_MAX} keys")]
    TooMany,
    /// A line that is no key.
    #[error(
        "line {line} of the key ring is not `key-id:base64 of 32 bytes` (key id: 1 to \
         {KEY_ID_LENGTH_MAX} of A-Z a-z 0-9 _ -)"
    )]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// Two keys with one id.
    #[error("two keys of the key ring have the id `{0}`")]
    SameId(String),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with a key that the ring does not have.
    #[error("the key ring has no key `{0}`")]
    UnknownKey(String),
    /// It does not open: another endpoint's, another version's, another key's, or damaged.
    #[error("the secret does not open with key `{0}`: damaged, or moved from another row")]
    Damaged(String),
    /// It opened and is no secret.
    #[error("what was sealed is no secret")]
    NotASecret(#[from] SecretError),
    /// It opened and is no set of headers.
    #[error("what was sealed is no set of headers")]
    NotHeaders,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

impl KeyRing {
    /// Reads a ring: one key a line (or comma-separated, for an environment variable); empty lines
    /// and those that begin with `#` do not count.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<SealingKey> = Vec::new();
        for (index, line) in text.split(['\n', ',']).enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = SealingKey::parse(line).ok_or(KeyRingError::Line { line: index + 1 })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyRingError::SameId(key.id));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err(KeyRingError::Empty),
            1..=KEYS_MAX => Ok(Self(keys)),
            _ => Err(KeyRingError::TooMany),
        }
    }

    /// A line with a new random key, for the first key file or to put in front of one that is there.
    pub fn generate_line(key_id: &str) -> Result<Zeroizing<String>, KeyRingError> {
        if !is_key_id(key_id) {
            return Err(KeyRingError::Line { line: 1 });
        }
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(&mut *bytes).map_err(|_| KeyRingError::NoRandomness)?;
        let mut line = Zeroizing::new(String::with_capacity(KEY_ID_LENGTH_MAX + 64));
        line.push_str(key_id);
        line.push(':');
        STANDARD.encode_string(*bytes, &mut line);
        line.push('\n');
        Ok(line)
    }

    /// The id of the key that seals. What has another should be sealed again.
    pub fn sealing_key_id(&self) -> &str {
        &self.0[0].id
    }

    /// Seals a secret for one version of one endpoint.
    pub fn seal(
        &self,
        secret: &Secret,
        endpoint_id: EndpointId,
        version: i32,
    ) -> Result<Sealed, SealError> {
        self.seal_bytes(secret.reveal().as_bytes(), SECRET, endpoint_id, version)
    }

    /// Opens what was sealed for this version of this endpoint.
    pub fn open(
        &self,
        sealed: &Sealed,
        endpoint_id: EndpointId,
        version: i32,
    ) -> Result<Secret, SealError> {
        let text = self.open_bytes(sealed, SECRET, endpoint_id, version)?;
        let damaged = || SealError::Damaged(sealed.key_id.clone());
        Ok(std::str::from_utf8(&text).map_err(|_| damaged())?.parse()?)
    }

    /// Seals an endpoint's headers: their values may be credentials.
    pub fn seal_headers(
        &self,
        headers: &CustomHeaders,
        endpoint_id: EndpointId,
    ) -> Result<Sealed, SealError> {
        let json = serde_json::to_vec(&headers.to_map()).map_err(|_| SealError::NotHeaders)?;
        self.seal_bytes(&Zeroizing::new(json), HEADERS, endpoint_id, NO_VERSION)
    }

    /// Opens an endpoint's headers.
    pub fn open_headers(
        &self,
        sealed: &Sealed,
        endpoint_id: EndpointId,
    ) -> Result<CustomHeaders, SealError> {
        let json = self.open_bytes(sealed, HEADERS, endpoint_id, NO_VERSION)?;
        let map = serde_json::from_slice(&json).map_err(|_| SealError::NotHeaders)?;
        CustomHeaders::from_map(&map).map_err(|_| SealError::NotHeaders)
    }

    fn seal_bytes(
        &self,
        bytes: &[u8],
        purpose: &[u8],
        endpoint_id: EndpointId,
        version: i32,
    ) -> Result<Sealed, SealError> {
        let key = &self.0[0];
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let aad = associated_data(purpose, endpoint_id, version, &key.id);
        let ciphertext = key
            .cipher()
            .encrypt(&XNonce::from(nonce), Payload { msg: bytes, aad: &aad })
            .map_err(|_| SealError::Damaged(key.id.clone()))?;
        Ok(Sealed { key_id: key.id.clone(), ciphertext: [&nonce[..], &ciphertext].concat() })
    }

    fn open_bytes(
        &self,
        sealed: &Sealed,
        purpose: &[u8],
        endpoint_id: EndpointId,
        version: i32,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let damaged = || SealError::Damaged(sealed.key_id.clone());
        let key = self
            .0
            .iter()
            .find(|key| key.id == sealed.key_id)
            .ok_or_else(|| SealError::UnknownKey(sealed.key_id.clone()))?;
        let (nonce, ciphertext) =
            sealed.ciphertext.split_first_chunk::<NONCE_LENGTH>().ok_or_else(damaged)?;
        let aad = associated_data(purpose, endpoint_id, version, &key.id);
        key.cipher()
            .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| damaged())
    }
}

impl SealingKey {
    fn parse(line: &str) -> Option<Self> {
        let (id, encoded) = line.split_once(':')?;
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let bytes = Zeroizing::new(<[u8; KEY_LENGTH]>::try_from(decoded.as_slice()).ok()?);
        // 32 zeros are what a careless template leaves behind.
        let is_good = is_key_id(id) && bytes.iter().any(|&byte| byte != 0);
        is_good.then(|| Self { id: id.to_owned(), bytes })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

fn is_key_id(id: &str) -> bool {
    (1..=KEY_ID_LENGTH_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// No purpose begins another, and what lies between it and the last part has a fixed length: no
/// two of these give the same bytes.
fn associated_data(purpose: &[u8], endpoint_id: EndpointId, version: i32, key_id: &str) -> Vec<u8> {
    let version = version.to_be_bytes();
    [purpose, endpoint_id.uuid().as_bytes(), &version, key_id.as_bytes()].concat()
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key_id, self.ciphertext.len())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ring(ids: &[&str]) -> (KeyRing, String) {
        let text: String =
            ids.iter().map(|id| KeyRing::generate_line(id).expect("a line").to_string()).collect();
        (KeyRing::parse(&text).expect("a ring"), text)
    }

    fn endpoint(n: u128) -> EndpointId {
        Uuid::from_u128(n).into()
    }

    #[test]
    fn a_sealed_secret_opens_for_its_endpoint_and_version_and_for_nothing_else() {
        let (ring, _) = ring(&["k1"]);
        let secret = Secret::generate().expect("random bytes");
        let sealed = ring.seal(&secret, endpoint(1), 3).expect("sealed");
        let opened = ring.open(&sealed, endpoint(1), 3).expect("opens");
        assert_eq!(*opened.reveal(), *secret.reveal());
        let damaged = Some(SealError::Damaged("k1".to_owned()));
        assert_eq!(ring.open(&sealed, endpoint(2), 3).err(), damaged);
        assert_eq!(ring.open(&sealed, endpoint(1), 4).err(), damaged);
        for index in 0..sealed.ciphertext.len() {
            let mut bent = sealed.clone();
            bent.ciphertext[index] ^= 1;
            assert_eq!(ring.open(&bent, endpoint(1), 3).err(), damaged);
            bent.ciphertext.truncate(index);
            assert_eq!(ring.open(&bent, endpoint(1), 3).err(), damaged);
        }
    }

    #[test]
    fn headers_open_as_headers_of_their_endpoint_and_as_nothing_else() {
        let (ring, _) = ring(&["k1"]);
        let headers = CustomHeaders::parse([("authorization", "Bearer hunter2"), ("x-shop", "7")])
            .expect("headers");
        let sealed = ring.seal_headers(&headers, endpoint(1)).expect("sealed");
        assert_eq!(ring.open_headers(&sealed, endpoint(1)), Ok(headers));
        assert!(ring.open_headers(&sealed, endpoint(2)).is_err());
        assert!(ring.open(&sealed, endpoint(1), NO_VERSION).is_err());
        let secret = Secret::generate().expect("random bytes");
        let sealed = ring.seal(&secret, endpoint(1), NO_VERSION).expect("sealed");
        assert!(ring.open_headers(&sealed, endpoint(1)).is_err());
    }

    #[test]
    fn the_same_secret_sealed_twice_looks_different() {
        let (ring, _) = ring(&["k1"]);
        let secret = Secret::generate().expect("random bytes");
        let seal = || ring.seal(&secret, endpoint(1), 1).expect("sealed").ciphertext;
        assert_ne!(seal(), seal());
    }

    #[test]
    fn after_a_rotation_of_the_ring_the_new_key_seals_and_the_old_one_still_opens() {
        let (old, old_text) = ring(&["k1"]);
        let secret = Secret::generate_asymmetric().expect("random bytes");
        let sealed = old.seal(&secret, endpoint(1), 1).expect("sealed");
        let text = format!("# new\n{}\n{old_text}", *KeyRing::generate_line("k2").expect("line"));
        let new = KeyRing::parse(&text).expect("a ring");
        assert_eq!(new.sealing_key_id(), "k2");
        let opened = new.open(&sealed, endpoint(1), 1).expect("opens");
        let again = new.seal(&opened, endpoint(1), 1).expect("sealed");
        assert_eq!(again.key_id, "k2");
        let unknown = Some(SealError::UnknownKey("k2".to_owned()));
        assert_eq!(old.open(&again, endpoint(1), 1).err(), unknown);
    }

    #[test]
    fn a_ciphertext_under_another_keys_id_does_not_open() {
        let (ring, _) = ring(&["k1", "k2"]);
        let secret = Secret::generate().expect("random bytes");
        let mut sealed = ring.seal(&secret, endpoint(1), 1).expect("sealed");
        sealed.key_id = "k2".to_owned();
        assert!(ring.open(&sealed, endpoint(1), 1).is_err());
    }

    #[test]
    fn a_ring_may_be_on_one_line_and_what_is_no_ring_is_refused() {
        let (_, text) = ring(&["k1", "k2"]);
        let one_line = text.trim().replace('\n', ",");
        assert_eq!(KeyRing::parse(&one_line).expect("a ring").sealing_key_id(), "k1");
        let key = STANDARD.encode([1; 32]);
        let cases = [
            (String::new(), KeyRingError::Empty),
            ("# nothing\n\n".to_owned(), KeyRingError::Empty),
            (format!("k1:{key}\nk1:{key}"), KeyRingError::SameId("k1".to_owned())),
            (format!("k1:{key}\nk2"), KeyRingError::Line { line: 2 }),
            (format!("k 1:{key}"), KeyRingError::Line { line: 1 }),
            (format!(":{key}"), KeyRingError::Line { line: 1 }),
            (format!("k1:{}", STANDARD.encode([1; 31])), KeyRingError::Line { line: 1 }),
            (format!("k1:{}", STANDARD.encode([0; 32])), KeyRingError::Line { line: 1 }),
        ];
        for (text, error) in cases {
            assert_eq!(KeyRing::parse(&text).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn a_ring_prints_its_ids_and_not_its_keys() {
        let (ring, text) = ring(&["k1"]);
        assert_eq!(format!("{ring:?}"), "[\"k1\"]");
        assert!(!format!("{:?}", KeyRing::parse(&text[..text.len() - 4])).contains(&text[3..20]));
    }
}
