//! The progress bar: on a terminal alone.

use fairlead_loadgen::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(100);

/// A bar that follows a run until it is dropped.
pub(super) struct Bar {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// `messages` where they are known. Without a terminal nothing is shown.
    pub(super) fn show(progress: &Arc<Progress>, messages: Option<u64>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (progress, flag) = (Arc::clone(progress), Arc::clone(&over));
        // A run without its bar is still a run.
        let start =
            || thread::Builder::new().name("bar".to_owned()).spawn(move || draw(&progress, messages, &flag)).ok();
        Self { thread: stderr().is_terminal().then(start).flatten(), over }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It draws and nothing else: a panic of it says nothing about the run.
            let _ = thread.join();
        }
    }
}

fn draw(progress: &Progress, messages: Option<u64>, over: &AtomicBool) {
    let bar = messages.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = match messages {
        Some(_) => "{wide_bar} {human_pos} of {human_len} · {msg} · {eta} left",
        None => "{spinner} {human_pos} messages in {elapsed} · {msg}",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("our own template"));
    let (mut before, mut rate) = (0, 0.0);
    while !over.load(Ordering::Relaxed) {
        let now = progress.snapshot();
        // At QoS 0 nothing is acknowledged.
        let done = if now.acknowledged > 0 { now.acknowledged } else { now.sent };
        #[expect(clippy::cast_precision_loss, reason = "a tenth of a second has few messages")]
        let last = done.saturating_sub(before) as f64 / EVERY.as_secs_f64();
        rate = if before == 0 { last } else { 0.8 * rate + 0.2 * last };
        before = done;
        bar.set_position(done);
        bar.set_message(format!("{rate:.0} msg/s · p99 {:.1} ms", now.to_ack.p99_ms));
        thread::park_timeout(EVERY);
    }
    bar.finish_and_clear();
}
