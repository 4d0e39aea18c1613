//! Is an address part of the public internet?
//!
//! IPv4 is judged by a list of what is not public. IPv6 is judged the other way round: only
//! 2000::/3 is public, minus what is reserved inside it, because a list of bad IPv6 ranges goes
//! stale (tunnels and translations to IPv4 are invented faster than lists are read). An IPv4
//! address inside an IPv6 one (`::ffff:0:0/96`) is always judged as the IPv4 address that it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// A host of the public internet.
    Public,
    /// Anything else: ourselves, a private network, a cloud's metadata service, a tunnel.
    Special(SpecialUse),
}

/// A block of addresses that is not the public internet, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialUse {
    /// The block.
    pub network: IpNet,
    /// What it is used for, in a few words.
    pub name: &'static str,
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.network)
    }
}

/// What `address` is for.
pub fn classify(address: IpAddr) -> AddressClass {
    let special = match address.to_canonical() {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    };
    special.map_or(AddressClass::Public, AddressClass::Special)
}

fn special_v4(address: Ipv4Addr) -> Option<SpecialUse> {
    SPECIAL_V4
        .iter()
        .find(|(network, _)| network.contains(&address))
        .map(|&(network, name)| SpecialUse { network: network.into(), name })
}

fn special_v6(address: Ipv6Addr) -> Option<SpecialUse> {
    SPECIAL_V6
        .iter()
        .find(|(network, _)| network.contains(&address))
        .map(|&(network, name)| SpecialUse { network: network.into(), name })
        .or_else(|| {
            (!PUBLIC_V6.contains(&address)).then(|| SpecialUse {
                network: ALL_V6.into(),
                name: "outside the public IPv6 space",
            })
        })
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(head: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = head;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

const ALL_V6: Ipv6Net = v6([0, 0, 0, 0], 0);

/// The only IPv6 space from which public addresses are given out.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this host"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // Azure's WireServer: in public space and in no registry, yet it answers from inside.
    (v4(168, 63, 129, 16, 32), "cloud metadata"),
    (v4(169, 254, 0, 0, 16), "link-local, cloud metadata"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 31, 196, 0, 24), "AS112"),
    (v4(192, 52, 193, 0, 24), "multicast tunnelling"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(192, 175, 48, 0, 24), "AS112"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved, broadcast"),
];

/// What lies inside 2000::/3 and is not public, and a few names for what lies outside.
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "this host"),
    (v6([0x64, 0xff9b, 0, 0], 96), "translation to IPv4"),
    (v6([0x64, 0xff9b, 1, 0], 48), "translation to IPv4"),
    (v6([0xfc00, 0, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0], 8), "multicast"),
    // Teredo, anycasts, benchmarking, AMT, ORCHID: all of the block is for protocols.
    (v6([0x2001, 0, 0, 0], 23), "protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0], 16), "6to4"),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), "AS112"),
    (v6([0x3ffe, 0, 0, 0], 16), "the old 6bone"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_public(address: IpAddr) -> bool {
        classify(address) == AddressClass::Public
    }

    #[test]
    fn every_special_block_is_special_from_its_first_to_its_last_address() {
        for &(network, name) in SPECIAL_V4 {
            for address in [network.network(), network.broadcast()] {
                assert!(!is_public(address.into()), "{address} of {network} ({name})");
            }
        }
        for &(network, name) in SPECIAL_V6 {
            for address in [network.network(), network.broadcast()] {
                assert!(!is_public(address.into()), "{address} of {network} ({name})");
            }
        }
    }

    #[test]
    fn the_neighbours_of_a_special_block_are_public_unless_another_block_has_them() {
        // Written out by hand: what lies one before and one after each block of the registry.
        let public = [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.1.255",
            "192.0.3.0",
            "192.31.195.255",
            "192.31.197.0",
            "192.52.192.255",
            "192.52.194.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "192.175.47.255",
            "192.175.49.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:200::",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "2001:ffff::",
            "2003::",
            "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
            "2620:4f:8001::",
            "3ffd:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff:1000::",
            "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        for text in public {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
        let special = ["1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::"];
        for text in special {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_the_same_inside_an_ipv6_one(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(classify(v4.into()), classify(v4.to_ipv6_mapped().into()));
        }

        #[test]
        fn no_ipv6_address_outside_2000_3_is_public(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            if v6.segments()[0] >> 13 != 1 && v6.to_ipv4_mapped().is_none() {
                prop_assert!(!is_public(v6.into()));
            }
        }
    }
}
