//! One doorbell for everything that comes to a shard from outside: rings, librdkafka's queue, the control plane.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;

/// Wakes the task that waits for it. Ringing costs one atomic swap while the reader is awake.
#[derive(Debug, Default)]
pub struct Doorbell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Doorbell {
    /// Wakes the reader, or lets its next wait return at once.
    pub fn ring(&self) {
        // A doorbell that is already rung has already woken its reader.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Waits until it has been rung since the last wait returned.
    pub fn wait(&self) -> Wait<'_> {
        Wait(self)
    }
}

/// Resolves when the doorbell has been rung.
#[derive(Debug)]
pub struct Wait<'a>(&'a Doorbell);

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the look, so that a ring in between is not missed.
        self.0.waker.register(cx.waker());
        if self.0.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ring_before_or_after_the_wait_is_seen_once() {
        let bell = Doorbell::default();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        bell.ring();
        assert!(Pin::new(&mut bell.wait()).poll(&mut cx).is_ready());
        assert!(Pin::new(&mut bell.wait()).poll(&mut cx).is_pending());
        bell.ring();
        bell.ring();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(Pin::new(&mut bell.wait()).poll(&mut cx).is_ready());
    }
}
