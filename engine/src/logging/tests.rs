use std::{collections::HashMap, sync::OnceLock};

use crossbeam::channel::bounded;
use serde_json::Value;
use tracing::{info, subscriber::with_default, warn};
use tracing_subscriber::registry;

use super::*;

/// Longest wait for a line.
const DEADLINE: Duration = Duration::from_secs(10);
/// More lines than any test writes.
const LINES: usize = 2 * QUEUE;

/// Everything written to it, as whole writes.
struct Output(Sender<String>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).map_err(io::Error::other)?;
        self.0.send(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a point to count from; it never moves")]
fn standing() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// What is written while `log` runs, with a clock that stands still.
fn written(format: Format, log: impl FnOnce()) -> Vec<String> {
    let (output, lines) = bounded(LINES);
    let (logging, layer) = start(format, standing, Output(output)).unwrap();
    with_default(registry().with(layer), log);
    drop(logging);
    // The writer drops its end when everything is out.
    lines.iter().collect()
}

#[test]
fn hostile_fields_stay_on_their_line() {
    let topic = "a\nFAKE\r\u{1b}[2J\u{202e}\u{85}b";
    let lines = written(Format::Text, || info!(target: "mqtt", %topic, quoted = "x y", n = 3, "odd\n{topic}"));
    assert_eq!(lines.len(), 1);
    let line = lines[0].strip_suffix('\n').unwrap();
    assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    let hostile = r"a\nFAKE\r\u{1b}[2J\u{202e}\u{85}b";
    assert!(line.ends_with(&format!(r#" INFO mqtt: odd\n{hostile} topic={hostile} quoted="x y" n=3"#)), "{line}");
}

#[test]
fn json_has_one_object_a_line() {
    let lines = written(Format::Json, || warn!(target: "kafka", code = -7, up = false, name = "a\n\"b", "down\n"));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].matches('\n').count(), 1);
    let line: HashMap<String, Value> = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        (&line["level"], &line["target"], &line["message"]),
        (&"WARN".into(), &"kafka".into(), &"down\n".into())
    );
    assert_eq!(line["fields"], serde_json::json!({ "code": -7, "up": false, "name": "a\n\"b" }));
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && !line.contains_key("repeats"));
}

#[test]
fn repeats_are_counted_for_each_callsite_and_message() {
    let lines = written(Format::Text, || {
        for n in [1, 1, 2, 1] {
            info!(n, "same");
        }
        info!(n = 1, "same");
    });
    let said = |end: &str| lines.iter().filter(|line| line.trim_end().ends_with(end)).count();
    assert_eq!((said("same n=1"), said("same n=2"), said("same n=1 (said 2 more times)")), (2, 1, 1), "{lines:?}");
    assert_eq!(lines.len(), 4);
}

#[test]
fn long_lines_are_cut() {
    let long = "ä".repeat(100_000);
    let lines =
        written(Format::Text, || info!(a = %long, b = %long, c = %long, d = %long, e = ?long, f = %long, "{long}"));
    assert!((3_000..5_000).contains(&lines[0].len()), "{}", lines[0].len());
    assert!(lines[0].trim_end().ends_with("f=…"));
}

#[test]
fn a_writer_that_hangs_holds_nobody_and_the_loss_is_told() {
    /// Takes nothing until it is let go.
    struct Stuck(Receiver<()>, Sender<String>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Output(self.1.clone()).write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (release, held) = bounded::<()>(0);
    let (output, lines) = bounded(LINES);
    let (logging, layer) = start(Format::Text, standing, Stuck(held, output)).unwrap();
    let stats = logging.stats();
    with_default(registry().with(layer), || {
        for n in 0..2 * QUEUE {
            info!(n, "line");
        }
    });
    assert!(stats.lost() >= QUEUE as u64 - 1, "{}", stats.lost());
    let lost = stats.lost();
    drop(release);
    drop(logging);
    let last = lines.iter().last().unwrap();
    assert!(last.contains(&format!("{lost} log lines were lost")), "{last}");
}

#[test]
fn counts_are_said_by_the_writer_itself() {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    fn moving() -> Instant {
        standing() + Duration::from_secs(SECONDS.load(Ordering::Relaxed))
    }
    let (output, lines) = bounded(LINES);
    let (logging, layer) = start(Format::Text, moving, Output(output)).unwrap();
    with_default(registry().with(layer), || {
        for _ in 0..3 {
            info!("again");
        }
    });
    assert!(!lines.recv_timeout(DEADLINE).unwrap().contains("more times"));
    SECONDS.store(10, Ordering::Relaxed);
    assert!(lines.recv_timeout(DEADLINE).unwrap().contains("again (said 2 more times)"));
    assert_eq!(logging.stats().suppressed(), 2);
}

#[test]
fn the_filter_comes_from_the_environment() {
    let from = |set: &'static [(&str, &str)]| {
        filter(DEFAULT_FILTER, move |name| {
            set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(from(&[]).unwrap().to_string(), "info");
    assert_eq!(from(&[("RUST_LOG", "debug")]).unwrap().to_string(), "debug");
    assert_eq!(from(&[("FAIRLEAD_LOG", ""), ("RUST_LOG", "debug")]).unwrap().to_string(), "debug");
    assert_eq!(from(&[("FAIRLEAD_LOG", "warn"), ("RUST_LOG", "debug")]).unwrap().to_string(), "warn");
    let error = from(&[("FAIRLEAD_LOG", "kafka=loud\n")]).unwrap_err().to_string();
    assert!(error.starts_with(r"FAIRLEAD_LOG: `kafka=loud\n` is no log filter (") && !error.contains('\n'), "{error}");
}
