//! Which addresses may be connected to: the public internet, plus what the operator allows, minus
//! what the operator denies.
//!
//! This is the only place that answers "may we talk to this address?". A denied network wins over
//! an allowed one and over the public internet, so that an operator can keep merchants away from
//! public addresses of their own (a load balancer, a NAT gateway).

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{AddressClass, SpecialUse, classify};
use super::nat64::Nat64Prefix;

/// The addresses that may be connected to. The default is the public internet and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedNetworks {
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
    nat64: Vec<Nat64Prefix>,
}

/// Why an address may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// It is not an address of the public internet.
    #[error("{address} is not a public address: {special}")]
    Special {
        /// The address, IPv4 unwrapped from IPv6.
        address: IpAddr,
        /// What it is instead.
        special: SpecialUse,
    },
    /// The operator denies it.
    #[error("{address} is in a network that the operator denies: {network}")]
    Denied {
        /// The address, IPv4 unwrapped from IPv6.
        address: IpAddr,
        /// The operator's network.
        network: IpNet,
    },
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither a network nor an address.
    #[error("`{0}` is not a network: expected an address and a length, such as 10.0.0.0/8")]
    Unparsable(String),
    /// A network of IPv4 addresses written as IPv6; it would never match.
    #[error("`{0}` is IPv4 written as IPv6: write the IPv4 network")]
    Mapped(String),
    /// No prefix of a translator.
    #[error(
        "`{0}` is no NAT64 prefix: expected an IPv6 network of length 32, 40, 48, 56, 64 or 96"
    )]
    Nat64(String),
}

impl AllowedNetworks {
    /// The public internet and nothing else.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// The same, and also `networks`, whatever they are.
    #[must_use]
    pub fn with(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.allowed.extend(networks.into_iter().map(|network| network.trunc()));
        self
    }

    /// The same without `networks`; this wins over everything that is allowed.
    #[must_use]
    pub fn without(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.denied.extend(networks.into_iter().map(|network| network.trunc()));
        self
    }

    /// The same, where addresses in `prefixes` are judged as the IPv4 ones that they stand for.
    #[must_use]
    pub fn translating(mut self, prefixes: impl IntoIterator<Item = Nat64Prefix>) -> Self {
        self.nat64.extend(prefixes);
        self
    }

    /// The address as it is judged: IPv4 unwrapped from IPv6.
    fn judged(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let inside = self.nat64.iter().find_map(|prefix| prefix.embedded(v6));
                inside.map_or(IpAddr::V6(v6), IpAddr::V4)
            }
            v4 => v4,
        }
    }

    /// What the operator allows beside the public internet.
    pub fn allowed_by_operator(&self) -> &[IpNet] {
        &self.allowed
    }

    /// May `address` be connected to?
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        // What is denied is also denied as it stands there: a part of a translator's prefix.
        let (written, address) = (address.to_canonical(), self.judged(address));
        let denies = |network: &&IpNet| network.contains(&address) || network.contains(&written);
        if let Some(&network) = self.denied.iter().find(denies) {
            return Err(AddressRefusal::Denied { address, network });
        }
        if self.allowed.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        match classify(address) {
            AddressClass::Public => Ok(()),
            AddressClass::Special(special) => Err(AddressRefusal::Special { address, special }),
        }
    }

    /// Is `address` one that the operator allows in so many words?
    pub fn is_allowed_by_operator(&self, address: IpAddr) -> bool {
        let judged = self.judged(address);
        self.check(address).is_ok() && self.allowed.iter().any(|network| network.contains(&judged))
    }

    /// Reads a network (`10.0.0.0/8`) or a single address (`10.1.2.3`).
    pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
        let text = text.trim();
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| NetworkError::Unparsable(text.chars().take(64).collect()))?;
        match network {
            IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() && v6.prefix_len() >= 96 => {
                Err(NetworkError::Mapped(text.chars().take(64).collect()))
            }
            _ => Ok(network.trunc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> IpNet {
        AllowedNetworks::parse_network(text).expect("a network")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_allowed_network_opens_exactly_itself_also_when_written_as_ipv6() {
        let networks = AllowedNetworks::public_only().with([network("127.0.0.0/8")]);
        for good in ["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1", "8.8.8.8"] {
            assert_eq!(networks.check(address(good)), Ok(()), "{good}");
        }
        for bad in ["10.0.0.1", "::1", "169.254.169.254", "64:ff9b::7f00:1", "::127.0.0.1"] {
            assert!(networks.check(address(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_of_ipv6_allowed_does_not_open_ipv4() {
        let networks = AllowedNetworks::public_only().with([network("::/0")]);
        assert!(networks.check(address("::ffff:127.0.0.1")).is_err());
        assert!(networks.check(address("::1")).is_ok());
    }

    #[test]
    fn a_denied_network_wins_over_an_allowed_one_and_over_the_public_internet() {
        let networks = AllowedNetworks::public_only()
            .with([network("10.0.0.0/8")])
            .without([network("10.9.0.0/16"), network("8.8.8.8")]);
        assert!(networks.check(address("10.8.0.1")).is_ok());
        assert!(!networks.is_allowed_by_operator(address("10.9.0.1")));
        for bad in ["10.9.0.1", "8.8.8.8", "::ffff:8.8.8.8"] {
            assert!(
                matches!(networks.check(address(bad)), Err(AddressRefusal::Denied { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_address_behind_a_translator_is_judged_as_the_ipv4_address_that_it_stands_for() {
        let metadata = address("2606:4700:64::169.254.169.254");
        let public = address("2606:4700:64::8.8.8.8");
        let unnamed = AllowedNetworks::public_only();
        assert_eq!(unnamed.check(metadata), Ok(()), "nothing tells it from a host");
        let prefixes = ["2606:4700:64::/96", "64:ff9b::/96"].map(Nat64Prefix::parse);
        let named = AllowedNetworks::public_only()
            .translating(prefixes.into_iter().map(|prefix| prefix.expect("a prefix")));
        assert!(named.check(metadata).is_err());
        assert_eq!(named.check(public), Ok(()));
        assert_eq!(named.check(address("64:ff9b::8.8.8.8")), Ok(()));
        assert!(named.check(address("64:ff9b::10.0.0.1")).is_err());
        let denied = named.without([network("8.8.8.0/24")]);
        assert!(denied.check(public).is_err());
    }

    #[test]
    fn a_network_within_a_translators_prefix_can_be_denied_as_it_is_written() {
        let prefix = Nat64Prefix::parse("2606:4700:64::/96").expect("a prefix");
        let networks = AllowedNetworks::public_only().translating([prefix]);
        let denied = networks.clone().without([network("2606:4700:64::800:0/104")]);
        for (text, is_denied) in
            [("2606:4700:64::8.8.8.8", true), ("2606:4700:64::9.9.9.9", false), ("8.8.8.8", false)]
        {
            assert_eq!(networks.check(address(text)), Ok(()), "{text}");
            assert_eq!(denied.check(address(text)).is_err(), is_denied, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_sentence() {
        for bad in ["", "loopback", "10.0.0.0/33", "10.0.0/8", "1.2.3.4/", "::ffff:10.0.0.0/104"] {
            assert!(AllowedNetworks::parse_network(bad).is_err(), "{bad}");
        }
        assert_eq!(network("10.1.2.3/8"), network("10.0.0.0/8"));
        assert_eq!(network("10.1.2.3"), network("10.1.2.3/32"));
    }

    proptest! {
        #[test]
        fn one_before_and_one_after_an_allowed_network_it_is_as_if_it_were_not_there(
            bits: u32, length in 8_u8..=32,
        ) {
            let net = ipnet::Ipv4Net::new(bits.into(), length).expect("a length").trunc();
            let networks = AllowedNetworks::public_only().with([net.into()]);
            prop_assert!(networks.check(net.network().into()).is_ok());
            prop_assert!(networks.check(net.broadcast().into()).is_ok());
            let before = net.network().to_bits().checked_sub(1);
            let after = net.broadcast().to_bits().checked_add(1);
            for outside in [before, after].into_iter().flatten() {
                let outside = IpAddr::from(std::net::Ipv4Addr::from_bits(outside));
                prop_assert_eq!(
                    networks.check(outside), AllowedNetworks::public_only().check(outside)
                );
            }
        }
    }
}
