//! A real mosquitto with persistence.

use std::{path::PathBuf, time::Duration};

use crate::{client::Client, port::free_port, process::Process, scratch::Scratch, wait::wait_until};

/// Longest start or stop.
const START: Duration = Duration::from_secs(15);

/// A broker and its data.
#[derive(Debug)]
pub struct Mosquitto {
    // Dropped before the folder, because it shows its log where a test has failed.
    process: Option<Process>,
    port: u16,
    folder: Scratch,
}

impl Mosquitto {
    /// Starts a broker that keeps sessions and queued messages without limit.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Mosquitto {
        Mosquitto::start_with("allow_anonymous true\n")
    }

    /// Starts a broker that lets in one user only.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start_with_login(user: &str, password: &str) -> Mosquitto {
        let folder = Scratch::new("passwords");
        let path = folder.write("passwords", "");
        let mut tool = Process::command("mosquitto_passwd");
        tool.arg("-b").arg(&path).args([user, password]);
        let mut tool = Process::spawn("mosquitto_passwd", tool, &folder.path().join("log"));
        assert_eq!(tool.wait(START), 0, "a password file is made");
        let file = std::fs::read_to_string(&path).expect("the password file");
        let mosquitto =
            Mosquitto::configured("allow_anonymous false\npassword_file FOLDER/passwords\n", &[("passwords", &file)]);
        mosquitto.started(Some((user, password)))
    }

    /// Starts a broker with further lines of configuration.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start_with(lines: &str) -> Mosquitto {
        Mosquitto::configured(lines, &[]).started(None)
    }

    /// Its TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as Fairlead's configuration wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Starts it again on the same port and data.
    ///
    /// # Panics
    ///
    /// When it runs already or does not come up.
    pub fn restart(&mut self) {
        self.run(None);
    }

    /// Ends it in good order (SIGTERM): sessions and messages are on disk afterwards.
    ///
    /// # Panics
    ///
    /// When it does not run or does not end.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("mosquitto runs");
        process.terminate();
        process.wait(START);
    }

    /// Ends it with SIGKILL: what is not yet on disk (at most a second's worth) is lost.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("mosquitto runs").kill();
    }

    /// Forgets sessions and messages. Only while it does not run.
    ///
    /// # Panics
    ///
    /// When it runs.
    pub fn forget(&mut self) {
        assert!(self.process.is_none(), "mosquitto runs");
        let _ = std::fs::remove_file(self.folder.path().join("mosquitto.db"));
    }

    /// Its process identifier.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("mosquitto runs").id()
    }

    /// Everything it has logged.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().expect("mosquitto runs").log()
    }

    /// The configuration, with `FOLDER` in `lines` replaced by the folder that holds `files`.
    fn configured(lines: &str, files: &[(&str, &str)]) -> Mosquitto {
        let mosquitto = Mosquitto { folder: Scratch::new("mosquitto"), port: free_port(), process: None };
        for (name, content) in files {
            mosquitto.folder.write(name, content);
        }
        let folder = mosquitto.folder.path().display().to_string();
        let config = format!(
            "listener {} 127.0.0.1\n\
             user root\n\
             persistence true\n\
             persistence_location {folder}/\n\
             autosave_interval 1\n\
             max_queued_messages 0\n\
             log_dest stderr\n\
             {}",
            mosquitto.port,
            lines.replace("FOLDER", &folder),
        );
        mosquitto.folder.write("mosquitto.conf", &config);
        mosquitto
    }

    fn started(mut self, login: Option<(&str, &str)>) -> Mosquitto {
        self.run(login);
        self
    }

    fn run(&mut self, login: Option<(&str, &str)>) {
        assert!(self.process.is_none(), "mosquitto runs already");
        let mut broker = Process::command(program());
        broker.arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        let mut process = Process::spawn("mosquitto", broker, &self.folder.path().join("mosquitto.log"));
        wait_until(START, "mosquitto answers CONNECT", || {
            assert!(process.ended().is_none(), "mosquitto has ended");
            Client::try_connect(self.port, "probe", login).is_ok()
        });
        self.process = Some(process);
    }
}

/// Debian keeps it where the path of an ordinary user does not lead.
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/mosquitto");
    if usual.exists() { usual } else { "mosquitto".into() }
}
