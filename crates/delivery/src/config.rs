//! What the roles that judge URLs, seal secrets or reach merchants are told.
//!
//! One set of options for the api and the worker, so that what one accepts the other can deliver.
//! Refused at start when wrong. Nothing else is read from the environment: no proxy, no
//! certificate folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use domain::guard::{AllowedNetworks, Nat64Prefix, NetworkError, UrlPolicy};
use ipnet::IpNet;

use crate::client::ClientConfig;
use crate::key_config::KeyConfig;
use crate::limits::{CONCURRENT_ATTEMPTS, DIALLED_MAX, IDLE_CONNECTIONS_MAX, PROMPT_SHARE};
use crate::names::Names;
use crate::proxy::EgressProxy;
use crate::secrets::{KeyRing, KeyRingError};
use crate::tls::{TlsError, read_certificates};

/// Options of the delivery, shared by the api and the worker.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Delivery")]
#[group(id = "delivery")]
pub struct Config {
    /// Networks that merchants may be reached in beside the public internet, as CIDRs separated by
    /// commas. Addresses in them may stand in a URL, with any port. For development: 127.0.0.0/8.
    #[arg(long, env = "POSTHORN_ALLOW_NETWORKS", default_value = "")]
    pub allow_networks: NetworkList,
    /// Networks that are never reached, whatever else allows them: your own public addresses.
    #[arg(long, env = "POSTHORN_DENY_NETWORKS", default_value = "")]
    pub deny_networks: NetworkList,
    /// Prefixes by which a NAT64 of your network reaches IPv4, separated by commas, such as
    /// 64:ff9b::/96: an address in one is judged as the IPv4 address inside.
    #[arg(long, env = "POSTHORN_NAT64_PREFIXES", default_value = "")]
    pub nat64_prefixes: Nat64List,
    /// A proxy through which every merchant is reached, by CONNECT: http://host:port. It resolves
    /// the names; see docs/security.md for what the guard can no longer see then.
    #[arg(long, env = "POSTHORN_EGRESS_PROXY")]
    pub egress_proxy: Option<EgressProxy>,
    /// Allow http:// beside https://. In the environment: 1, true, yes; empty is no.
    #[arg(
        long, env = "POSTHORN_ALLOW_HTTP",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub allow_http: bool,
    /// Ports that a URL may have, separated by commas.
    #[arg(
        long,
        env = "POSTHORN_ALLOW_PORTS",
        value_delimiter = ',',
        default_value = "443,8443",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub allow_ports: Vec<u16>,
    /// Your own domain names, separated by commas: no merchant's URL may lie in them.
    #[arg(long, env = "POSTHORN_OWN_DOMAINS", default_value = "")]
    pub own_domains: String,
    /// The keys that seal secrets.
    #[command(flatten)]
    pub keys: KeyConfig,
    /// A file with certificates (PEM) of authorities to trust beside the public ones.
    #[arg(long, env = "POSTHORN_EXTRA_CA_FILE")]
    pub extra_ca_file: Option<PathBuf>,
    /// Attempts in flight at once, in all. Each may hold up to five file descriptors.
    #[arg(
        long, env = "POSTHORN_CONCURRENT_ATTEMPTS",
        default_value_t = u32::try_from(CONCURRENT_ATTEMPTS).unwrap_or(u32::MAX),
        value_parser = clap::value_parser!(u32).range(8..=65_536)
    )]
    pub concurrent_attempts: u32,
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No keys.
    #[error(
        "no keys to seal secrets with: set POSTHORN_SECRET_KEYS_FILE to a file with lines such as \
         `k1:` followed by 32 random bytes in base64"
    )]
    NoKeys,
    /// The key file cannot be read.
    #[error("cannot read the key file {path}")]
    KeyFile {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The keys are not keys.
    #[error("the keys that seal secrets cannot be used")]
    Keys(#[from] KeyRingError),
    /// The certificates cannot be used.
    #[error("the extra authorities cannot be used")]
    ExtraCa(#[from] TlsError),
}

impl Config {
    /// Which URLs may be registered and called.
    pub fn url_policy(&self) -> UrlPolicy {
        let own_domains = self
            .own_domains
            .split(',')
            .map(|name| name.trim().trim_matches('.').to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        let ports = BTreeSet::from_iter(self.allow_ports.iter().copied());
        UrlPolicy { allow_http: self.allow_http, ports, own_domains }
    }

    /// Which addresses may be connected to.
    pub fn networks(&self) -> AllowedNetworks {
        AllowedNetworks::public_only()
            .with(self.allow_networks.0.iter().copied())
            .without(self.deny_networks.0.iter().copied())
            .translating(self.nat64_prefixes.0.iter().copied())
    }

    /// The keys that seal secrets.
    pub fn key_ring(&self) -> Result<KeyRing, ConfigError> {
        self.keys.key_ring()
    }

    /// File descriptors that a client may hold at once, at most: each attempt may dial some addresses
    /// together, and idle connections wait beside them.
    pub fn descriptors_max(&self) -> u64 {
        let places = usize::try_from(self.concurrent_attempts).unwrap_or(usize::MAX);
        // Those that are overdue in a kept place have as many again.
        let places = places.saturating_add(places / PROMPT_SHARE);
        let all = places.saturating_mul(DIALLED_MAX).saturating_add(IDLE_CONNECTIONS_MAX);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// Everything that a [`crate::Client`] needs.
    pub fn client_config(&self) -> Result<ClientConfig, ConfigError> {
        let extra_authorities = match &self.extra_ca_file {
            Some(path) => read_certificates(path)?,
            None => Vec::new(),
        };
        Ok(ClientConfig {
            url_policy: self.url_policy(),
            networks: self.networks(),
            extra_authorities,
            proxy: self.egress_proxy.clone(),
            concurrent_attempts: usize::try_from(self.concurrent_attempts).unwrap_or(usize::MAX),
            ..ClientConfig::new(Names::system())
        })
    }
}

/// Networks separated by commas; an empty text is none.
#[derive(Debug, Clone, Default)]
pub struct NetworkList(pub Vec<IpNet>);

impl FromStr for NetworkList {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        text.split(',')
            .filter(|part| !part.trim().is_empty())
            .map(AllowedNetworks::parse_network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// NAT64 prefixes separated by commas; an empty text is none.
#[derive(Debug, Clone, Default)]
pub struct Nat64List(pub Vec<Nat64Prefix>);

impl FromStr for Nat64List {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        text.split(',')
            .filter(|part| !part.trim().is_empty())
            .map(Nat64Prefix::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Role {
        #[command(flatten)]
        delivery: Config,
    }

    fn config(flags: &[&str]) -> Result<Config, clap::Error> {
        Role::try_parse_from([&["role"], flags].concat()).map(|role| role.delivery)
    }

    #[test]
    fn without_a_word_the_policy_is_strict_and_there_are_no_keys() {
        let config = config(&[]).expect("defaults");
        assert_eq!(config.url_policy(), UrlPolicy::default());
        assert_eq!(config.networks(), AllowedNetworks::public_only());
        assert!(matches!(config.key_ring(), Err(ConfigError::NoKeys)));
        let client = config.client_config().expect("a client's options");
        assert_eq!(client.concurrent_attempts, CONCURRENT_ATTEMPTS);
    }

    #[test]
    fn what_the_operator_allows_and_denies_is_taken() {
        let config = config(&[
            "--allow-http",
            "--allow-networks",
            "127.0.0.0/8, 10.0.0.0/8,",
            "--deny-networks",
            "10.9.0.0/16",
            "--nat64-prefixes",
            "2606:4700:64::/96",
            "--egress-proxy",
            "http://proxy.internal:3128",
            "--allow-ports",
            "443,9443",
            "--own-domains",
            "Posthorn.example., other.example",
        ])
        .expect("options");
        let networks = config.networks();
        assert!(networks.check("10.1.1.1".parse().expect("an address")).is_ok());
        assert!(networks.check("10.9.1.1".parse().expect("an address")).is_err());
        let translated = "2606:4700:64::169.254.169.254".parse().expect("an address");
        assert!(networks.check(translated).is_err());
        assert!(config.egress_proxy.is_some());
        assert_eq!(
            config.url_policy(),
            UrlPolicy {
                allow_http: true,
                ports: BTreeSet::from([443, 9443]),
                own_domains: vec!["posthorn.example".to_owned(), "other.example".to_owned()],
            }
        );
    }

    #[test]
    fn what_is_wrong_is_refused_at_start() {
        for flags in [
            ["--allow-networks", "loopback"],
            ["--deny-networks", "10.0.0.0/40"],
            ["--allow-ports", "0"],
            ["--allow-ports", "65536"],
            ["--concurrent-attempts", "1"],
            ["--nat64-prefixes", "64:ff9b::/95"],
            ["--egress-proxy", "https://proxy.example:3128"],
            ["--egress-proxy", "http://proxy.example"],
            ["--egress-proxy", "http://proxy.example:3128/path"],
        ] {
            assert!(config(&flags).is_err(), "{flags:?}");
        }
        let missing = config(&["--extra-ca-file", "/nowhere/ca.pem"]).expect("a path");
        assert!(missing.client_config().is_err());
    }

    #[test]
    fn keys_come_from_a_file_or_from_the_environment_but_not_from_both_and_never_print() {
        let line = KeyRing::generate_line("k1").expect("a line");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), line.as_bytes()).expect("written");
        let path = file.path().to_str().expect("text");
        let by_file = config(&["--secret-keys-file", path]).expect("options");
        assert_eq!(by_file.key_ring().expect("a ring").sealing_key_id(), "k1");
        let by_text = config(&["--secret-keys", &line]).expect("options");
        assert_eq!(by_text.key_ring().expect("a ring").sealing_key_id(), "k1");
        assert!(!format!("{by_text:?}").contains(line.trim()));
        assert!(config(&["--secret-keys", &line, "--secret-keys-file", path]).is_err());
    }
}
