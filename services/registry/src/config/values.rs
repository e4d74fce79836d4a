//! Values with a text form of their own: durations as Go writes them, addresses to listen on, the format's version.

use super::{
    Anonymous, ArtifactsExtension, BlobDescriptorCache, Durability, ExtExtension, LogFormatter, LogLevel,
    Required, Version,
};
use serde::{Deserialize, Deserializer, de};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
    time,
};

/// A duration, written as Go writes it: `30s`, `1h30m`, `168h`, `250ms`, or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub time::Duration);

impl Duration {
    /// So many seconds.
    pub const fn seconds(count: u64) -> Duration {
        Duration(time::Duration::from_secs(count))
    }

    /// So many hours.
    pub const fn hours(count: u64) -> Duration {
        Duration::seconds(count * 3600)
    }

    /// As the standard library has it.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

/// Units of a duration and their length in nanoseconds; longer names first where one begins another.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Duration, String> {
        let wrong =
            || format!("{text:?} is not a duration: expected numbers with units, such as 30s, 1h30m or 168h");
        if text == "0" {
            return Ok(Duration::seconds(0));
        }
        if text.is_empty() {
            return Err(wrong());
        }
        let mut nanoseconds = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let end = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .map_or(rest.len(), |n| digits + n);
            let unit = &rest[digits..end];
            let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let part = count.checked_mul(*length).ok_or_else(wrong)?;
            nanoseconds = nanoseconds.checked_add(part).ok_or_else(wrong)?;
            rest = &rest[end..];
        }
        Ok(Duration(time::Duration::from_nanos(nanoseconds)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// An address to listen on: `127.0.0.1:5000`, `localhost:5000`, `[::1]:5000`, or `:5000` for every interface. Port 0
/// lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    host: String,
    port: u16,
}

impl Listen {
    /// A port of this machine alone.
    pub fn loopback(port: u16) -> Listen {
        Listen {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port,
        }
    }

    /// The port, as written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses to bind; several for a name such as `localhost`.
    ///
    /// # Errors
    /// The resolver's, for a name that it does not know.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            return Ok(vec![
                (Ipv6Addr::UNSPECIFIED, self.port).into(),
                (Ipv4Addr::UNSPECIFIED, self.port).into(),
            ]);
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// Where a client on this machine reaches it: every interface is reached by the loopback.
    pub fn reachable(&self) -> String {
        let host = match self.host.as_str() {
            "" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let wrong = || {
            format!(
                "{text:?} is not an address to listen on: expected host:port, such as 127.0.0.1:5000 or :5000"
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port: u16 = if digits {
            port.parse().map_err(|_| wrong())?
        } else {
            return Err(wrong());
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None => host.to_owned(),
        };
        let is_name = host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if is_name || host.parse::<Ipv6Addr>().is_ok() && text.starts_with('[') {
            Ok(Listen { host, port })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A number of bytes: `4194304`, `4MiB`, `512KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteCount, String> {
        let wrong = || format!("{text:?} is not a number of bytes: expected such as 4194304 or 4MiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let factor = match text[digits..].trim_start() {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
        count.checked_mul(factor).map(ByteCount).ok_or_else(wrong)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        if text == "0.1" {
            Ok(Version)
        } else {
            Err(format!(
                "{text:?} is not a version of the configuration's format: expected 0.1"
            ))
        }
    }
}

/// Reads a type from its text, also where the file has a bare number.
macro_rules! deserialize_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

deserialize_from_text!(ByteCount, Duration, Listen, Version);

/// Reads a choice from one of its words.
macro_rules! deserialize_from_words {
    ($($type:ty { $($word:literal => $value:ident),* })*) => {$(
        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<$type, String> {
                match text {
                    $($word => Ok(<$type>::$value),)*
                    _ => Err(format!("{text:?} is not known here: expected {}", [$($word),*].join(", "))),
                }
            }
        }

        deserialize_from_text!($type);
    )*};
}

deserialize_from_words! {
    LogLevel { "error" => Error, "warn" => Warn, "warning" => Warn, "info" => Info, "debug" => Debug, "trace" => Trace }
    LogFormatter { "text" => Text, "json" => Json }
    Durability { "full" => Full, "none" => None }
    BlobDescriptorCache { "inmemory" => InMemory }
    Anonymous { "none" => None, "pull" => Pull }
    Required { "all" => All, "none" => None }
    ArtifactsExtension { "referrers" => Referrers }
    ExtExtension { "discover" => Discover }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("168h", 604_800_000),
            ("250ms", 250),
            ("1m0s", 60_000),
        ] {
            let duration: Duration = text.parse().expect(text);
            assert_eq!(duration.get().as_millis(), milliseconds, "{text}");
        }
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5h",
            "1d",
            "30 s",
            "99999999999999999999s",
            "9999999999999h",
        ] {
            let error = bad.parse::<Duration>().expect_err(bad);
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn addresses_are_read_in_their_usual_forms() {
        for (text, reachable) in [
            (":5001", "127.0.0.1:5001"),
            ("localhost:5001", "localhost:5001"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let listen: Listen = text.parse().expect(text);
            assert_eq!(listen.reachable(), reachable, "{text}");
            assert_eq!(listen.to_string(), text);
        }
        for bad in [
            "",
            "5001",
            "localhost",
            "localhost:",
            "localhost:x",
            ":70000",
            ":+1",
            "::1:80",
            "[x]:1",
            "a b:1",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn byte_counts_may_have_a_unit() {
        assert_eq!("4MiB".parse(), Ok(ByteCount(4 << 20)));
        assert_eq!("17".parse(), Ok(ByteCount(17)));
        for bad in ["", "MiB", "4MB", "-1", "99999999999GiB"] {
            assert!(bad.parse::<ByteCount>().is_err(), "{bad}");
        }
    }
}
