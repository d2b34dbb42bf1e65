//! The bridge's configuration, as a file.

/// A configuration: the usual one in fields, and further lines for each table.
#[derive(Clone, Debug)]
pub struct Config {
    /// The URLs of the source.
    pub urls: Vec<String>,
    /// `brokers` of Kafka.
    pub brokers: String,
    /// `from` of the route.
    pub from: String,
    /// `topic` of the route.
    pub topic: String,
    /// Further lines of `[[source]]`.
    pub source: String,
    /// Further lines of `[kafka]`.
    pub kafka: String,
    /// Further lines of `[[route]]`.
    pub route: String,
    /// Lines of `[engine]`.
    pub engine: String,
    /// Lines of `[spool]`; empty leaves the table out.
    pub spool: String,
}

impl Config {
    /// Everything under `ais/` of one MQTT broker into one Kafka topic, keyed by the MQTT topic.
    #[must_use]
    pub fn new(url: &str, brokers: &str, topic: &str) -> Config {
        Config {
            urls: vec![url.to_owned()],
            brokers: brokers.to_owned(),
            from: "ais/#".to_owned(),
            topic: topic.to_owned(),
            source: String::new(),
            kafka: String::new(),
            route: String::new(),
            engine: String::new(),
            spool: String::new(),
        }
    }

    /// With further lines of `[[source]]`.
    #[must_use]
    pub fn source(mut self, lines: &str) -> Config {
        self.source = lines.to_owned();
        self
    }

    /// With further lines of `[kafka]`.
    #[must_use]
    pub fn kafka(mut self, lines: &str) -> Config {
        self.kafka = lines.to_owned();
        self
    }

    /// With further lines of `[[route]]`.
    #[must_use]
    pub fn route(mut self, lines: &str) -> Config {
        self.route = lines.to_owned();
        self
    }

    /// With lines of `[engine]`.
    #[must_use]
    pub fn engine(mut self, lines: &str) -> Config {
        self.engine = lines.to_owned();
        self
    }

    /// With lines of `[spool]`.
    #[must_use]
    pub fn spool(mut self, lines: &str) -> Config {
        self.spool = lines.to_owned();
        self
    }

    /// The file, with the port of the admin endpoint. Unless a further line of `[[source]]` says otherwise, the broker's
    /// `$SYS` topics are not watched, so that tests see the connections of sessions alone.
    #[must_use]
    pub fn toml(&self, admin: u16) -> String {
        let sys = if self.source.contains("sys = ") { "" } else { "sys = false" };
        let spool = if self.spool.is_empty() { String::new() } else { format!("[spool]\n{}\n", self.spool) };
        format!(
            "[[source]]\nname = \"harbour\"\nurl = {:?}\n{}\n{sys}\n[kafka]\nbrokers = \"{}\"\n{}\n\
             [[route]]\nfrom = \"{}\"\ntopic = \"{}\"\n{}\n[engine]\n{}\n{spool}[admin]\nlisten = \"127.0.0.1:{admin}\"\n",
            self.urls, self.source, self.brokers, self.kafka, self.from, self.topic, self.route, self.engine
        )
    }
}
