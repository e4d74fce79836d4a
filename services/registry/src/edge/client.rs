//! Who is at the other end: the user, or else the address, also behind a proxy that the configuration names.

use crate::{config::Network, domain::Client};
use actix_http::{HttpMessage, Request};
use actix_web::http::header::{HeaderMap, HeaderName};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// To which each proxy adds the address that it was asked from.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Bits of an IPv6 address that tell whose it is: one client may take any address of its network.
const IPV6_NETWORK_BITS: u32 = 64;

/// Whom a request is counted for. `None` where the connection has no address.
pub(super) fn client_of(request: &Request, user: Option<&Arc<str>>, proxies: &[Network]) -> Option<Client> {
    match user {
        Some(name) => Some(Client::User(Arc::clone(name))),
        None => {
            let peer = request.peer_addr()?.ip();
            Some(Client::Address(of_network(behind_proxies(
                peer,
                request.headers(),
                proxies,
            ))))
        }
    }
}

/// The last address on the way that is not of a known proxy. What a stranger says of those before it is not believed.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let told: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for text in told.into_iter().rev() {
        if !is_proxy(client) {
            break;
        }
        match address(text.trim()) {
            Some(before) => client = before.to_canonical(),
            None => break,
        }
    }
    client
}

/// Some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(with_port)
}

fn of_network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_NETWORK_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::test::TestRequest;

    fn client(peer: &str, told: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "::1"].map(|network| network.parse().expect(network));
        let mut request = TestRequest::default();
        for value in told {
            request.append_header((X_FORWARDED_FOR, *value));
        }
        let mut request = request.finish();
        request.head_mut().peer_addr = Some(peer.parse().expect(peer));
        client_of(&request, None, &proxies).map_or_else(String::new, |client| client.to_string())
    }

    #[test]
    fn a_proxy_is_believed_and_a_stranger_is_not() {
        for (peer, told, expected) in [
            ("192.0.2.1:9", &["203.0.113.7"][..], "192.0.2.1"),
            ("10.0.0.1:9", &[], "10.0.0.1"),
            ("10.0.0.1:9", &["203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1:9", &["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1:9", &["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1:9", &["198.51.100.1", "203.0.113.7:4711"], "203.0.113.7"),
            ("10.0.0.1:9", &["203.0.113.7, unknown"], "10.0.0.1"),
            (
                "[::ffff:10.0.0.1]:9",
                &["[2001:db8:1:2:3::4]:5"],
                "2001:db8:1:2::",
            ),
            ("[::1]:9", &["2001:db8:1:2:3::4"], "2001:db8:1:2::"),
        ] {
            assert_eq!(
                client(peer, told),
                format!("address {expected}"),
                "{peer} {told:?}"
            );
        }
    }
}
