//! The architecture as a list of what is absent, each line checked against the source.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of code of a file, unit tests aside, above which it is to be split or named in [`LONG`].
const LINES: usize = 400;

/// Files that may be longer, with the reason.
const LONG: &[(&str, &str)] = &[];

/// A source file: path from the workspace's root, and text.
struct Source {
    path: String,
    text: String,
}

/// A line without its comment, and whether it belongs to a test.
struct Line<'a> {
    number: usize,
    code: &'a str,
    test: bool,
}

/// What must be absent, and where it may be all the same.
struct Rule {
    says: &'static str,
    /// Where the rule holds.
    within: &'static str,
    /// Where it may be named: prefixes of paths.
    except: &'static [&'static str],
    found: fn(&Line) -> bool,
}

/// The folders of the engine that drive futures: they have the I/O and no decisions.
const DRIVERS: &[&str] = &[
    "engine/src/shard/",
    "engine/src/ring/",
    "engine/src/lane/driver.rs",
    "engine/src/kafka/client.rs",
    "engine/src/kafka/topics.rs",
    "engine/src/control/",
    "engine/src/admin/",
    "engine/src/cli/",
];

/// The drivers, and the composition root, which hands channels to them.
const ON_TOKIO: &[&str] = &[
    "engine/src/bridge.rs",
    "engine/src/shard/",
    "engine/src/kafka/topics.rs",
    "engine/src/subscriptions/mod.rs",
    "engine/src/control/",
    "engine/src/admin/",
    "engine/src/cli/",
];

/// `engine/src/demo` is aside: it links the embedded brokers and the load generator.
const RULES: &[Rule] = &[
    Rule {
        says: "only mqtt/codec.rs names ntex",
        within: "engine/src/",
        except: &["engine/src/mqtt/codec.rs"],
        found: |line| names(line, "ntex_mqtt") || names(line, "ntex_bytes") || names(line, "ntex_codec"),
    },
    Rule {
        says: "only kafka/ names rdkafka",
        within: "engine/src/",
        except: &["engine/src/kafka/", "engine/src/demo/"],
        found: |line| names(line, "rdkafka") || names(line, "rdkafka_sys"),
    },
    Rule {
        says: "only shards and the control plane name tokio",
        within: "engine/src/",
        except: ON_TOKIO,
        found: |line| names(line, "tokio"),
    },
    Rule {
        says: "only settings/file.rs and subscriptions/file.rs derive Deserialize",
        within: "engine/src/",
        except: &["engine/src/settings/file.rs", "engine/src/subscriptions/file.rs"],
        found: |line| line.code.contains("derive(") && names(line, "Deserialize"),
    },
    Rule {
        says: "only kafka/raw.rs, slice.rs and the spool's map.rs are unsafe",
        within: "",
        except: &["engine/src/kafka/raw.rs", "engine/src/slice.rs", "spool/src/map.rs"],
        found: |line| names(line, "unsafe"),
    },
    Rule {
        says: "only drivers await",
        within: "engine/src/",
        except: DRIVERS,
        found: |line| line.code.contains(".await") && !line.test,
    },
    Rule {
        says: "tests wait for a fact with a deadline and never sleep",
        within: "",
        except: &[],
        found: |line| line.test && (line.code.contains("sleep(") || line.code.contains("sleep_until(")),
    },
    Rule { says: "every channel and queue has a limit", within: "", except: &[], found: |line| unbounded(line.code) },
    Rule {
        says: "a test is ignored only because it needs real brokers, and says so",
        within: "",
        except: &[],
        found: |line| line.code.contains("#[ignore") && !line.code.contains("#[ignore = \"real brokers: tests/run\"]"),
    },
];

#[test]
fn architecture_holds() {
    let sources = sources();
    assert!(sources.iter().any(|s| s.path == "tests/e2e/main.rs"), "the source tree is found");
    let problems: Vec<String> = RULES
        .iter()
        .flat_map(|rule| breaches(rule, &sources))
        .chain(clocks(&sources))
        .chain(lengths(&sources))
        .collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Every rule finds what it forbids: a rule that cannot fail guards nothing.
#[test]
fn each_rule_can_fail() {
    let broken = [
        "use ntex_mqtt::v5;",
        "let x = rdkafka::ClientConfig::new();",
        "use tokio::task::LocalSet;",
        "#[derive(Debug, serde::Deserialize)]",
        "unsafe { read() }",
        "future.await;",
        "std::thread::sleep(second);",
        "let (a, b) = mpsc::channel::<u8>();",
        "#[ignore]",
    ];
    assert_eq!(broken.len(), RULES.len());
    for (rule, line) in RULES.iter().zip(broken) {
        let source = |path: &str, text: String| [Source { path: path.to_owned(), text }];
        let test = format!("#[cfg(test)]\nmod tests {{}}\n{line}\n");
        let plain = if rule.says.starts_with("tests") { test } else { format!("{line}\n") };
        assert_eq!(breaches(rule, &source("engine/src/message.rs", plain.clone())).len(), 1, "{}", rule.says);
        assert!(breaches(rule, &source("engine/src/message.rs", format!("/// {line}\n"))).is_empty(), "{}", rule.says);
        for place in rule.except {
            let file = if place.ends_with('/') { format!("{place}mod.rs") } else { (*place).to_owned() };
            assert!(breaches(rule, &source(&file, plain.clone())).is_empty(), "{} in {file}", rule.says);
        }
    }
    let clock = |path: &str| Source { path: path.to_owned(), text: "Instant::now()".to_owned() };
    assert!(clocks(&[clock("engine/src/a.rs"), clock("loadgen/src/a.rs")]).is_empty());
    assert_eq!(clocks(&[clock("engine/src/a.rs"), clock("engine/src/b.rs")]).len(), 1);
    let long = Source { path: "engine/src/a.rs".to_owned(), text: "\n".repeat(LINES + 1) };
    assert_eq!(lengths(&[long]).len(), 1 + LONG.len());
}

fn breaches(rule: &Rule, sources: &[Source]) -> Vec<String> {
    let applies = |s: &&Source| s.path.starts_with(rule.within) && !rule.except.iter().any(|e| s.path.starts_with(e));
    let mut found = Vec::new();
    for source in sources.iter().filter(applies) {
        let hits = lines(source).into_iter().filter(rule.found);
        found.extend(hits.map(|l| format!("{}:{}: {}: {}", source.path, l.number, rule.says, l.code.trim())));
    }
    found
}

/// The clock is read in one file of each package, unit tests aside.
fn clocks(sources: &[Source]) -> Vec<String> {
    let reads = |s: &&Source| {
        let clock = ["Instant::now(", "SystemTime::now("];
        let counts = |line: &Line| !line.test || s.path.starts_with("tests/");
        lines(s).iter().any(|line| counts(line) && clock.iter().any(|c| line.code.contains(c)))
    };
    let mut files: Vec<&str> = sources.iter().filter(reads).map(|s| s.path.as_str()).collect();
    files.sort_unstable();
    let package = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let several = files.chunk_by(|a, b| package(a) == package(b)).filter(|files| files.len() > 1);
    several.map(|files| format!("the clock is read in more than one file of a package: {}", files.join(", "))).collect()
}

fn lengths(sources: &[Source]) -> Vec<String> {
    let length = |s: &Source| match s.path.starts_with("tests/") {
        true => s.text.lines().count(),
        false => lines(s).iter().filter(|line| !line.test).count(),
    };
    let listed = |s: &Source| LONG.iter().any(|(path, _)| *path == s.path);
    let long = |s: &&Source| length(s) > LINES;
    let split = sources.iter().filter(|s| long(s) && !listed(s));
    let split = split.map(|s| format!("{} has {} lines: split it by concept, or say why in LONG", s.path, length(s)));
    let stale = LONG.iter().filter(|(path, _)| !sources.iter().filter(long).any(|s| s.path == *path));
    split.chain(stale.map(|(path, _)| format!("{path} is not long: take it off LONG"))).collect()
}

/// The lines of a file without comments. Those of test files, and those behind the first `#[cfg(test)]`, are tests.
fn lines(source: &Source) -> Vec<Line<'_>> {
    let path = &source.path;
    let mut test = ["tests/", "engine/src/sim/"].iter().any(|p| path.starts_with(p))
        || path.contains("/tests/")
        || path.ends_with("tests.rs");
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(source.text.lines()) {
        test |= text.trim_start().starts_with("#[cfg(test)]");
        lines.push(Line { number, code: text.split("//").next().unwrap_or_default(), test });
    }
    lines
}

/// Whether a line names `word`, standing alone.
fn names(line: &Line, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |at: usize| !line.code[..at].ends_with(part) && !line.code[at + word.len()..].starts_with(part);
    line.code.match_indices(word).any(|(at, _)| alone(at))
}

/// Whether a line makes a queue without a limit. The channels of std and tokio are told apart by their argument.
fn unbounded(code: &str) -> bool {
    let without_limit = |(at, found): (usize, &str)| {
        let call = &code[at + found.len()..];
        let arguments = call.find('(').map_or("", |open| &call[open..]);
        (call.starts_with('(') || call.starts_with("::<")) && arguments.starts_with("()")
    };
    code.contains("::unbounded")
        || (code.trim_start().starts_with("use ") && code.contains("unbounded"))
        || code.contains("unbounded_channel")
        || code.contains("SegQueue")
        || code.match_indices("mpsc::channel").any(without_limit)
}

/// Every Rust source file of the workspace but this one, which names what it forbids.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    for package in ["engine", "spool", "loadgen", "benches", "tests"] {
        collect(root, root.join(package), &mut sources);
    }
    sources
}

fn collect(root: &Path, folder: PathBuf, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, path, sources);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("e2e/tidy.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push(Source { path, text });
        }
    }
}
