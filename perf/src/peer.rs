//! `peers/NAME/peer.toml`: a bridge, how it is installed and started, and what it promises.

use crate::files::{read_toml, unknown};
use crate::placeholder::{Values, fill};
use crate::scenario::Scenario;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A bridge that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// How it was asked for.
    pub(crate) name: String,
    pub(crate) title: String,
    /// When it acknowledges a message.
    pub(crate) acknowledges: String,
    /// Where the verifier finds the payload in a record.
    pub(crate) wrap: String,
    pub(crate) kind: Kind,
    command: Vec<String>,
    templates: Vec<PathBuf>,
    install: Option<PathBuf>,
    values: Values,
}

/// What a peer is: some are no bridge, but half of one, and show what its other side can do at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    #[default]
    Bridge,
    /// No MQTT: the load generator produces straight into Kafka.
    Producer,
    /// No Kafka: what is received is acknowledged and thrown away. Its command ends by itself once nothing comes any more,
    /// and writes the result of `fairlead-loadgen subscribe` to `{folder}/received.json`.
    Subscriber,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    like: Option<String>,
    title: Option<String>,
    acknowledges: Option<String>,
    install: Option<String>,
    command: Option<Vec<String>>,
    files: Option<Vec<String>>,
    wrap: Option<String>,
    kind: Option<Kind>,
    #[serde(default)]
    values: Values,
}

/// The folders of the peers.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// `perf/peers`.
    pub(crate) peers: PathBuf,
    /// `perf/.peers`: what they install.
    pub(crate) installed: PathBuf,
}

impl Peer {
    /// `command:LINE`, or the name of a folder in `perf/peers`.
    pub(crate) fn load(folders: &Folders, name: &str) -> Result<Self> {
        if let Some(line) = name.strip_prefix("command:") {
            return Ok(Self::of_line(name, line));
        }
        let file = read(folders, name)?;
        let base_name = file.like.clone().unwrap_or_else(|| name.to_owned());
        let base = if file.like.is_some() { Some(read(folders, &base_name)?) } else { None };
        if base.as_ref().is_some_and(|base| base.like.is_some()) {
            bail!("peer {name} is like {base_name}, which is like another; name that one");
        }
        let base = base.as_ref();
        let kind = file.kind.or_else(|| base?.kind).unwrap_or_default();
        let needed = |what: &str, value: Option<String>| value.with_context(|| format!("peer {name} has no {what}"));
        let folder = folders.peers.join(&base_name);
        let mut values = base.map(|base| base.values.clone()).unwrap_or_default();
        values.extend(file.values);
        values.insert("peer".to_owned(), folder.display().to_string());
        values.insert("install".to_owned(), folders.installed.join(&base_name).display().to_string());
        let command = file.command.or_else(|| base?.command.clone()).unwrap_or_default();
        ensure!(kind == Kind::Producer || !command.is_empty(), "peer {name} has no command");
        let templates = file.files.or_else(|| base?.files.clone()).unwrap_or_default();
        let install = file.install.or_else(|| base?.install.clone());
        Ok(Self {
            name: name.to_owned(),
            title: needed("title", file.title.or_else(|| base?.title.clone()))?,
            acknowledges: needed("acknowledges", file.acknowledges.or_else(|| base?.acknowledges.clone()))?,
            wrap: file.wrap.or_else(|| base?.wrap.clone()).unwrap_or_else(|| "none".to_owned()),
            kind,
            command,
            templates: templates.iter().map(|template| folder.join(template)).collect(),
            install: install.map(|install| folder.join(install)),
            values,
        })
    }

    /// Fails where a scenario needs more than half a bridge.
    pub(crate) fn check(&self, scenario: &Scenario) -> Result<()> {
        let has_fault = scenario.cases.iter().any(|case| case.fault.is_some());
        let is_possible = match self.kind {
            Kind::Bridge => true,
            Kind::Producer => !scenario.mosquitto && !has_fault,
            Kind::Subscriber => !has_fault,
        };
        ensure!(is_possible, "{} is no bridge: it does not run in `{}`", self.name, scenario.title);
        Ok(())
    }

    /// Any bridge: a line for the shell. Where it acknowledges and puts the payload, who measures must know.
    fn of_line(name: &str, line: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: line.split_whitespace().next().unwrap_or("command").to_owned(),
            acknowledges: "not known".to_owned(),
            wrap: "none".to_owned(),
            kind: Kind::Bridge,
            command: ["sh", "-c", &format!("exec {line}")].map(str::to_owned).into(),
            templates: Vec::new(),
            install: None,
            values: Values::new(),
        }
    }

    /// Runs the install program, which is quick where all is there already.
    pub(crate) fn install(&self) -> Result<()> {
        let Some(program) = &self.install else {
            return Ok(());
        };
        let folder = &self.values["install"];
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
        let output = Command::new(program).arg(folder).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "peer {} cannot be installed: {}", self.name, said.trim());
        Ok(())
    }

    /// Writes the templates into `folder` and returns the command, all filled with `run` and the peer's own values.
    pub(crate) fn prepare(&self, folder: &Path, run: &Values) -> Result<Vec<String>> {
        let mut values = run.clone();
        values.extend(self.values.clone());
        for template in &self.templates {
            let text = fs::read_to_string(template).with_context(|| format!("cannot read {}", template.display()))?;
            let text = fill(&text, &values).with_context(|| format!("in {}", template.display()))?;
            let path = folder.join(template.file_name().unwrap_or_default());
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let word = |word: &String| fill(word, &values).with_context(|| format!("in the command of {}", self.name));
        self.command.iter().map(word).collect()
    }
}

fn read(folders: &Folders, name: &str) -> Result<File> {
    let path = folders.peers.join(name).join("peer.toml");
    if !path.exists() {
        return unknown("bridge", name, &folders.peers).map_err(|error| anyhow!("{error}, and command:LINE"));
    }
    read_toml(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Folders {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        Folders { peers: folder.join("peers"), installed: folder.join(".peers") }
    }

    fn run_values() -> Values {
        let names = ["mqtt", "mqtt_host", "mqtt_port", "kafka", "topic", "window", "qos", "folder", "bin"];
        names.map(|name| (name.to_owned(), format!("<{name}>"))).into()
    }

    #[test]
    fn every_peer_of_the_repository_can_be_prepared() {
        let folders = repository();
        for entry in fs::read_dir(&folders.peers).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let peer = Peer::load(&folders, &name).unwrap();
            peer.prepare(folder.path(), &run_values()).unwrap();
            assert!(!peer.title.is_empty() && !peer.acknowledges.is_empty(), "{name}");
        }
    }

    #[test]
    fn halves_of_a_bridge_run_where_they_can() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let runs = |peer: &str, scenario: &str| {
            let peer = Peer::load(&repository(), peer).unwrap();
            peer.check(&Scenario::load(&root, scenario).unwrap()).is_ok()
        };
        for (peer, possible) in
            [("fairlead", [true, true, true]), ("producer", [true, false, false]), ("subscriber", [true, true, false])]
        {
            assert_eq!(["canonical", "article", "outage"].map(|scenario| runs(peer, scenario)), possible, "{peer}");
        }
    }

    #[test]
    fn a_peer_like_another_changes_values_alone() {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::load(&repository(), "fairlead-kafka").unwrap();
        let command = peer.prepare(folder.path(), &run_values()).unwrap();
        assert_eq!(command[..2], ["<bin>/fairlead", "run"]);
        let text = fs::read_to_string(folder.path().join("fairlead.toml")).unwrap();
        assert!(text.contains("ack = \"kafka\"") && text.contains("topic = \"<topic>\""), "{text}");
    }

    #[test]
    fn any_command_is_a_peer() {
        let peer = Peer::load(&repository(), "command:connect --from {mqtt} --to {kafka}").unwrap();
        let command = peer.prepare(Path::new("/nowhere"), &run_values()).unwrap();
        assert_eq!(command, ["sh", "-c", "exec connect --from <mqtt> --to <kafka>"]);
    }

    #[test]
    fn an_unknown_peer_lists_those_that_exist() {
        let error = format!("{:#}", Peer::load(&repository(), "kettle").unwrap_err());
        assert!(error.contains("there is no bridge kettle; there are fairlead, "), "{error}");
    }

    #[test]
    fn what_the_install_program_says_is_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders { peers: folder.path().join("peers"), installed: folder.path().join("installed") };
        let peer = folders.peers.join("p");
        fs::create_dir_all(&peer).unwrap();
        let text = "title = \"p\"\nacknowledges = \"never\"\ncommand = [\"true\"]\ninstall = \"../../install\"\n";
        fs::write(peer.join("peer.toml"), text).unwrap();
        fs::write(folder.path().join("install"), "").unwrap();
        let error = format!("{:#}", Peer::load(&folders, "p").unwrap().install().unwrap_err());
        assert!(error.contains("cannot start") && error.contains("install"), "{error}");
    }
}
