//! A process under test: started in its own process group, its output in a file, stopped when dropped.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::{wait_for, wait_until};

/// Linux counts CPU time for users in hundredths of a second on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Longest wait for a process that was told to stop.
const STOP: Duration = Duration::from_secs(10);

/// Lines of a process's output that a failing test shows: a panic with its backtrace fits.
const TAIL: usize = 120;

/// A child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// A command that dies with this process: `setpriv` asks the kernel for SIGKILL at the parent's death and becomes
    /// `program`.
    #[must_use]
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Starts a command from [`Process::command`], with standard output and error appended to the file `log`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Process {
        let out = File::options().create(true).append(true).open(log).expect("the log file");
        let err = out.try_clone().expect("the log file twice");
        command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = spawn_from_lasting_thread(command).unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// When the process has been waited for already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("signal to {}: {e}", self.name));
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP, and waits until every thread stands still: one that runs on another core goes on for a moment.
    ///
    /// # Panics
    ///
    /// When one goes on.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        wait_until(STOP, &format!("{} stands still", self.name), || {
            self.stats().all(|stat| matches!(state(&stat), 'T' | 'Z'))
        });
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the child is waited for");
    }

    /// The exit status once it has ended; `None` while it runs.
    ///
    /// # Panics
    ///
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits for its end and returns the exit code, or minus the signal that ended it.
    ///
    /// # Panics
    ///
    /// When it has not ended within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let what = format!("{} ends", self.name);
        exit_code(wait_for(limit, &what, || self.ended()))
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Anonymous resident memory (`RssAnon`), bytes.
    ///
    /// # Panics
    ///
    /// When it is not running.
    #[must_use]
    pub fn rss_anon(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("RssAnon in /proc/PID/status");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
    }

    /// User and system CPU time since it started.
    ///
    /// # Panics
    ///
    /// When it is not running.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        cpu_of(&self.proc("stat"))
    }

    /// CPU time of its threads that live, without those whose name starts like this.
    ///
    /// # Panics
    ///
    /// When it is not running.
    #[must_use]
    pub fn cpu_without(&self, name: &str) -> Duration {
        self.stats().filter(|stat| !stat.contains(&format!("({name}"))).map(|stat| cpu_of(&stat)).sum()
    }

    /// What the kernel tells of each thread (proc_pid_stat(5)).
    fn stats(&self) -> impl Iterator<Item = String> {
        let threads = fs::read_dir(self.proc_path("task")).expect("/proc/PID/task").flatten();
        // A thread may end meanwhile.
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
    }

    /// Whether it has decided to end, although a thread that the kernel does not let go keeps it from being gone: its exit
    /// code stands.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        fs::read_to_string(self.proc_path("stat")).is_ok_and(|stat| state(&stat) == 'Z')
    }

    /// The identifier of its first thread of this name.
    #[must_use]
    pub fn thread(&self, name: &str) -> Option<u32> {
        let threads = fs::read_dir(self.proc_path("task")).ok()?.flatten();
        let named = |thread: &fs::DirEntry| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        threads.into_iter().find(named)?.file_name().to_str()?.parse().ok()
    }

    /// Sets one of its limits, as `prlimit` writes it, such as `--fsize=unlimited`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn limit(&self, limit: &str) {
        let status = Command::new("prlimit").args(["--pid", &self.id().to_string(), limit]).status();
        assert!(status.is_ok_and(|status| status.success()), "prlimit {limit} of {}", self.name);
    }

    /// Threads it has now.
    ///
    /// # Panics
    ///
    /// When it is not running.
    #[must_use]
    pub fn threads(&self) -> usize {
        fs::read_dir(self.proc_path("task")).expect("/proc/PID/task").count()
    }

    /// Its process identifier.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(self.proc_path(file)).unwrap_or_else(|e| panic!("{} is gone: {e}", self.name))
    }

    fn proc_path(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("-- last lines of {}:\n{}", self.name, lines[lines.len().saturating_sub(TAIL)..].join("\n"));
        }
    }
}

/// The exit code, or minus the signal.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// Starts a command from a thread that lives as long as the process: the kernel's "parent" of the parent-death signal
/// is the thread, and a test's thread ends long before a server that tests share.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static ORDERS: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel::<Order>(1);
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    orders.send((command, answer)).expect("the spawning thread lives");
    child.recv().expect("the spawning thread answers")
}

/// The fields after the name of a process or thread, field 2, which may hold spaces and ends with the last bracket
/// (proc_pid_stat(5)).
fn fields(stat: &str) -> &str {
    stat.rsplit_once(") ").expect("the name in /proc/PID/stat").1
}

/// The state of a process or thread: field 3.
fn state(stat: &str) -> char {
    fields(stat).chars().next().expect("the state in /proc/PID/stat")
}

/// User and system time of a process or thread: fields 14 and 15.
fn cpu_of(stat: &str) -> Duration {
    let ticks: u32 = fields(stat).split(' ').skip(11).take(2).map(|t| t.parse::<u32>().expect("ticks")).sum();
    TICK * ticks
}
