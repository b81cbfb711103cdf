//! Which addresses Piton may fetch from for somebody else: public ones, and those of hosts that the owner named. A
//! client that could point Piton at an address inside would read what only the inside may.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up and keeps only the addresses that may be fetched from.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Host names and addresses whose being private is meant, in lower case.
    trusted: Arc<BTreeSet<String>>,
}

impl Guard {
    /// A guard that lets these hosts through, wherever they are.
    pub fn new(trusted: impl IntoIterator<Item = String>) -> Self {
        let trusted = trusted.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { trusted: Arc::new(trusted) }
    }

    /// Whether the URL may be asked at all. A host that is a name is judged again when it is looked up.
    pub fn allows(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return false;
        };
        let bare = host.trim_matches(['[', ']']);
        self.trusts(bare) || bare.parse::<IpAddr>().map_or(true, is_public)
    }

    fn trusts(&self, host: &str) -> bool {
        self.trusted.contains(host.trim_end_matches('.'))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = self.trusts(&name.as_str().to_ascii_lowercase());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| trusted || is_public(address.ip())).collect();
            if allowed.is_empty() {
                let refusal = io::Error::new(io::ErrorKind::PermissionDenied, "its address is not public");
                return Err(refusal.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet, by IANA's registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => embedded_v4(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Shared by providers and their customers (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        // Protocol assignments, 6to4 relays, benchmarks.
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && matches!(b, 18 | 19));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is given out, and of that not documentation, benchmarks and Teredo.
    let is_special = matches!((first, second), (0x2001, 0 | 2 | 0xdb8) | (0x3fff, 0..=0xfff));
    first & 0xe000 == 0x2000 && !is_special
}

/// The IPv4 address that an IPv6 one stands for: mapped, translated (NAT64), tunnelled (6to4).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn urls_are_judged_by_scheme_and_written_address() {
        let guard = Guard::new(["Images.Internal".to_owned(), "10.0.0.7".to_owned()]);
        let allows = |url: &str| guard.allows(&Url::parse(url).unwrap());
        assert!(
            allows("https://example.com/x.png")
                && allows("http://10.0.0.7:9000/x")
                && allows("http://images.internal/x")
        );
        for refused in [
            "ftp://example.com/x",
            "file:///etc/passwd",
            "http://127.1/x",
            "http://[::1]/x",
            "http://0x7f000001/",
        ] {
            assert!(!allows(refused), "{refused}");
        }
    }
}
