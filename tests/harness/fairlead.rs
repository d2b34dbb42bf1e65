//! The bridge under test, as the binary that users run.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    config::Config,
    http::{Metrics, Response, get},
    metric,
    port::free_port,
    process::Process,
    scratch::Scratch,
    wait::{wait_for, wait_until},
};

/// The state of a spool's log that takes nothing any more.
const FENCED: f64 = 3.0;
/// Longest start.
const START: Duration = Duration::from_secs(60);
/// Longest run of a command that does not bridge.
const COMMAND: Duration = Duration::from_secs(30);

/// A bridge with its configuration. Dropping it kills it.
#[derive(Debug)]
pub struct Fairlead {
    // Dropped before the folder, because it may be writing there, and shows its log where a test has failed.
    process: Process,
    admin: u16,
    folder: Scratch,
}

impl Fairlead {
    /// Starts `fairlead run`; it may not be ready yet.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn start(config: &Config) -> Fairlead {
        Fairlead::start_under(&[], config)
    }

    /// [`Fairlead::start`] by a program that becomes it, such as `prlimit`, with its arguments.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn start_under(wrapper: &[&str], config: &Config) -> Fairlead {
        Fairlead::start_in(Scratch::new("fairlead"), wrapper, config)
    }

    /// [`Fairlead::start_under`] in a folder that holds already what is remembered over a restart.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn start_in(folder: Scratch, wrapper: &[&str], config: &Config) -> Fairlead {
        let admin = free_port();
        folder.write("fairlead.toml", &config.toml(admin));
        let process = run(wrapper, folder.path());
        Fairlead { folder, admin, process }
    }

    /// [`Fairlead::start`], and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    #[must_use]
    pub fn ready(config: &Config) -> Fairlead {
        let mut fairlead = Fairlead::start(config);
        fairlead.wait_ready(START);
        fairlead
    }

    /// Starts it again with the same configuration, after it has ended.
    ///
    /// # Panics
    ///
    /// When it still runs.
    pub fn restart(&mut self) {
        self.restart_under(&[]);
    }

    /// [`Fairlead::restart`] by a program that becomes it.
    ///
    /// # Panics
    ///
    /// When it still runs.
    pub fn restart_under(&mut self, wrapper: &[&str]) {
        assert!(self.process.ended().is_some(), "the bridge still runs");
        self.process = run(wrapper, self.folder.path());
    }

    /// The process: signals, memory, CPU, log, exit code.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Starts it again with another configuration and what it remembers, after it has ended.
    ///
    /// # Panics
    ///
    /// When it still runs.
    pub fn restart_with(&mut self, config: &Config) {
        self.folder.write("fairlead.toml", &config.toml(self.admin));
        self.restart();
    }

    /// Its folder: configuration, log, and what it remembers over a restart.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port of the admin endpoint.
    #[must_use]
    pub fn admin(&self) -> u16 {
        self.admin
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    ///
    /// When it ends, or has not said so within `limit`.
    #[track_caller]
    pub fn wait_ready(&mut self, limit: Duration) {
        wait_until(limit, "the bridge is ready", || {
            assert!(self.process.ended().is_none(), "the bridge has ended");
            get(self.admin, "/readyz").is_some_and(|r| r.status == 200)
        });
    }

    /// Waits until `/readyz` says 503 with a body that contains `text`.
    ///
    /// # Panics
    ///
    /// When it ends, or has not said so within `limit`.
    #[track_caller]
    pub fn wait_unready(&mut self, text: &str, limit: Duration) {
        wait_until(limit, &format!("/readyz names {text}"), || {
            assert!(self.process.ended().is_none(), "the bridge has ended");
            get(self.admin, "/readyz").is_some_and(|r| r.status == 503 && r.body.contains(text))
        });
    }

    /// Waits until the log contains `text`.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    #[track_caller]
    pub fn wait_log(&mut self, text: &str, limit: Duration) {
        wait_until(limit, &format!("the log names {text}"), || self.log().contains(text));
    }

    /// An answer of the admin endpoint.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        wait_for(START, &format!("an answer from {path}"), || get(self.admin, path))
    }

    /// A scrape of `/metrics`.
    ///
    /// # Panics
    ///
    /// When there is no answer, or it is no Prometheus text.
    #[track_caller]
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").body)
    }

    /// The sum of a metric over the series that carry all of `labels`; 0 where there is none.
    #[track_caller]
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels).unwrap_or(0.0)
    }

    /// Waits until a metric has reached `least`.
    ///
    /// # Panics
    ///
    /// When it has not within `limit`.
    #[track_caller]
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], least: f64, limit: Duration) {
        wait_until(limit, &format!("{name} {labels:?} reaches {least}"), || self.metric(name, labels) >= least);
    }

    /// Waits until a metric has sunk to `most`.
    ///
    /// # Panics
    ///
    /// When it has not within `limit`.
    #[track_caller]
    pub fn wait_metric_down(&self, name: &str, labels: &[(&str, &str)], most: f64, limit: Duration) {
        wait_until(limit, &format!("{name} {labels:?} sinks to {most}"), || self.metric(name, labels) <= most);
    }

    /// Whether nothing is on its way and nothing waits on disk. What a former process left there is pending only once it
    /// has been read; a spool that is fenced keeps what it could not sync, which has gone another way.
    #[track_caller]
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let metrics = self.metrics();
        let value = |name, labels: &[(&str, &str)]| metrics.sum(name, labels).unwrap_or(0.0);
        let left = |(name, labels, records): &(String, BTreeMap<String, String>, f64)| {
            let fenced = || value(metric::SPOOL_STATE, &[("shard", &labels["shard"])]) == FENCED;
            [metric::SPOOL_RECORDS, metric::PARKED_RECORDS].contains(&name.as_str()) && *records > 0.0 && !fenced()
        };
        value(metric::PENDING, &[]) == 0.0 && !metrics.samples().iter().any(left)
    }

    /// Runs another command with this bridge's configuration and state, while it runs or after.
    ///
    /// # Panics
    ///
    /// When the command does not end by itself.
    #[track_caller]
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Finished {
        let file = self.folder.path().join("fairlead.toml");
        fairlead(&[args, &["-c", file.to_str().expect("a path in UTF-8")]].concat(), |command| {
            command.env("XDG_STATE_HOME", self.folder.path());
        })
    }

    /// Waits until `/readyz` says 200 with a body that contains `text`.
    ///
    /// # Panics
    ///
    /// When it ends, or has not said so within `limit`.
    #[track_caller]
    pub fn wait_degraded(&mut self, text: &str, limit: Duration) {
        wait_until(limit, &format!("/readyz says degraded and names {text}"), || {
            assert!(self.process.ended().is_none(), "the bridge has ended");
            let says = |r: &Response| r.status == 200 && r.body.starts_with("degraded\n") && r.body.contains(text);
            get(self.admin, "/readyz").is_some_and(|r| says(&r))
        });
    }

    /// SIGTERM; returns the exit code.
    ///
    /// # Panics
    ///
    /// When it has not ended within `limit`.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> i32 {
        self.process.terminate();
        self.process.wait(limit)
    }
}

impl Drop for Fairlead {
    fn drop(&mut self) {
        if std::thread::panicking() && self.process.ended().is_none() {
            let says = get(self.admin, "/readyz").map(|r| format!("{} {}", r.status, r.body));
            eprintln!("-- /readyz: {}", says.unwrap_or_default());
            let metrics = get(self.admin, "/metrics").map(|r| r.body).unwrap_or_default();
            let telling = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0") && !line.contains("_bucket{");
            eprintln!("{}", metrics.lines().filter(telling).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// What a command that ended by itself left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code, or minus the signal.
    pub code: i32,
    /// Standard output and error.
    pub output: String,
}

/// Runs a `fairlead` command to its end. `prepare` may change the command (environment, wrapper's arguments).
///
/// # Panics
///
/// When it does not end by itself.
#[track_caller]
pub fn fairlead(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Finished {
    let folder = Scratch::new("command");
    let mut command = Process::command(fairlead_path());
    command.args(args).env("NO_COLOR", "1").env("XDG_STATE_HOME", folder.path());
    prepare(&mut command);
    let mut process = Process::spawn("fairlead", command, &folder.path().join("log"));
    let code = process.wait(COMMAND);
    Finished { code, output: process.log() }
}

/// Where the `fairlead` binary is, for tests that must start it in their own way.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn fairlead_path() -> PathBuf {
    binary("FAIRLEAD_BIN", "fairlead")
}

/// Where a binary under test is: named by the environment, or in the target folder of the running test or campaign.
pub(crate) fn binary(variable: &str, name: &str) -> PathBuf {
    let beside = || {
        let own = env::current_exe().expect("the program's own path");
        let folder = own.parent().expect("target/PROFILE, or deps in it");
        let folder = if folder.ends_with("deps") { folder.parent().expect("target/PROFILE") } else { folder };
        folder.join(name)
    };
    let path = env::var_os(variable).map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "{} does not exist: `cargo test --workspace` builds it, or set {variable}", path.display());
    path
}

fn run(wrapper: &[&str], folder: &Path) -> Process {
    let program = fairlead_path();
    let mut line = wrapper.iter().map(OsStr::new).chain([program.as_os_str()]);
    let mut command = Process::command(line.next().expect("a program"));
    command.args(line).args(["run", "-c"]).arg(folder.join("fairlead.toml"));
    // What is remembered over a restart belongs to this bridge.
    command.env("XDG_STATE_HOME", folder);
    Process::spawn("fairlead", command, &folder.join("fairlead.log"))
}
