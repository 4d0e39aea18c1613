//! The URL policy: what a merchant may register, and what an attempt may call.
//!
//! The order of the rules is part of the contract, because each has its own code. A URL is parsed
//! by the WHATWG rules (which turn `0x7f.1` into 127.0.0.1), judged, and handed on only in its
//! canonical form; nobody dials what a second parser makes of the original text.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

use super::networks::AllowedNetworks;
use super::refusal::UrlRefusal;

/// Which URLs are allowed. The default is strict: `https`, ports 443 and 8443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPolicy {
    /// Is `http` allowed beside `https`?
    pub allow_http: bool,
    /// The ports that are allowed for a host of the public internet. 80 is one more when `http`
    /// is allowed.
    pub ports: BTreeSet<u16>,
    /// Names of the operator's own, in lower case: these and what is below them is refused.
    pub own_domains: Vec<String>,
}

impl UrlPolicy {
    /// Longest URL, in bytes: what proxies and servers take without exception.
    pub const LENGTH_MAX: usize = 2048;
}

impl Default for UrlPolicy {
    fn default() -> Self {
        Self { allow_http: false, ports: BTreeSet::from([443, 8443]), own_domains: Vec::new() }
    }
}

/// A URL that passed the policy, in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonicalUrl(Url);

/// The host of a [`CanonicalUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A name to be resolved, in lower case, without a dot at its end.
    Name(&'a str),
    /// `localhost`: 127.0.0.1 or ::1 by definition, never looked up.
    Localhost,
    /// An address.
    Address(IpAddr),
}

impl CanonicalUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Is it `https`?
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host.
    pub fn host(&self) -> Host<'_> {
        match self.0.host() {
            Some(url::Host::Ipv4(v4)) => Host::Address(v4.into()),
            Some(url::Host::Ipv6(v6)) => Host::Address(v6.into()),
            Some(url::Host::Domain("localhost")) => Host::Localhost,
            Some(url::Host::Domain(name)) => Host::Name(name),
            // A URL without a host never became a CanonicalUrl.
            None => Host::Name(""),
        }
    }

    /// The port, also when it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Path and query, as the request's first line has them.
    pub fn path_and_query(&self) -> &str {
        &self.0[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// Host and port, without the port when it is the scheme's own: the `Host` header.
    pub fn authority(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for CanonicalUrl {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Judges `text` by `policy`. An address in a network that the operator allows may stand in the
/// URL, with any port; so may `localhost` when loopback is allowed.
pub fn check_url(
    text: &str,
    policy: &UrlPolicy,
    networks: &AllowedNetworks,
) -> Result<CanonicalUrl, UrlRefusal> {
    if text.len() > UrlPolicy::LENGTH_MAX {
        return Err(UrlRefusal::TooLong);
    }
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return Err(UrlRefusal::BadChar);
    }
    let mut url = Url::parse(text).map_err(|_| UrlRefusal::Unparsable)?;
    let is_allowed_scheme = match url.scheme() {
        "https" => true,
        "http" => policy.allow_http,
        _ => false,
    };
    if !is_allowed_scheme {
        return Err(UrlRefusal::Scheme);
    }
    check_authority_as_written(text, url.scheme())?;
    if url.fragment().is_some() {
        return Err(UrlRefusal::Fragment);
    }
    let is_the_operators = is_allowed_by_operator(&url, networks);
    if !is_the_operators {
        check_port(&url, policy)?;
        check_host(&url, policy, networks)?;
    }
    drop_final_dot(&mut url)?;
    check_second_parser(&url)?;
    Ok(CanonicalUrl(url))
}

/// The parser forgives what stands between `//` and the path; here it is taken at its word.
fn check_authority_as_written(text: &str, scheme: &str) -> Result<(), UrlRefusal> {
    let rest = text.get(scheme.len() + 1..).unwrap_or_default();
    let rest = rest.strip_prefix("//").ok_or(UrlRefusal::MalformedAuthority)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(UrlRefusal::MalformedAuthority);
    }
    if authority.contains('@') {
        return Err(UrlRefusal::UserInfo);
    }
    if authority.contains('%') {
        return Err(UrlRefusal::BadChar);
    }
    Ok(())
}

fn is_allowed_by_operator(url: &Url, networks: &AllowedNetworks) -> bool {
    let is_allowed = |address: IpAddr| networks.is_allowed_by_operator(address);
    match url.host() {
        Some(url::Host::Ipv4(v4)) => is_allowed(v4.into()),
        Some(url::Host::Ipv6(v6)) => is_allowed(v6.into()),
        Some(url::Host::Domain("localhost" | "localhost.")) => {
            is_allowed(Ipv4Addr::LOCALHOST.into()) || is_allowed(Ipv6Addr::LOCALHOST.into())
        }
        _ => false,
    }
}

fn check_port(url: &Url, policy: &UrlPolicy) -> Result<(), UrlRefusal> {
    let port = url.port_or_known_default().ok_or(UrlRefusal::Port)?;
    if policy.ports.contains(&port) || (policy.allow_http && port == 80) {
        Ok(())
    } else {
        Err(UrlRefusal::Port)
    }
}

fn check_host(url: &Url, policy: &UrlPolicy, networks: &AllowedNetworks) -> Result<(), UrlRefusal> {
    let address = match url.host() {
        Some(url::Host::Domain(name)) => return check_name(name, policy),
        Some(url::Host::Ipv4(v4)) => IpAddr::from(v4),
        Some(url::Host::Ipv6(v6)) => IpAddr::from(v6),
        None => return Err(UrlRefusal::MalformedAuthority),
    };
    networks.check(address)?;
    Err(UrlRefusal::IpLiteral)
}

/// Longest host name and longest part of one, in bytes (RFC 1035).
const NAME_LENGTH_MAX: usize = 253;
const LABEL_LENGTH_MAX: usize = 63;

/// Last parts of names that never are of the public internet: reserved by RFC 2606, 6761, 6762,
/// 7686, 8375, 9476, or used inside of networks and clusters.
const RESERVED_TLDS: &[&str] = &[
    "alt",
    "arpa",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "svc",
    "test",
];

fn check_name(name: &str, policy: &UrlPolicy) -> Result<(), UrlRefusal> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LABEL_LENGTH_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > NAME_LENGTH_MAX || !name.split('.').all(is_label) {
        return Err(UrlRefusal::BadHost);
    }
    let (_, last) = name.rsplit_once('.').ok_or(UrlRefusal::SingleLabelHost)?;
    if RESERVED_TLDS.contains(&last) {
        return Err(UrlRefusal::ReservedTld);
    }
    let is_own = |own: &String| {
        name.strip_suffix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if policy.own_domains.iter().any(is_own) {
        return Err(UrlRefusal::OwnDomain);
    }
    Ok(())
}

/// `example.com.` and `example.com` are one host; TLS certificates only know the second.
fn drop_final_dot(url: &mut Url) -> Result<(), UrlRefusal> {
    let Some(name) = url.host_str().and_then(|host| host.strip_suffix('.')) else {
        return Ok(());
    };
    let name = name.to_owned();
    url.set_host(Some(&name)).map_err(|_| UrlRefusal::BadHost)
}

/// The client's parser must find the same host as the one that judged.
fn check_second_parser(url: &Url) -> Result<(), UrlRefusal> {
    if url.as_str().len() > UrlPolicy::LENGTH_MAX {
        return Err(UrlRefusal::TooLong);
    }
    let uri: http::Uri = url.as_str().parse().map_err(|_| UrlRefusal::ParserMismatch)?;
    let is_same = uri.host() == url.host_str()
        && uri.port_u16() == url.port()
        && uri.scheme_str() == Some(url.scheme());
    if is_same { Ok(()) } else { Err(UrlRefusal::ParserMismatch) }
}
