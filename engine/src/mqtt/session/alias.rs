//! Topic aliases of one connection (MQTT 5.0 §3.3.2.3.4).

use crate::mqtt::{codec::Text, violation::Violation};

/// Topic Alias Maximum that is announced: so many topics are kept for each connection.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 64;

/// Topics by alias. They are copies, because a shared one would pin the chunk it was read into.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    topics: Vec<Text>,
}

impl Aliases {
    /// Forgets all: they belong to a connection (MQTT 5.0 §3.3.2.3.4).
    pub(super) fn clear(&mut self) {
        self.topics.clear();
    }

    /// Defines `alias` if `topic` is not empty, or else puts the topic it stands for in place of it.
    ///
    /// # Errors
    /// [`Violation::UnknownAlias`].
    pub(super) fn resolve(&mut self, alias: u16, topic: &mut Text) -> Result<(), Violation> {
        debug_assert!((1..=TOPIC_ALIAS_MAXIMUM).contains(&alias), "the codec has checked it");
        let index = usize::from(alias) - 1;
        if topic.is_empty() {
            let known = self.topics.get(index).filter(|known| !known.is_empty());
            *topic = known.ok_or(Violation::UnknownAlias { alias })?.clone();
            return Ok(());
        }
        if self.topics.len() <= index {
            self.topics.resize(index + 1, Text::new());
        }
        if self.topics[index] != topic.as_str() {
            self.topics[index] = Text::from(topic.as_str());
        }
        Ok(())
    }
}
