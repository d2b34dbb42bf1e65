//! Whether messages are taken, and what is not as it should be although they are.

use std::time::Instant;

use fairlead_spool::State;

use super::status::{Board, CONTROL, KafkaStatus, SessionState, SessionStatus, SpoolStatus, TopicStatus};

/// The answer of `/readyz`. Messages are taken when every session is subscribed and what they send is acknowledged: by
/// Kafka, or while Kafka is away by the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why messages are not taken, one line each.
    pub unready: Vec<String>,
    /// What is not as it should be while they are, one line each.
    pub degraded: Vec<String>,
}

impl Health {
    /// Messages are taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready.is_empty()
    }

    /// Everything is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.unready.is_empty() && self.degraded.is_empty()
    }

    /// `names` are those of the sessions.
    pub(super) fn of(board: &Board, names: &[String], now: Instant) -> Health {
        let mut health = Health::default();
        let down = names.iter().zip(&board.sessions).filter(|(_, session)| session.state != SessionState::Subscribed);
        health.unready.extend(down.map(|(name, session)| session_text(name, session)));
        for (shard, (kafka, spool)) in board.kafka.iter().zip(&board.spools).enumerate() {
            health.judge_kafka(shard, kafka, spool.as_ref(), now);
            if let Some(spool) = spool {
                health.judge_spool(shard, spool, kafka.reachable);
            }
        }
        for (name, topic) in &board.topics {
            health.judge_topic(name, topic, board);
        }
        health
    }

    fn judge_kafka(&mut self, shard: usize, kafka: &KafkaStatus, spool: Option<&SpoolStatus>, now: Instant) {
        if kafka.reachable {
            return;
        }
        let reason = kafka.reason.as_deref().unwrap_or("not connected yet");
        let since = kafka
            .since
            .map_or_else(String::new, |since| format!(" for {} s", now.saturating_duration_since(since).as_secs()));
        let text = format!("shard {shard}: Kafka is not reachable{since}: {reason}");
        // Before the first attempt ended nothing is known of its topics either, and all waits for that.
        if kafka.is_away() && spool.is_some_and(SpoolStatus::takes) {
            self.degraded.push(format!("{text}; messages go to the spool"));
        } else {
            self.unready.push(text);
        }
    }

    fn judge_spool(&mut self, shard: usize, spool: &SpoolStatus, reachable: bool) {
        let full = match spool.state {
            _ if spool.fenced => Some("takes nothing any more since its disk failed; replace the disk and restart"),
            State::Ok => None,
            State::High => Some("is more than 80 % full; raise [spool] max, or see to Kafka"),
            State::Full => Some("is full: nothing is read until Kafka has taken enough; raise [spool] max"),
        };
        let silent =
            (spool.silent > 0).then(|| format!("waits for its disk, which has not answered for {} s", spool.silent));
        for text in full.map(str::to_owned).into_iter().chain(silent) {
            let broken = spool.fenced || spool.silent > 0;
            let stops = !spool.takes() && (!reachable || (broken && spool.always));
            let reasons = if stops { &mut self.unready } else { &mut self.degraded };
            reasons.push(format!("shard {shard}: the spool {text}"));
        }
        if spool.parked > 0 {
            self.degraded.push(format!(
                "shard {shard}: {} partition(s) take nothing while others do, and {} messages for them are parked in the spool; \
                 the log says which",
                spool.parked, spool.parked_records
            ));
        }
        if spool.damaged || spool.corrupt > 0 {
            self.degraded.push(format!(
                "shard {shard}: {} records of the spool were durable and are damaged or gone; see `fairlead spool verify`",
                spool.corrupt
            ));
        }
        if spool.stuck_dead_letters > 0 {
            self.degraded.push(format!(
                "shard {shard}: the dead-letter log has no room: {} dead letters wait and are not acknowledged; see to them with `fairlead dead-letter`, or raise [spool] max",
                spool.stuck_dead_letters
            ));
        }
        if spool.quarantined > 0 {
            self.degraded.push(format!(
                "shard {shard}: {} damaged segments of the spool are in its folder quarantine",
                spool.quarantined
            ));
        }
    }

    fn judge_topic(&mut self, name: &str, topic: &TopicStatus, board: &Board) {
        let Some(reason) = topic.holds.values().next() else { return };
        let text = format!("topic {name} is on hold: {reason}");
        let held = |shard: usize| topic.holds.contains_key(&shard) || topic.holds.contains_key(&CONTROL);
        let mut spools = board.spools.iter().enumerate().filter(|(shard, _)| held(*shard));
        let takes = spools.all(|(_, spool)| spool.is_some_and(|spool| spool.takes()));
        // What Kafka does not have, or cannot be asked for because it is away, are two things: only the second goes to
        // the spool.
        let known = topic.partitions.is_some() || board.kafka.iter().all(KafkaStatus::is_away);
        if known && takes {
            self.degraded.push(format!("{text}; its messages go to the spool"));
        } else {
            self.unready.push(text);
        }
    }
}

fn session_text(name: &str, session: &SessionStatus) -> String {
    let said = session.reason.as_deref().is_some_and(|reason| reason.contains(&session.url));
    let at = if said || session.url.is_empty() { String::new() } else { format!(" at {}", session.url) };
    let because = session.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("session {name}: {}{at}{because}", session.state.label())
}
