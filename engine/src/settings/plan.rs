//! From sources and routes to sessions: who connects under which name, and subscribes to what.

use super::{Host, Subscription, problem::What};
use crate::route::{
    Filter,
    cover::{self, Cover},
};

/// Longest client identifier (MQTT 5.0 §1.5.4).
const MAX_CLIENT_ID: usize = 65_535;

/// What a source subscribes to: the smallest set that covers its routes' filters, in the order of the routes.
pub(super) fn subscriptions(filters: &[&Filter]) -> Cover {
    cover::subscriptions(filters)
}

/// Spreads the subscriptions of a source over its sessions, those that overlap together; in a shared-subscription group
/// (MQTT 5.0 §4.8.2) every session takes all.
pub(super) fn spread(
    cover: &Cover,
    filters: &[&Filter],
    sessions: usize,
    share: Option<&str>,
) -> Vec<Vec<Subscription>> {
    let mut spread = vec![Vec::new(); sessions];
    for covering in &cover.subscriptions {
        let filter = filters[covering.filter].as_mqtt();
        match share {
            None => spread[covering.group % sessions].push(Subscription { filter, id: covering.id }),
            Some(group) => {
                let filter = format!("$share/{group}/{filter}");
                for session in &mut spread {
                    session.push(Subscription { filter: filter.clone(), id: covering.id });
                }
            }
        }
    }
    spread
}

/// Renders a client identifier from its template: `{source}`, `{session}` (from 0) and `{host}`.
pub(super) fn client_id(template: &str, source: &str, session: usize, host: &Host) -> Result<String, What> {
    let mut id = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        id.push_str(&rest[..at]);
        let (name, after) =
            rest[at..].strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(What::PlaceholderOpen)?;
        match name {
            "source" => id.push_str(source),
            "session" => id.push_str(&session.to_string()),
            "host" => id.push_str(&host.name),
            _ => return Err(What::Placeholder(name.to_owned())),
        }
        rest = after;
    }
    id.push_str(rest);
    match id.len() {
        0 => Err(What::ClientIdEmpty),
        length if length > MAX_CLIENT_ID => Err(What::ClientIdLong(length)),
        _ if id.chars().any(char::is_control) => Err(What::ClientIdControl),
        _ => Ok(id),
    }
}
