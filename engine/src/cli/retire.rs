//! `fairlead retire`: drains and ends a session that the configuration no longer uses.

use std::time::{Duration, Instant};

use clap::Args;

use super::{
    Configuration, Exit, print,
    run::{Signals, exit_of, prepare, tell_hung, verdict},
};
use crate::{
    bridge::{Bridge, Options, Summary},
    metrics::{SessionState, SessionStatus},
    settings::{Ack, Host, Route, SessionPlan, Settings, Source},
    shard::clock,
};

/// How long the broker must have sent nothing: it then holds nothing more.
const QUIET: &str = "5s";
/// Without a connection for so long it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether there is one.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
pub(super) struct Retire {
    #[command(flatten)]
    configuration: Configuration,
    /// Client id of the session.
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// The source whose broker has the session; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// After so long without a message, and with nothing in flight, the broker holds nothing more.
    #[arg(long, value_name = "TIME", default_value = QUIET, value_parser = humantime::parse_duration)]
    quiet: Duration,
}

/// Why a session cannot be retired.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("there is no source `{0}` in the configuration; its name is that of the source that had the session")]
    NoSource(String),
    #[error("there are several sources: name the one that had the session with --source ({0})")]
    WhichSource(String),
    #[error(
        "`{client_id}` is a session of source `{source_name}`: take it out of the configuration first, and restart the bridge"
    )]
    InUse { client_id: String, source_name: String },
}

/// How it ended.
enum End {
    Done(SessionStatus),
    GaveUp(SessionStatus),
    Interrupted,
}

impl Retire {
    pub(super) fn run(self, host: &Host) -> Exit {
        let loaded = self.configuration.load(host);
        for problem in &loaded.problems {
            eprintln!("error: {problem}");
        }
        let Some(settings) = loaded.settings else { return Exit::Config };
        match settings_of(settings, &self.client_id, self.source.as_deref(), self.quiet) {
            Ok(settings) => retire(settings, &self.client_id),
            Err(refusal) => {
                eprintln!("error: {refusal}");
                Exit::Config
            }
        }
    }
}

/// The settings of a bridge that has this session alone.
fn settings_of(
    mut settings: Settings,
    client_id: &str,
    source: Option<&str>,
    quiet: Duration,
) -> Result<Settings, Refusal> {
    let names = || settings.sources.iter().map(|source| source.name.as_str());
    let index = match source {
        Some(name) => names().position(|one| one == name).ok_or_else(|| Refusal::NoSource(name.to_owned()))?,
        None if settings.sources.len() == 1 => 0,
        None => return Err(Refusal::WhichSource(names().collect::<Vec<_>>().join(", "))),
    };
    let urls = &settings.sources[index].urls;
    let same_broker = |other: &&Source| other.urls.iter().any(|url| urls.contains(url));
    let in_use = |other: &&Source| other.sessions.iter().any(|session| session.client_id == client_id);
    if let Some(other) = settings.sources.iter().filter(same_broker).find(in_use) {
        return Err(Refusal::InUse { client_id: client_id.to_owned(), source_name: other.name.clone() });
    }
    let source = settings.sources.swap_remove(index);
    // What the session had subscribed is remembered in the state folder; should that be gone, the source's filters are
    // the best guess.
    let subscriptions = source.sessions.iter().flat_map(|session| &session.subscriptions);
    let filters = subscriptions.map(|one| one.filter.clone()).collect();
    let retire = Some(crate::settings::Retire { filters, quiet });
    let session = SessionPlan { client_id: client_id.to_owned(), subscriptions: Vec::new(), retire };
    settings.sources = vec![Source { sessions: vec![session], clean_start: false, sys: false, ..source }];
    let routes = settings.routes.into_iter().filter(|route| route.source.is_none_or(|of| of == index));
    settings.routes = routes.map(|route| Route { source: route.source.map(|_| 0), ..route }).collect();
    settings.engine.cpus.truncate(1);
    // The running bridge has the spool and the admin port.
    settings.engine.ack = Ack::Kafka;
    settings.spool = None;
    settings.admin = None;
    Ok(settings)
}

fn retire(settings: Settings, client_id: &str) -> Exit {
    let (logging, runtime, signals) = match prepare() {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let bridge = match Bridge::start(settings, Options { fail_fast: true }, logging.stats()) {
        Ok(bridge) => bridge,
        Err(error) => {
            logging.flush();
            eprintln!("error: {error}");
            return exit_of(&error);
        }
    };
    let end = runtime.block_on(watch(&bridge, signals));
    let summary = bridge.stop();
    logging.flush();
    match summary {
        Ok(summary) => {
            let (text, exit) = report(client_id, &end, &summary);
            print(&text, exit)
        }
        Err(hung) => tell_hung(hung),
    }
}

/// Waits for the session's end, a signal, or the time after which there is no hope.
async fn watch(bridge: &Bridge, mut signals: Signals) -> End {
    let mut look = tokio::time::interval(LOOK);
    let mut connected = clock::now();
    loop {
        tokio::select! {
            () = signals.next() => return End::Interrupted,
            _ = look.tick() => {}
        }
        // Whether it has ended comes first: the last word on the board stands then.
        let ended = bridge.wait(Duration::ZERO);
        let status = bridge.metrics().status().session_status(0);
        if ended {
            return End::Done(status);
        }
        if is_hopeless(&status, &mut connected, clock::now()) {
            return End::GaveUp(status);
        }
    }
}

fn is_hopeless(status: &SessionStatus, connected: &mut Instant, now: Instant) -> bool {
    if matches!(status.state, SessionState::Connected | SessionState::Subscribed | SessionState::Ended) {
        *connected = now;
    }
    now.saturating_duration_since(*connected) >= PATIENCE
}

/// What happened, for people, and what it comes to.
fn report(client_id: &str, end: &End, summary: &Summary) -> (String, Exit) {
    let (mut text, exit) = verdict(summary);
    let moved = summary.ledger.total.delivered;
    let (line, own) = match end {
        End::Done(SessionStatus { reason: Some(reason), .. }) => {
            (format!("{client_id}: {reason}: nothing was moved, nothing is left"), Exit::Success)
        }
        End::Done(_) => {
            (format!("{client_id}: {moved} messages were moved to Kafka; the session is ended"), Exit::Success)
        }
        End::GaveUp(status) => {
            let why = status.reason.as_deref().unwrap_or("no answer");
            let line = format!(
                "{client_id}: not connected for {} s ({why}); {moved} messages were moved, the session is left as it is",
                PATIENCE.as_secs()
            );
            (line, Exit::Unavailable)
        }
        End::Interrupted => {
            let line = format!(
                "{client_id}: interrupted; {moved} messages were moved, the broker keeps the rest and the session"
            );
            (line, Exit::Interrupted)
        }
    };
    text += &line;
    text.push('\n');
    (text, if exit == Exit::Success { own } else { exit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Subscription;

    const QUIET: Duration = Duration::from_secs(5);

    fn settings() -> Settings {
        Settings::of(
            "[[source]]\nname = \"pier\"\nurl = \"mqtt://a\"\nsessions = 2\n[[source]]\nname = \"quay\"\nurl = \"mqtt://b\"\n\
             clean_start = true\n[kafka]\nbrokers = \"k:1\"\n[[route]]\nfrom = \"a\"\ntopic = \"t\"\n[[route]]\nfrom = \"b\"\n\
             topic = \"t\"\n[[route]]\nsource = \"pier\"\nfrom = \"c\"\ntopic = \"t\"\n",
        )
    }

    #[test]
    fn a_bridge_with_this_session_alone_needs_nothing_of_the_running_one() {
        let retired = settings_of(settings(), "quay-1", Some("quay"), QUIET).unwrap();
        let [source] = &retired.sources[..] else { panic!("{:?}", retired.sources) };
        assert_eq!((source.name.as_str(), source.clean_start, source.sys), ("quay", false, false));
        let [session] = &source.sessions[..] else { panic!("{:?}", source.sessions) };
        assert_eq!((session.client_id.as_str(), &session.subscriptions), ("quay-1", &Vec::<Subscription>::new()));
        assert_eq!(session.retire.as_ref().unwrap().filters, ["a", "b"]);
        assert_eq!(retired.routes.len(), 2, "those of the other source are not its");
        assert!(retired.spool.is_none() && retired.admin.is_none() && retired.engine.ack == Ack::Kafka);
        assert_eq!(retired.plan().count(), 1);
    }

    #[test]
    fn what_is_unclear_or_in_use_is_refused() {
        let refused =
            |client_id: &str, source| settings_of(settings(), client_id, source, QUIET).unwrap_err().to_string();
        assert!(refused("x", None).contains("(pier, quay)"));
        assert!(refused("x", Some("mole")).contains("no source `mole`"));
        let client_id = settings().sources[0].sessions[1].client_id.clone();
        assert!(refused(&client_id, Some("pier")).contains("take it out of the configuration"));
        assert!(
            settings_of(settings(), &client_id, Some("quay"), QUIET).is_ok(),
            "at another broker it is another session"
        );
    }

    #[test]
    fn it_gives_up_only_what_is_not_connected_for_long() {
        let start = clock::now();
        let mut connected = start;
        let mut status = SessionStatus::default();
        assert!(!is_hopeless(&status, &mut connected, start + PATIENCE / 2));
        status.state = SessionState::Connected;
        assert!(!is_hopeless(&status, &mut connected, start + PATIENCE), "however long it takes");
        status.state = SessionState::Refused;
        assert!(!is_hopeless(&status, &mut connected, start + PATIENCE));
        assert!(is_hopeless(&status, &mut connected, start + PATIENCE * 2));
    }
}
