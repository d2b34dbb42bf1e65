//! Where a broker is.

use super::lost::BrokerError;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A broker's address: `mqtt://[user:password@]host[:port]`.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Name or address.
    pub host: String,
    /// 1883 where the URL names none.
    pub port: u16,
    /// User name and password.
    pub login: Option<(String, String)>,
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never with the password.
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix("mqtt://")
            .or_else(|| text.strip_prefix("tcp://"))
            .ok_or("the broker's URL must start with mqtt:// (TLS is not supported)")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((user.to_owned(), password.to_owned())), address)
            }
            None => (None, rest),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
                (host, port)
            }
            _ => (address, 1_883),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("the broker's URL names no host".to_owned());
        }
        Ok(Self { host: host.to_owned(), port, login })
    }
}

impl BrokerUrl {
    /// The addresses behind the name: at least one.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, BrokerError> {
        let failed = |cause: String| BrokerError { url: self.clone(), cause };
        let resolved = (self.host.as_str(), self.port).to_socket_addrs().map_err(|cause| failed(cause.to_string()))?;
        let addresses: Vec<_> = resolved.collect();
        if addresses.is_empty() { Err(failed("the name has no address".to_owned())) } else { Ok(addresses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let url: BrokerUrl = "mqtt://me:pass@host.example:1884/".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("host.example", 1884));
        assert_eq!(url.login, Some(("me".to_owned(), "pass".to_owned())));
        assert!(!format!("{url:?}").contains("pass"));
        let url: BrokerUrl = "tcp://[::1]".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 1883));
        for bad in ["127.0.0.1:1883", "mqtts://a", "mqtt://", "mqtt://a:b"] {
            assert!(bad.parse::<BrokerUrl>().is_err(), "{bad}");
        }
    }
}
