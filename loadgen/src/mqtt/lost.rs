//! Why a connection to a broker has ended.

use super::{BrokerUrl, Violation};

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the broker refused the connection with code {0:#04x}")]
    Refused(u8),
    #[error("the broker grants no more than QoS {0}")]
    Qos(u8),
    #[error("the broker refused the subscription with code {0:#04x}")]
    Subscription(u8),
    #[error("the broker disconnected with reason {0:#04x}")]
    Disconnected(u8),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the broker did not answer in time")]
    Silent,
    #[error("the broker closed the connection")]
    Closed,
    #[error("{0}")]
    Socket(String),
}

impl Lost {
    /// Whether trying again cannot help.
    pub(crate) fn is_final(&self) -> bool {
        // 3.1.1: 3 is server unavailable; 5: 0x88 unavailable, 0x89 busy, 0x97 quota, 0x9f rate.
        let passing = [3, 0x88, 0x89, 0x97, 0x9f];
        match self {
            Self::Refused(code) => !passing.contains(code),
            Self::Qos(_) | Self::Subscription(_) => true,
            _ => false,
        }
    }

    /// As the end of a run.
    pub(crate) fn of(&self, url: &BrokerUrl) -> BrokerError {
        let advice = match self {
            Self::Silent | Self::Closed | Self::Socket(_) => "; is it running, and does it listen there?",
            _ => "",
        };
        BrokerError { url: url.clone(), cause: format!("{self}{advice}") }
    }
}

/// The broker is not there, or does not want us.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the MQTT broker at {url:?}: {cause}")]
pub struct BrokerError {
    /// Where it should be.
    pub url: BrokerUrl,
    /// What went wrong last, and what to look at.
    pub cause: String,
}
