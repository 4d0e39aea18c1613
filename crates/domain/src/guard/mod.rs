//! The guard: which URLs may be registered and which addresses may be connected to.
//!
//! A URL's text goes in, a [`CanonicalUrl`] or a refusal with a stable code comes out; an address
//! goes in, permission or a refusal comes out. The same two functions judge at registration,
//! before each attempt, before each connect and after it, so no two of them can disagree.
//! Nothing here resolves a name: what a name points to is judged by whoever is about to dial it.
//! Source of the rules: the IANA special-purpose registries and the WHATWG URL standard.

mod address;
mod endpoint_url;
mod nat64;
mod networks;
mod refusal;

pub use address::{AddressClass, SpecialUse, classify};
pub use endpoint_url::{CanonicalUrl, Host, UrlPolicy, check_url};
pub use nat64::Nat64Prefix;
pub use networks::{AddressRefusal, AllowedNetworks, NetworkError};
pub use refusal::UrlRefusal;
