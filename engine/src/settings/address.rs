//! Addresses of brokers: URLs of MQTT, and `host:port` of Kafka.

use http::{Uri, uri::Authority};

use super::{Address, problem::What};

/// The registered port of MQTT.
const MQTT_PORT: u16 = 1883;

/// Reads the URL of an MQTT broker. The texts name no part of it that could be a password.
pub(super) fn mqtt(url: &str) -> Result<Address, What> {
    let (scheme, rest) = url.split_once("://").ok_or(What::Url("there is no scheme".to_owned()))?;
    match scheme.to_ascii_lowercase().as_str() {
        "mqtt" => {}
        "mqtts" | "ssl" | "tls" | "ws" | "wss" => return Err(What::UrlLater(scheme.to_owned())),
        _ => return Err(What::UrlScheme(scheme.to_owned())),
    }
    if rest.contains('@') {
        return Err(What::UrlCredentials);
    }
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| What::Url(error.to_string()))?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || rest.contains('#') {
        return Err(What::UrlPath);
    }
    let authority = uri.authority().ok_or(What::Url("there is no host".to_owned()))?;
    host_port(authority).map(|(host, port)| Address { host, port: port.unwrap_or(MQTT_PORT) })
}

/// Host and port, an IPv6 address without its brackets.
fn host_port(authority: &Authority) -> Result<(String, Option<u16>), What> {
    let host = authority.host();
    let after = authority.as_str().strip_prefix(host).unwrap_or_default();
    let port = match after.strip_prefix(':').map(str::parse::<u16>) {
        None if after.is_empty() => None,
        Some(Ok(port)) if port > 0 => Some(port),
        _ => return Err(What::UrlPort),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(What::Url("there is no host".to_owned()));
    }
    Ok((host.to_owned(), port))
}

/// Checks a list of Kafka brokers, `host:port` with commas between, and returns it without blanks.
pub(super) fn kafka(brokers: &str) -> Result<String, What> {
    let list: Vec<&str> = brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()).collect();
    if list.is_empty() {
        return Err(What::NoBroker);
    }
    for broker in &list {
        let wrong = || What::Broker((*broker).to_owned());
        let authority: Authority = broker.parse().map_err(|_| wrong())?;
        if broker.contains('@') || host_port(&authority).is_err() {
            return Err(wrong());
        }
    }
    Ok(list.join(","))
}
