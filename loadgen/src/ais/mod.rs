//! AIS traffic: recorded sentences and a synthetic fleet.

pub(crate) mod fleet;
pub mod nmea;
pub(crate) mod sentence;
