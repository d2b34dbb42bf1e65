//! AIS traffic: recorded sentences, and a world of ships.

pub mod nmea;
pub mod payload;
pub mod record;
pub(crate) mod sentence;
pub(crate) mod world;
