//! Waking one task of an executor from another task of the same executor.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

/// Wakes the task that polls it; rings before a poll are not lost.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the task, or lets its next poll return at once.
    pub(super) fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Ready when it has been rung since it was last ready.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rung.take() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
