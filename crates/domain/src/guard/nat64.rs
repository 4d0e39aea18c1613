//! NAT64: IPv6 addresses that a translator of the operator's turns into IPv4 ones.
//!
//! A network may have a prefix of its own for this, in public space, where nothing tells it from
//! a host of the internet. The operator names it; an address in it is then judged as the IPv4
//! address inside. Source: RFC 6052, section 2.2.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::networks::{AllowedNetworks, NetworkError};

/// The octet that every form leaves out: bits 64 to 71 are zero.
const UNUSED_OCTET: usize = 8;

/// A prefix whose addresses stand for IPv4 ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix(Ipv6Net);

impl Nat64Prefix {
    /// Reads a prefix such as `64:ff9b::/96`.
    ///
    /// # Errors
    /// When it is no IPv6 network with one of the lengths 32, 40, 48, 56, 64 and 96.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        match AllowedNetworks::parse_network(text)? {
            IpNet::V6(net) if matches!(net.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) => {
                Ok(Self(net))
            }
            _ => Err(NetworkError::Nat64(text.trim().chars().take(64).collect())),
        }
    }

    /// The IPv4 address that `address` stands for, if it lies in the prefix.
    pub(super) fn embedded(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        if !self.0.contains(&address) {
            return None;
        }
        let begin = usize::from(self.0.prefix_len() / 8);
        let mut inside = address
            .octets()
            .into_iter()
            .enumerate()
            .skip(begin)
            .filter(|(place, _)| begin > UNUSED_OCTET || *place != UNUSED_OCTET)
            .map(|(_, octet)| octet);
        Some(Ipv4Addr::new(inside.next()?, inside.next()?, inside.next()?, inside.next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ] {
            let prefix = Nat64Prefix::parse(prefix).expect("a prefix");
            let inside = prefix.embedded(address.parse().expect("an address"));
            assert_eq!(inside, Some(Ipv4Addr::new(192, 0, 2, 33)), "{address}");
            assert_eq!(prefix.embedded(Ipv6Addr::LOCALHOST), None);
        }
    }

    #[test]
    fn what_is_no_such_prefix_is_refused() {
        for bad in ["", "64:ff9b::/95", "64:ff9b::", "10.0.0.0/8", "nat64"] {
            assert!(Nat64Prefix::parse(bad).is_err(), "{bad}");
        }
    }
}
