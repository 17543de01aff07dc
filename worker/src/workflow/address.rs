//! Where flows may call: public addresses that are not the worker's own, and the networks that its configuration allows, less those
//! that it denies.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    str::FromStr,
};

/// A network, as `10.1.0.0/16` or `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// It is no network.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no network such as 10.1.0.0/16 or fd00::/8")]
pub struct InvalidNetwork(String);

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), prefix }
    }

    const fn v6(a: u16, b: u16, prefix: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Not public, by the registries of special-purpose addresses (RFC 6890 and its updates): this host, private, shared and
/// link-local networks (where clouds serve metadata), documentation, benchmarks, multicast and what is reserved; and the address at
/// which Azure serves its machines, which is public by the registries.
const NOT_PUBLIC_V4: [Network; 15] = [
    Network::v4(0, 0, 0, 8),
    Network::v4(10, 0, 0, 8),
    Network::v4(100, 64, 0, 10),
    Network::v4(127, 0, 0, 8),
    Network::v4(169, 254, 0, 16),
    Network::v4(172, 16, 0, 12),
    Network::v4(192, 0, 0, 24),
    Network::v4(192, 0, 2, 24),
    Network::v4(192, 88, 99, 24),
    Network::v4(192, 168, 0, 16),
    Network::v4(198, 18, 0, 15),
    Network::v4(198, 51, 100, 24),
    Network::v4(203, 0, 113, 24),
    Network::v4(224, 0, 0, 3),
    Network { address: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), prefix: 32 },
];

/// The only part of IPv6 that is given out as public addresses.
const PUBLIC_V6: Network = Network::v6(0x2000, 0, 3);

/// Parts of it that are not: protocol assignments with tunnels (Teredo), documentation, and addresses that hide an IPv4 one (6to4).
const NOT_PUBLIC_V6: [Network; 4] = [
    Network::v6(0x2001, 0, 23),
    Network::v6(0x2001, 0x0db8, 32),
    Network::v6(0x2002, 0, 16),
    Network::v6(0x3fff, 0, 20),
];

/// The networks that the configuration speaks of.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    /// Flows may call them, though they are not public.
    pub(super) allowed: Vec<Network>,
    /// Flows do not call them, whatever else is said.
    pub(super) denied: Vec<Network>,
}

impl Networks {
    /// Whether a flow may call this address.
    pub(super) fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        !is_in(&self.denied) && (is_in(&self.allowed) || is_public(address) && !is_own(address))
    }
}

/// Whether it is an address of this host's own interfaces: the one that the system would call it from. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    // Any port: a datagram socket is connected by looking up the route.
    const PORT: u16 = 9;
    let from: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let local = UdpSocket::bind((from, 0)).and_then(|socket| {
        socket.connect((address, PORT))?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == address)
}

/// Whether it is reached over the internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    // An IPv4 address in the clothes of an IPv6 one is what it is.
    let address = address.to_canonical();
    match address {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(address)),
        IpAddr::V6(_) => PUBLIC_V6.contains(address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(address)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_may_be_called() {
        for address in ["93.184.216.34", "1.1.1.1", "172.15.0.1", "172.32.0.1", "223.255.255.255", "2606:4700::1111"] {
            assert!(Networks::default().allow(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!Networks::default().allow(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn networks_that_are_allowed_are_let_through_and_no_others() {
        let allowed = |networks: &[&str]| Networks {
            allowed: networks.iter().map(|text| text.parse().unwrap()).collect(),
            denied: Vec::new(),
        };
        let networks = allowed(&["10.1.0.0/16", "fd00::/8"]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"] {
            assert!(networks.allow(address.parse().unwrap()), "{address}");
        }
        for address in ["10.2.0.1", "fe80::1", "127.0.0.1"] {
            assert!(!networks.allow(address.parse().unwrap()), "{address}");
        }
        assert!(allowed(&["0.0.0.0/0"]).allow("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn networks_that_are_denied_are_not_called_whatever_else_is_said() {
        let networks = Networks {
            allowed: vec!["10.0.0.0/8".parse().unwrap()],
            denied: ["10.2.0.0/16", "93.184.216.0/24"].map(|text| text.parse().unwrap()).into(),
        };
        for address in ["10.2.0.1", "93.184.216.34", "::ffff:93.184.216.34"] {
            assert!(!networks.allow(address.parse().unwrap()), "{address}");
        }
        for address in ["10.1.0.1", "1.1.1.1"] {
            assert!(networks.allow(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_of_this_host_is_known_by_the_route_to_it() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        for address in ["93.184.216.34", "2606:4700::1111"] {
            assert!(!is_own(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "localhost/8", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
