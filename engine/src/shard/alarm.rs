//! One timer of a task, armed for the earliest deadline it has been told.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use glommio::timer::Timer;

/// Fires at or before the deadline; a later deadline than the armed one is taken up when that one fires, so that a
/// deadline which moves with every packet costs nothing.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<(Instant, Timer)>);

impl Alarm {
    /// Ready when the armed deadline is over; the caller looks again and polls with the next one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let armed = match &mut self.0 {
            Some(armed) if armed.0 <= deadline => armed,
            slot => slot.insert((deadline, Timer::new(deadline.saturating_duration_since(now)))),
        };
        if Pin::new(&mut armed.1).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(())
    }
}
