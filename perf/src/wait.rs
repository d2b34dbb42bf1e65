//! Waiting for facts of other processes, until a deadline or until somebody presses Ctrl-C.

use anyhow::{Result, bail, ensure};
use fairlead_tests::{now, pause};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks. They cost the machine little beside what is measured.
const INTERVAL: Duration = Duration::from_millis(50);

/// Set by SIGINT and SIGTERM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for the signals; a second one ends the process at once.
    pub(crate) fn on_signal() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Looks at `fact` until it is there.
    pub(crate) fn wait_for<T>(
        &self,
        limit: Duration,
        what: &str,
        mut fact: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let end = now() + limit;
        loop {
            if let Some(found) = fact()? {
                return Ok(found);
            }
            ensure!(!self.0.load(Ordering::Relaxed), "stopped by a signal");
            if now() >= end {
                bail!("{what}: not within {} s", limit.as_secs());
            }
            pause(INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_fact_the_limit_or_a_signal() {
        let stop = Stop::default();
        let mut looks = 0;
        let found = stop.wait_for(Duration::from_secs(60), "three looks", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let late = stop.wait_for(Duration::ZERO, "never", || Ok(None::<()>)).unwrap_err();
        assert_eq!(late.to_string(), "never: not within 0 s");
        stop.0.store(true, Ordering::Relaxed);
        let stopped = stop.wait_for(Duration::from_secs(60), "never", || Ok(None::<()>)).unwrap_err();
        assert_eq!(stopped.to_string(), "stopped by a signal");
    }
}
