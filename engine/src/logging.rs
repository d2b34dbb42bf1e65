//! Logs on standard error: text on a terminal, JSON elsewhere; the same line at most every ten seconds, with its
//! count.
//!
//! A thread that logs never waits for the terminal or the pipe: lines go through a bounded queue to a writer thread,
//! and what finds the queue full is counted. A line says everything in its own fields; spans are not shown. The level
//! is set by `FAIRLEAD_LOG` or else `RUST_LOG` (default `info`); librdkafka's lines have the target `kafka`, so that
//! `FAIRLEAD_LOG=info,kafka=debug` shows more of them.

mod line;
#[cfg(test)]
mod tests;
mod throttle;

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::{
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::{Context, Identity, SubscriberExt as _},
    util::{SubscriberInitExt as _, TryInitError},
};

use line::{Format, Line};
use throttle::{Saying, Throttle};

pub use line::printable;

/// Environment variables that hold the filter; the first that is set counts.
const VARIABLES: [&str; 2] = ["FAIRLEAD_LOG", "RUST_LOG"];
/// The filter where none is set.
const DEFAULT_FILTER: &str = "info";
/// Lines that may wait for the writer; further ones are lost and counted.
const QUEUE: usize = 1024;
/// How often the writer looks whether counts are due.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait for the writer at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be parsed.
    #[error(
        "{variable}: `{filter}` is no log filter ({source}); write a level or target=level pairs, such as `info,kafka=debug`"
    )]
    Filter {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        filter: String,
        /// What the parser says.
        source: ParseError,
    },
    /// The process already has a logger.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
    /// The writer thread could not be started.
    #[error("the log writer's thread could not be started: {0}; raise the limit on threads")]
    Thread(#[from] io::Error),
}

/// What became of lines that were not written; for the metrics.
#[derive(Debug, Default)]
pub struct LogStats {
    lost: AtomicU64,
    suppressed: AtomicU64,
}

impl LogStats {
    /// Lines lost because the writer's queue was full or standard error took no more.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lines left out because they said the same again.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }
}

/// Logging as set up; dropping it writes what waits, for a second at most.
#[must_use = "dropping it ends the log"]
pub struct Logging {
    sink: Arc<Sink>,
}

impl Logging {
    /// The counts of lines that were not written.
    #[must_use]
    pub fn stats(&self) -> Arc<LogStats> {
        Arc::clone(&self.sink.stats)
    }

    /// Writes all counts and everything that waits, for a second at most. To be called before the process exits in
    /// a way that drops nothing.
    pub fn flush(&self) {
        let counts = self.sink.throttle.lock().unwrap_or_else(PoisonError::into_inner).drain();
        self.sink.say(counts);
        let (done, written) = bounded(1);
        if self.sink.queue.send_timeout(Job::Flush(done), FLUSH_WITHIN).is_ok() {
            // A writer that hangs is given up: its lines are lost either way.
            let _ = written.recv_timeout(FLUSH_WITHIN);
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Sets up logging of the whole process on standard error. `clock` is read once for each line that passes the filter.
/// To be called before threads are pinned, because the writer's thread inherits the affinity.
///
/// # Errors
/// If the filter in the environment is wrong, logging is set up already, or no thread can be started.
pub fn init(clock: fn() -> Instant) -> Result<Logging, LoggingError> {
    init_with(clock, DEFAULT_FILTER, Identity::new())
}

/// [`init`] with another filter where the environment holds none, and with a further layer that sees what passes the
/// filter.
///
/// # Errors
/// As [`init`].
pub fn init_with(
    clock: fn() -> Instant,
    default: &str,
    further: impl Layer<Registry> + Send + Sync,
) -> Result<Logging, LoggingError> {
    let environment = |variable: &str| std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned());
    let filter = filter(default, environment)?;
    let format = if io::stderr().is_terminal() { Format::Text } else { Format::Json };
    let (logging, layer) = start(format, clock, io::stderr())?;
    tracing_subscriber::registry().with(further).with(filter).with(layer).try_init()?;
    Ok(logging)
}

/// The filter of the environment, or else the default.
fn filter(default: &str, variable: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, LoggingError> {
    for name in VARIABLES {
        if let Some(filter) = variable(name).filter(|filter| !filter.is_empty()) {
            return EnvFilter::builder().parse(&filter).map_err(|source| LoggingError::Filter {
                variable: name,
                filter: printable(&filter).into_owned(),
                source,
            });
        }
    }
    Ok(EnvFilter::new(default))
}

/// Starts the writer's thread on `output`. It ends with the last of the two values that are returned.
fn start(
    format: Format,
    clock: fn() -> Instant,
    output: impl Write + Send + 'static,
) -> Result<(Logging, Lines), LoggingError> {
    let (queue, jobs) = bounded(QUEUE);
    let sink = Arc::new(Sink {
        format,
        clock,
        queue,
        throttle: Mutex::default(),
        hasher: RandomState::new(),
        stats: Arc::default(),
    });
    let (weak, stats) = (Arc::downgrade(&sink), Arc::clone(&sink.stats));
    std::thread::Builder::new()
        .name("fairlead-log".to_owned())
        .spawn(move || write_lines(&jobs, output, &weak, &stats))?;
    Ok((Logging { sink: Arc::clone(&sink) }, Lines(sink)))
}

/// Work for the writer.
enum Job {
    /// A line, with its end.
    Line(String),
    /// Everything before it has to be out; then this is answered.
    Flush(Sender<()>),
}

/// What turns events into jobs for the writer.
struct Sink {
    format: Format,
    clock: fn() -> Instant,
    queue: Sender<Job>,
    throttle: Mutex<Throttle>,
    /// Keyed at random, so that nobody can make two lines look the same.
    hasher: RandomState,
    stats: Arc<LogStats>,
}

impl Sink {
    fn handle_event(&self, event: &Event<'_>) {
        let line = Line::of(event);
        let key = self.hasher.hash_one((event.metadata().callsite(), line.target(), line.body()));
        let now = (self.clock)();
        let sayings = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).handle_line(key, line, now);
        if sayings.is_empty() {
            self.stats.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        self.say(sayings);
    }

    /// Says the counts that are due.
    fn handle_tick(&self) {
        let now = (self.clock)();
        let counts = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).handle_tick(now);
        self.say(counts);
    }

    /// Hands lines to the writer, without waiting.
    fn say(&self, sayings: Vec<Saying>) {
        for (line, repeats) in sayings {
            let line = line.render(self.format, &timestamp(), repeats);
            if self.queue.try_send(Job::Line(line)).is_err() {
                self.stats.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The layer of `tracing` that leads to the sink.
struct Lines(Arc<Sink>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.handle_event(event);
    }
}

/// The writer: ends when nobody can send any more.
fn write_lines(jobs: &Receiver<Job>, mut output: impl Write, sink: &Weak<Sink>, stats: &LogStats) {
    let mut told = 0;
    let mut write = |line: &str| {
        if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
            stats.lost.fetch_add(1, Ordering::Relaxed);
        }
    };
    loop {
        let done = match jobs.recv_timeout(TICK) {
            Ok(Job::Line(line)) => {
                write(&line);
                None
            }
            Ok(Job::Flush(done)) => Some(done),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(sink) = sink.upgrade() {
            sink.handle_tick();
            let lost = stats.lost();
            if lost > told && jobs.is_empty() {
                let message = format!("{} log lines were lost: standard error did not take them in time", lost - told);
                told = lost;
                write(&Line::new(Level::WARN, message).render(sink.format, &timestamp(), 0));
            }
        }
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }
}

/// The wall clock's time, as the subscriber's own formatter writes it.
fn timestamp() -> String {
    let mut text = String::new();
    // It fails only if the string does.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}
