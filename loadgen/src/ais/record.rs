//! A decoded AIS message.

use ais::messages::{self, AisMessage, static_data_report::MessagePart};
use serde::Serialize;

/// A whole AIS message.
#[derive(Debug, Clone, PartialEq)]
pub struct AisRecord {
    /// Maritime Mobile Service Identity of the sender.
    pub mmsi: u32,
    /// The last level of its MQTT topic.
    pub kind: &'static str,
    /// What it says.
    pub fields: Fields,
    /// The message itself, without the armour of the sentences.
    pub bits: Vec<u8>,
    /// The sentences, as recorded.
    pub sentences: Vec<String>,
}

/// What an AIS message says; what it leaves out, or has no value for, is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Fields {
    /// Degrees, north is positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f32>,
    /// Degrees, east is positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f32>,
    /// Speed over ground in knots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f32>,
    /// Course over ground in degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub course: Option<f32>,
    /// True heading in degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading: Option<u16>,
    /// The name of the vessel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl AisRecord {
    /// `ais/<mmsi>/<kind>`, the MMSI with its nine digits.
    pub fn topic(&self) -> String {
        format!("ais/{:09}/{}", self.mmsi, self.kind)
    }

    /// Decodes what the sentences carry together; `None` where it is too short for an MMSI.
    pub(super) fn decode(sentences: Vec<String>, data: &str, fill_bits: u8) -> Option<Self> {
        let bits = messages::unarmor(data.as_bytes(), usize::from(fill_bits)).ok()?;
        let mmsi = mmsi(&bits, data)?;
        let message = messages::parse(&bits).ok();
        let (kind, fields) =
            message.map_or(("unknown", Fields::default()), |message| (kind(&message), fields(message)));
        Some(Self { mmsi, kind, fields, bits, sentences })
    }
}

/// Bits 8 to 37 of every message (ITU-R M.1371 annex 8).
fn mmsi(bits: &[u8], data: &str) -> Option<u32> {
    const MMSI_ENDS_AT_BIT: usize = 38;
    if data.len() * 6 < MMSI_ENDS_AT_BIT {
        return None;
    }
    let word: [u8; 4] = bits.get(1..5)?.try_into().ok()?;
    Some(u32::from_be_bytes(word) >> 2)
}

/// The last level of the topic.
fn kind(message: &AisMessage) -> &'static str {
    match message {
        AisMessage::PositionReport(_)
        | AisMessage::StandardClassBPositionReport(_)
        | AisMessage::ExtendedClassBPositionReport(_)
        | AisMessage::StandardAircraftPositionReport(_)
        | AisMessage::LongRangeAisBroadcastMessage(_) => "position",
        AisMessage::StaticAndVoyageRelatedData(_) | AisMessage::StaticDataReport(_) => "static",
        AisMessage::BaseStationReport(_) => "base",
        AisMessage::AidToNavigationReport(_) => "aton",
        AisMessage::UtcDateInquiry(_) | AisMessage::UtcDateResponse(_) => "utc",
        AisMessage::BinaryAddressedMessage(_)
        | AisMessage::BinaryBroadcastMessage(_)
        | AisMessage::BinaryAcknowledgeMessage(_)
        | AisMessage::DgnssBroadcastBinaryMessage(_) => "binary",
        AisMessage::AddressedSafetyRelatedMessage(_)
        | AisMessage::SafetyRelatedBroadcastMessage(_)
        | AisMessage::SafetyRelatedAcknowledgment(_) => "safety",
        AisMessage::Interrogation(_)
        | AisMessage::AssignmentModeCommand(_)
        | AisMessage::DataLinkManagementMessage(_) => "control",
    }
}

fn fields(message: AisMessage) -> Fields {
    let position = |latitude, longitude, speed, course, heading| Fields {
        latitude,
        longitude,
        speed,
        course,
        heading,
        name: None,
    };
    let named = |name, fields| Fields { name: Some(name), ..fields };
    let nothing = Fields::default();
    match message {
        AisMessage::PositionReport(r) => {
            position(r.latitude, r.longitude, r.speed_over_ground, r.course_over_ground, r.true_heading)
        }
        AisMessage::StandardClassBPositionReport(r) => {
            position(r.latitude, r.longitude, r.speed_over_ground, r.course_over_ground, r.true_heading)
        }
        AisMessage::ExtendedClassBPositionReport(r) => {
            named(r.name, position(r.latitude, r.longitude, r.speed_over_ground, r.course_over_ground, r.true_heading))
        }
        AisMessage::StandardAircraftPositionReport(r) => {
            position(r.latitude, r.longitude, r.speed_over_ground, r.course_over_ground, None)
        }
        AisMessage::LongRangeAisBroadcastMessage(r) => {
            position(r.latitude, r.longitude, r.speed_over_ground, r.course_over_ground, None)
        }
        AisMessage::BaseStationReport(r) => position(r.latitude, r.longitude, None, None, None),
        AisMessage::AidToNavigationReport(r) => named(r.name, position(r.latitude, r.longitude, None, None, None)),
        AisMessage::StaticAndVoyageRelatedData(data) => named(data.vessel_name, nothing),
        AisMessage::StaticDataReport(data) => match data.message_part {
            MessagePart::PartA { vessel_name } => named(vessel_name, nothing),
            _ => nothing,
        },
        _ => nothing,
    }
}
