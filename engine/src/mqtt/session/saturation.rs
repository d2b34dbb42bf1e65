//! When the broker sends nothing more before it gets an acknowledgement, as far as can be told.

use std::time::Duration;

use super::Session;

/// A broker that sends nothing for so long, although messages are in flight, may be waiting for acknowledgements: see
/// [`Session::may_be_saturated`].
pub const SILENT: Duration = Duration::from_millis(20);

impl Session {
    /// Whether the broker will send nothing more before it gets an acknowledgement, as far as can be told: a batch
    /// that waits for more would wait in vain. [`Session::handle_stalled`] teaches it.
    #[must_use]
    pub fn saturated(&self) -> bool {
        self.window.saturated()
    }

    /// Whether the broker may be waiting for an acknowledgement, if it has sent nothing for a while.
    #[must_use]
    pub fn may_be_saturated(&self) -> bool {
        self.window.may_be_saturated()
    }

    /// A whole linger of the lane has passed without anything new from this session.
    pub fn handle_stalled(&mut self) {
        self.window.stalled();
    }
}
