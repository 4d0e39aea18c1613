//! Where the keys that seal secrets come from: a file, or the environment.
//!
//! Options of their own, because commands that seal again need the keys and nothing else of the
//! delivery. No key is ever an argument that `ps` shows, or printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use zeroize::Zeroizing;

use crate::config::ConfigError;
use crate::secrets::KeyRing;

/// Options that name the keys.
#[derive(Debug, Clone, Args)]
#[group(id = "keys", multiple = true)]
pub struct KeyConfig {
    /// A file with the keys that seal secrets: lines `key-id:base64 of 32 bytes`. The first key
    /// seals, all open.
    #[arg(long, env = "POSTHORN_SECRET_KEYS_FILE", conflicts_with = "secret_keys")]
    pub secret_keys_file: Option<PathBuf>,
    /// The same keys without a file; meant for the environment, where `ps` does not show them.
    #[arg(long, env = "POSTHORN_SECRET_KEYS", hide_env_values = true, hide = true)]
    pub secret_keys: Option<KeyText>,
}

impl KeyConfig {
    /// The keys.
    pub fn key_ring(&self) -> Result<KeyRing, ConfigError> {
        if let Some(text) = &self.secret_keys {
            return Ok(KeyRing::parse(&text.0)?);
        }
        let path = self.secret_keys_file.as_ref().ok_or(ConfigError::NoKeys)?;
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|source| ConfigError::KeyFile { path: path.clone(), source })?;
        Ok(KeyRing::parse(&text)?)
    }
}

/// The text of a key ring; it does not print.
#[derive(Clone)]
pub struct KeyText(Zeroizing<String>);

impl FromStr for KeyText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
