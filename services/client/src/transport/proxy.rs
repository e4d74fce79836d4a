//! Proxies: which one a request goes through, as the environment says it for other tools.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` (or the same in lower case) mean here what they mean to Docker, skopeo and oras.
//! Left out: proxies that are spoken to over TLS or SOCKS, and automatic configuration.
//!
//! Source: the documentation of Go's `golang.org/x/net/http/httpproxy`, which those tools use.

use crate::{Error, Result};
use base64::Engine;
use std::{fmt, net::IpAddr};
use url::Url;

/// The port of a proxy that is written without one.
const DEFAULT_PROXY_PORT: u16 = 80;

/// The proxies of a process, and who is reached without one. The default is none at all.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    direct: Vec<Direct>,
}

/// A proxy, or what is wrong with it, told by whoever needs it first.
type Named = std::result::Result<Proxy, String>;

/// An HTTP proxy. Its debug form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Without brackets, where it is an IPv6 address.
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
    /// The variable that names it, for errors.
    pub variable: &'static str,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", authority(&self.host, self.port), self.variable)
    }
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    /// `*`
    Everyone,
    /// `10.0.0.0/8`
    Network(IpAddr, u32),
    /// `10.1.2.3`, `[::1]:5000`
    Address(IpAddr, Option<u16>),
    /// `example.com`: it and what is below it; `.example.com` or `*.example.com`: only what is below it.
    Name {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

/// `HOST:PORT` as it stands in a request, an IPv6 address in brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The host of a URL without brackets, and its port or that of its scheme.
pub(super) fn host_and_port(url: &Url) -> (String, u16) {
    let host = url.host_str().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    (host.to_owned(), url.port_or_known_default().unwrap_or_default())
}

impl Proxies {
    /// What the environment says. A proxy that cannot be used is an error only for a request that would go through it.
    pub fn from_environment() -> Proxies {
        Proxies::read(|name| std::env::var(name).ok())
    }

    /// As [`Proxies::from_environment`], from variables of the caller's.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |upper: &str, lower: &str| {
            let found = variable(upper).filter(|value| !value.is_empty());
            found.or_else(|| variable(lower)).unwrap_or_default()
        };
        let named = |variable, lower| {
            let value = either(variable, lower);
            (!value.is_empty()).then(|| Proxy::parse(&value, variable))
        };
        let direct = either("NO_PROXY", "no_proxy");
        Proxies {
            http: named("HTTP_PROXY", "http_proxy"),
            https: named("HTTPS_PROXY", "https_proxy"),
            direct: direct.split(',').filter_map(Direct::parse).collect(),
        }
    }

    /// The proxy for requests to this URL; `None`: they go there directly.
    ///
    /// # Errors
    /// `Usage` if there is a proxy for it which cannot be used.
    pub(crate) fn for_url(&self, url: &Url) -> Result<Option<&Proxy>> {
        let named = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        let Some(named) = named else { return Ok(None) };
        let (host, port) = host_and_port(url);
        let loopback = crate::settings::is_loopback(url.host_str().unwrap_or_default());
        if loopback || self.direct.iter().any(|direct| direct.covers(&host, port)) {
            return Ok(None);
        }
        named.as_ref().map(Some).map_err(|why| Error::Usage(why.clone()))
    }
}

impl Proxy {
    /// Reads `[http://][USER[:PASSWORD]@]HOST[:PORT]`.
    fn parse(value: &str, variable: &'static str) -> Named {
        let bad = |why: &str| {
            format!(
                "{variable} names no proxy that can be used: {why}; expected http://[USER:PASSWORD@]HOST:PORT"
            )
        };
        let whole = match value.contains("://") {
            true => value.to_owned(),
            false => format!("http://{value}"),
        };
        let url = Url::parse(&whole).map_err(|e| bad(&e.to_string()))?;
        if url.scheme() != "http" {
            return Err(bad(&format!(
                "it is spoken to by {}, which is not supported",
                url.scheme()
            )));
        }
        let (host, _) = host_and_port(&url);
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        let pair = format!(
            "{}:{}",
            decoded(url.username()),
            decoded(url.password().unwrap_or_default())
        );
        Ok(Proxy {
            host,
            port: url.port().unwrap_or(DEFAULT_PROXY_PORT),
            authorization: (pair != ":")
                .then(|| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))),
            variable,
        })
    }
}

impl Direct {
    /// `None` for an entry that is empty.
    fn parse(text: &str) -> Option<Direct> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Direct::Everyone);
        }
        if let Some((network, length)) = text.split_once('/')
            && let (Ok(network), Ok(length)) = (network.parse(), length.parse())
        {
            return Some(Direct::Network(network, length));
        }
        if let Ok(address) = text.parse() {
            return Some(Direct::Address(address, None));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
            _ => (text.as_str(), None),
        };
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Some(Direct::Address(address, port));
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        let below = name.strip_prefix('.');
        let (name, itself) = (below.unwrap_or(name).to_owned(), below.is_none());
        (!name.is_empty()).then_some(Direct::Name { name, itself, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        let address = host.parse::<IpAddr>();
        match self {
            Direct::Everyone => true,
            Direct::Network(network, length) => address.is_ok_and(|a| is_within(a, *network, *length)),
            Direct::Address(wanted, wanted_port) => address.is_ok_and(|a| a == *wanted) && fits(wanted_port),
            Direct::Name {
                name,
                itself,
                port: wanted_port,
            } => {
                let host = host.to_ascii_lowercase();
                let is_below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                (is_below || (*itself && host == *name)) && fits(wanted_port)
            }
        }
    }
}

/// Whether the first bits of two addresses of one family are the same.
fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => u128::from(a.to_bits() ^ n.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(n)) => a.to_bits() ^ n.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        Proxies::read(find)
    }

    fn chosen(proxies: &Proxies, url: &str) -> String {
        let url = Url::parse(url).expect("a URL");
        match proxies.for_url(&url) {
            Ok(None) => "direct".to_owned(),
            Ok(Some(proxy)) => proxy.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_scheme_has_its_variable_in_upper_or_lower_case() {
        let both = proxies(&[
            ("HTTPS_PROXY", "http://secure.example:3128"),
            ("http_proxy", "plain.example"),
        ]);
        for (url, expected) in [
            ("https://ghcr.io/v2/", "secure.example:3128 (HTTPS_PROXY)"),
            ("http://ghcr.io/v2/", "plain.example:80 (HTTP_PROXY)"),
            ("http://localhost:5000/v2/", "direct"),
            ("http://127.0.0.1:5000/v2/", "direct"),
            ("https://[::1]:5000/v2/", "direct"),
        ] {
            assert_eq!(chosen(&both, url), expected, "{url}");
        }
        assert_eq!(chosen(&Proxies::default(), "https://ghcr.io/"), "direct");
    }

    #[test]
    fn whoever_no_proxy_covers_is_reached_directly() {
        for (covering, host, expected) in [
            ("*", "ghcr.io", true),
            ("ghcr.io", "ghcr.io", true),
            ("ghcr.io", "a.ghcr.io", true),
            ("ghcr.io", "notghcr.io", false),
            (".ghcr.io", "ghcr.io", false),
            (".ghcr.io", "a.ghcr.io", true),
            ("*.ghcr.io", "a.ghcr.io", true),
            ("GHCR.IO", "ghcr.io", true),
            ("a.b, ghcr.io", "ghcr.io", true),
            ("ghcr.io:443", "ghcr.io", true),
            ("ghcr.io:5000", "ghcr.io", false),
            ("ghcr.io:5000", "ghcr.io:5000", true),
            ("10.0.0.0/8", "10.9.8.7:5000", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("10.1.2.3", "10.1.2.3:5000", true),
            ("10.1.2.3:80", "10.1.2.3:5000", false),
            ("fd00::/8", "[fd12::1]:5000", true),
            ("fd00::/8", "10.1.2.3", false),
            ("[fd12::1]:5000", "[fd12::1]:5000", true),
            ("", "ghcr.io", false),
            (",", "ghcr.io", false),
        ] {
            let set = proxies(&[("HTTPS_PROXY", "p.example"), ("NO_PROXY", covering)]);
            let direct = chosen(&set, &format!("https://{host}/v2/")) == "direct";
            assert_eq!(direct, expected, "{covering:?} {host}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_without_its_password_and_only_to_who_needs_it() {
        for value in [
            "socks5://user:hunter2@p.example:1080",
            "https://user:hunter2@p.example",
            "http://",
        ] {
            let set = proxies(&[("HTTPS_PROXY", value), ("NO_PROXY", "near.example")]);
            let told = chosen(&set, "https://ghcr.io/v2/");
            assert!(
                told.contains("HTTPS_PROXY names no proxy") && !told.contains("hunter2"),
                "{told}"
            );
            assert_eq!(chosen(&set, "https://near.example/v2/"), "direct");
            assert_eq!(chosen(&set, "http://ghcr.io/v2/"), "direct");
        }
    }

    #[test]
    fn a_password_is_sent_and_never_shown() {
        let proxy = Proxy::parse("http://user:p%40ss@p.example:1", "HTTP_PROXY").expect("a proxy");
        // "user:p@ss"
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpwQHNz"));
        assert!(!format!("{proxy:?}").contains("dXNl"), "{proxy:?}");
    }
}
