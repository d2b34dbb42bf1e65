//! Everything that can be wrong with a configuration, and how it is said: where, what, and what to do.

use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::Arc,
};

use super::{Origin, secret::Secrets};

/// Most problems that are kept; a broken file of a megabyte has more than anybody reads.
pub const MAX_PROBLEMS: usize = 100;

/// One thing to say about the configuration: `place: key: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; [`Origin::Default`] for what is written nowhere.
    pub origin: Origin,
    /// The key, as `--set` addresses it, such as `source.0.qos`; empty for the whole.
    pub key: String,
    /// What is wrong and what to do, without secrets and control characters.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => f.write_str("configuration")?,
            origin => write!(f, "{origin}")?,
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum What {
    // Reading.
    #[error("cannot be read: {0}; check the path and the permissions")]
    Unreadable(std::io::Error),
    #[error("has more than {limit}; a configuration is smaller, check that this is the right file")]
    TooLarge { limit: bytesize::ByteSize },
    #[error("is not UTF-8 here; save the file as UTF-8")]
    NotUtf8,
    #[error("TOML: {0}")]
    Syntax(String),
    #[error("the integer does not fit 64 bits; write a smaller one")]
    HugeInteger,

    // Addressing by environment and flags.
    #[error("is not UTF-8; set it to text")]
    VariableNotUtf8,
    #[error("names no key; write it as `FAIRLEAD__KAFKA__BROKERS` or `--set kafka.brokers=…`")]
    NoKey,
    #[error("there are {length} here, so the next is number {length}; elements are counted from 0")]
    NoElement { length: usize },
    #[error("lies within a value that is no {0}")]
    NotWithin(&'static str),

    // Shape.
    #[error("unknown key; {}", nearest(key, known))]
    UnknownKey { key: String, known: &'static [&'static str] },
    #[error("{0}")]
    Value(String),
    #[error("is missing; write {0}")]
    Missing(&'static str),
    #[error("there are {count}, and at most {limit} are allowed; {advice}")]
    TooMany { count: usize, limit: usize, advice: &'static str },

    // Secrets.
    #[error("the environment variable `{0}` is not set; set it, or write the value here")]
    SecretVariable(String),
    #[error("the secret file `{0}` cannot be read: {1}; check the path and the permissions")]
    SecretFile(String, std::io::Error),
    #[error("the secret file `{0}` is not text of at most {1}; check that this is the right file")]
    SecretText(String, bytesize::ByteSize),
    #[error(
        "`${{{0}}}` is not known; write `${{env:NAME}}` or `${{file:/path}}`, or `$${{` for the characters themselves"
    )]
    SecretKind(String),
    #[error("`${{` is not closed; write `${{env:NAME}}` or `${{file:/path}}`, or `$${{` for the characters themselves")]
    SecretOpen,

    // Sources.
    #[error("`{0}` is no name; use 1 to 64 of the letters a-z and A-Z, digits, `.`, `_` and `-`")]
    SourceName(String),
    #[error("the name `{name}` is taken by the source at {other}; give each source its own name")]
    SourceTwice { name: String, other: Origin },
    #[error("no URL; write at least one, such as `\"mqtt://127.0.0.1:1883\"`")]
    NoUrl,
    #[error("the scheme `{0}` is not supported yet, TLS and WebSocket come later; write `mqtt://host:port`")]
    UrlLater(String),
    #[error("the scheme `{0}` is not known; write `mqtt://host:port`")]
    UrlScheme(String),
    #[error("user name and password do not belong into the URL; set `username` and `password` of the source")]
    UrlCredentials,
    #[error("a URL of MQTT has no path; end it after the port")]
    UrlPath,
    #[error("the port is not a number from 1 to 65535; write it as in `mqtt://host:1883`")]
    UrlPort,
    #[error("is not a URL ({0}); write it as `mqtt://host:port`")]
    Url(String),
    #[error("`{{{0}}}` is no placeholder; a client id may use {{source}}, {{session}} and {{host}}")]
    Placeholder(String),
    #[error("a brace is not closed; placeholders are {{source}}, {{session}} and {{host}}")]
    PlaceholderOpen,
    #[error("the client id is empty, and a broker resumes no session without one; write a name")]
    ClientIdEmpty,
    #[error("the client id has {0} bytes, and MQTT allows 65535; shorten it")]
    ClientIdLong(usize),
    #[error("the client id contains a control character, which MQTT does not allow; remove it")]
    ClientIdControl,
    #[error(
        "{sessions} sessions would share the client id `{client_id}` and throw each other out; put {{session}} into it"
    )]
    ClientIdShared { sessions: u64, client_id: String },
    #[error(
        "the client id `{client_id}` is also that of the source `{other}` at the same broker, and they would throw each other out; put {{source}} into it"
    )]
    ClientIdTwice { client_id: String, other: String },
    #[error("`{0}` is no group; use text without `/`, `+`, `#` and control characters (MQTT 5.0 §4.8.2)")]
    Group(String),
    #[error("a password without a user name is possible with version = \"5\" only; set `username`")]
    PasswordAlone,
    #[error("no route takes from this source; add a [[route]], or remove the source")]
    NoFilter,
    #[error(
        "there are {sessions} sessions for {groups} filter(s), those that overlap counted as one, so {} would have nothing to read; write sessions = {groups}, split the filters of the routes, or set `share` (which gives up order)",
        sessions - groups
    )]
    IdleSessions { sessions: u64, groups: u64 },
    #[error("a packet of {packet} does not fit {memory} of memory twice; lower max_packet, or raise engine.memory to at least {}", bytesize::ByteSize::b(packet.as_u64() * 2))]
    PacketBeyondMemory { packet: bytesize::ByteSize, memory: bytesize::ByteSize },

    // Routes.
    #[error("there is no source `{name}`; {}", nearest(name, known))]
    UnknownSource { name: String, known: Vec<String> },
    #[error("{0}")]
    Filter(#[from] crate::route::FilterError),
    #[error("{0}")]
    Template(#[from] crate::route::TemplateError),
    #[error(
        "`{filter}` and `{other}` of the route at {at} match some topics in common, and the broker may send those twice, which MQTT 3.1.1 cannot tell apart; use `{join}` for both, or version = \"5\""
    )]
    Overlap { filter: String, other: String, at: Origin, join: String },

    // Kafka.
    #[error("no broker; write at least one, such as `\"127.0.0.1:9092\"`")]
    NoBroker,
    #[error("`{0}` is no broker; write `host:port`, several with commas between")]
    Broker(String),
    #[error("Fairlead manages this property; {0}")]
    Managed(&'static str),
    #[error("{0}; see the list of librdkafka's properties")]
    Property(String),

    // Engine.
    #[error("the list is empty; write \"auto\" or at least one core, such as [0]")]
    NoCore,
    #[error("core {core} may not be used by this process; these may: {allowed:?}")]
    Core { core: usize, allowed: Vec<usize> },
    #[error("core {0} is in the list twice; one shard has a core for itself")]
    CoreTwice(usize),

    // Spool.
    #[error(
        "a segment must hold at least two packets of {packet} (max_packet); write at least \"{least}\", or lower max_packet"
    )]
    SpoolSegment { packet: bytesize::ByteSize, least: bytesize::ByteSize },
    #[error(
        "{shards} shard(s) with segments of {segment} need at least {floor}; write at least \"{floor}\", or lower spool.segment"
    )]
    SpoolMax { segment: bytesize::ByteSize, shards: usize, floor: bytesize::ByteSize },

    // Dead letters.
    #[error("`{0}` is also the topic of a route, and its messages could not be told from dead letters; write another")]
    DeadLetterTopic(String),

    // Shards.
    #[error("{sessions} sessions on a shard, and at most {limit} are possible; lower `sessions`, or use more cores")]
    ShardSessions { sessions: usize, limit: usize },
}

impl What {
    /// Whether something is said not to be there, which cannot be known of a file that was read in part.
    fn is_absence(&self) -> bool {
        matches!(self, What::Missing(_) | What::NoFilter | What::UnknownSource { .. } | What::IdleSessions { .. })
    }

    /// Whether a file was not read, or in part.
    fn is_unread(&self) -> bool {
        matches!(self, What::Unreadable(_) | What::TooLarge { .. } | What::NotUtf8 | What::Syntax(_))
    }
}

/// The nearest of the known names, or all of them.
fn nearest<S: AsRef<str>>(name: &str, known: &[S]) -> String {
    let distance = |other: &S| strsim::damerau_levenshtein(name, other.as_ref());
    // Longer texts are not typed by mistake, and the distance is quadratic.
    let best = known.iter().filter(|_| name.len() <= 64).min_by_key(|other| distance(other));
    match best {
        Some(best) if distance(best) <= 1 + name.len() / 3 => format!("did you mean `{}`?", best.as_ref()),
        _ => {
            let known: Vec<String> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

/// Replaces control characters, so that text of a file cannot write more than itself to a terminal or a log.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Collects what is said about a configuration while it is read.
#[derive(Default)]
pub(super) struct Log {
    /// What was read from secrets; it never appears in a text.
    pub(super) secrets: Secrets,
    problems: RefCell<Vec<Problem>>,
    /// A file was not read, or in part.
    partial: Cell<bool>,
    /// Problems beyond [`MAX_PROBLEMS`].
    more: Cell<usize>,
    notes: RefCell<Vec<Problem>>,
}

impl Log {
    /// Something is wrong.
    pub(super) fn problem(&self, origin: &Origin, key: &str, what: &What) {
        if what.is_absence() && self.partial.get() {
            return;
        }
        self.partial.set(self.partial.get() || what.is_unread());
        let mut problems = self.problems.borrow_mut();
        if problems.len() >= MAX_PROBLEMS {
            self.more.set(self.more.get() + 1);
            return;
        }
        problems.push(self.entry(origin, key, &what.to_string()));
    }

    /// Something is worth knowing, and nothing is wrong.
    pub(super) fn note(&self, origin: &Origin, key: &str, text: &str) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MAX_PROBLEMS {
            notes.push(self.entry(origin, key, text));
        }
    }

    fn entry(&self, origin: &Origin, key: &str, text: &str) -> Problem {
        Problem { origin: origin.clone(), key: printable(key), text: printable(&self.secrets.redact(text)) }
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Problems in the order of the text, then notes.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>, Secrets) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_cached_key(|problem| match &problem.origin {
            Origin::File { file, line, column } => (0, Arc::clone(file), *line, *column),
            Origin::Environment(name) => (1, Arc::clone(name), 0, 0),
            Origin::Flag(key) => (2, Arc::clone(key), 0, 0),
            Origin::Default => (3, "".into(), 0, 0),
        });
        if self.more.get() > 0 {
            let text = format!("{} more problems; mend these first", self.more.get());
            problems.push(Problem { origin: Origin::Default, key: String::new(), text });
        }
        (problems, self.notes.into_inner(), self.secrets)
    }
}
