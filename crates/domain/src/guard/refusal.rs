//! Why a URL may not be registered or called: one variant a rule, with a stable code.
//!
//! A refusal names the rule and never repeats the URL: its query may hold a merchant's secret.

use super::networks::AddressRefusal;

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// Longer than [`super::UrlPolicy::LENGTH_MAX`], as given or in its canonical form.
    #[error("the URL is longer than {max} bytes", max = super::UrlPolicy::LENGTH_MAX)]
    TooLong,
    /// A byte that has no place in a URL, or one that two parsers read differently.
    #[error(
        "the URL has a character that is not allowed: only visible ASCII without backslash, no \
         percent-encoding in the host; write an international name as punycode"
    )]
    BadChar,
    /// Not a URL.
    #[error("the URL cannot be read: it must look like https://shop.example/webhooks")]
    Unparsable,
    /// A scheme other than those that the policy allows.
    #[error(
        "the URL must begin with https:// (for development also http://, where --allow-http says so)"
    )]
    Scheme,
    /// No host where a host must stand.
    #[error("the URL must have a host right after its `//`")]
    MalformedAuthority,
    /// A user or a password.
    #[error("the URL must not have a user or a password")]
    UserInfo,
    /// A fragment: it would never be sent.
    #[error("the URL must not have a fragment (`#…`)")]
    Fragment,
    /// A port that the policy does not allow.
    #[error("the URL's port is not one of those allowed")]
    Port,
    /// An address that may not be connected to.
    #[error(transparent)]
    BlockedIp(#[from] AddressRefusal),
    /// A public address instead of a name.
    #[error("the URL must have a host name, not an address")]
    IpLiteral,
    /// A host that is no name of the domain name system.
    #[error("the URL's host is not a valid host name")]
    BadHost,
    /// A name without a dot.
    #[error("the URL's host must be a full name with a dot")]
    SingleLabelHost,
    /// A name under a top-level domain that is not public.
    #[error("the URL's host ends in a name that is not of the public internet")]
    ReservedTld,
    /// A name of the operator's own.
    #[error("the URL's host is one of the operator's own")]
    OwnDomain,
    /// Two parsers disagree about the host.
    #[error("the URL's host is ambiguous")]
    ParserMismatch,
}

impl UrlRefusal {
    /// Its stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::BadChar => "bad_char",
            Self::Unparsable => "unparsable",
            Self::Scheme => "scheme",
            Self::MalformedAuthority => "malformed_authority",
            Self::UserInfo => "userinfo",
            Self::Fragment => "fragment",
            Self::Port => "port",
            Self::BlockedIp(_) => "blocked_ip",
            Self::IpLiteral => "ip_literal",
            Self::BadHost => "bad_host",
            Self::SingleLabelHost => "single_label_host",
            Self::ReservedTld => "reserved_tld",
            Self::OwnDomain => "own_domain",
            Self::ParserMismatch => "parser_mismatch",
        }
    }
}
