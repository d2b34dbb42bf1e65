//! Looks once at what Kafka's confirmation of each topic is worth, and says so where the loss of one broker can undo it:
//! nothing that Fairlead does makes up for that.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::ask;
use crate::{
    kafka::{MAX_TOPICS, Resolver},
    metrics::Metrics,
};

/// How often it is looked whether there are topics that were not looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at each topic that was found, one after the other.
pub(super) async fn judge(metrics: &Metrics, resolver: &Arc<Resolver>) {
    let mut judged: HashSet<String> = HashSet::new();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let topics = metrics.status().board().topics;
        let found = topics.into_iter().filter(|(_, topic)| topic.partitions.is_some()).map(|(name, _)| name);
        let new: Vec<String> = found.filter(|name| !judged.contains(name)).collect();
        for name in new.into_iter().take(MAX_TOPICS - judged.len()) {
            let (asked, resolver) = (name.clone(), resolver.clone());
            // What cannot be asked now is asked again.
            let Some(Ok(durability)) = ask(move || resolver.durability(&asked)).await else { break };
            if let Some(durability) = durability.filter(|durability| !durability.is_safe()) {
                tracing::warn!(topic = name, "{durability}");
                metrics.status().fragile(&name);
            }
            judged.insert(name);
        }
    }
}
