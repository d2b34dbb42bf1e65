//! What is wrong before anything flows: configuration, ports, limits of the system. The text says what, where and what
//! to do; the exit codes are those of `fairlead --help`.

use std::{net::TcpListener, process::Command, sync::Arc};

use fairlead_tests::{Config, EvilBroker, Fairlead, Finished, Scratch, fairlead, fairlead_path, free_port};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::scene::LIMIT;

/// Something to reach is not there (`EX_UNAVAILABLE`).
const UNAVAILABLE: i32 = 69;
/// Something is taken that may be free later (`EX_TEMPFAIL`).
const TEMPORARY: i32 = 75;
/// The configuration or the system does not allow it (`EX_CONFIG`).
const CONFIG: i32 = 78;

/// A configuration whose servers are not there.
fn nowhere() -> Config {
    Config::new(&format!("mqtt://127.0.0.1:{}", free_port()), &format!("127.0.0.1:{}", free_port()), "ais")
}

/// Runs `fairlead COMMAND -c FILE MORE…` on a file with this text.
fn with_file(command: &str, text: &str, more: &[&str]) -> Finished {
    let folder = Scratch::new("config");
    let path = folder.write("fairlead.toml", text);
    let mut args = vec![command, "-c", path.to_str().unwrap()];
    args.extend(more);
    fairlead(&args, |_| ())
}

#[track_caller]
fn assert_says(finished: &Finished, code: i32, texts: &[&str]) {
    for text in texts {
        assert!(finished.output.contains(text), "{text:?} is missing in:\n{}", finished.output);
    }
    assert_eq!(finished.code, code, "{}", finished.output);
}

#[test]
fn sound_configuration_is_explained() {
    let sound = nowhere().toml(free_port());
    let finished = with_file("check", &sound, &[]);
    assert_says(&finished, 0, &["harbour", "ais/#", "127.0.0.1", "default", "fairlead.toml"]);
}

#[test]
fn broken_toml_is_said_with_its_place() {
    for command in ["check", "run"] {
        let finished = with_file(command, "[kafka]\nbrokers = \"a:1\n", &[]);
        assert_says(&finished, CONFIG, &["fairlead.toml:2", "TOML"]);
    }
}

#[test]
fn every_problem_is_said_at_once_and_with_its_place() {
    let text = "\
[[source]]
name = \"harbour\"
url = [\"mqtt://127.0.0.1:1883\"]
quality = 1
keep_alive = \"30 parsecs\"
[kafka]
broker = \"127.0.0.1:9092\"
properties = { \"linger.ms\" = \"5\", \"no.such.property\" = \"1\" }
[[route]]
from = \"ais/#/more\"
topic = \"{unclosed\"
[engine]
ack = \"maybe\"
";
    let finished = with_file("check", text, &[]);
    let places = ["toml:4", "toml:5", "toml:7", "toml:8", "toml:10", "toml:11", "toml:13"];
    assert_says(&finished, CONFIG, &places);
    // What to do: the nearest key, the setting that replaces a managed property.
    assert_says(&finished, CONFIG, &["`brokers`", "no.such.property", "linger.ms", "maybe"]);
    assert!(!finished.output.contains("panicked"));
}

#[test]
fn unknown_key_is_an_error_with_the_nearest_name() {
    let text = nowhere().engine("drian = \"5s\"").toml(free_port());
    assert_says(&with_file("run", &text, &[]), CONFIG, &["drian", "`drain`", "fairlead.toml:"]);
}

#[test]
fn missing_file_is_said() {
    let finished = fairlead(&["run", "-c", "/nowhere/fairlead.toml"], |_| ());
    assert_says(&finished, CONFIG, &["/nowhere/fairlead.toml"]);
}

#[test]
fn flags_overrule_environment_overrules_file() {
    let folder = Scratch::new("config");
    let path = folder.write("fairlead.toml", &nowhere().toml(free_port()));
    let args = ["check", "-c", path.to_str().unwrap()];
    let variable = |command: &mut Command| {
        command.env("FAIRLEAD__KAFKA__BROKERS", "environment.example:9092");
    };
    let finished = fairlead(&args, variable);
    assert_says(&finished, 0, &["environment.example:9092", "FAIRLEAD__KAFKA__BROKERS"]);
    let args = [&args[..], &["--set", "kafka.brokers=flag.example:9092"]].concat();
    let finished = fairlead(&args, variable);
    assert_says(&finished, 0, &["flag.example:9092", "--set"]);
    assert!(!finished.output.contains("environment.example"), "{}", finished.output);
}

#[test]
fn secrets_are_read_and_never_shown() {
    let source = "username = \"fleet\"\npassword = \"${env:HARBOUR_PASSWORD}\"";
    let text = nowhere().source(source).toml(free_port());
    let folder = Scratch::new("config");
    let path = folder.write("fairlead.toml", &text);
    let args = ["check", "-c", path.to_str().unwrap()];
    let finished = fairlead(&args, |command| {
        command.env("HARBOUR_PASSWORD", "chart-and-compass");
    });
    assert_says(&finished, 0, &["password", "***"]);
    assert!(!finished.output.contains("chart-and-compass"), "{}", finished.output);
    assert_says(&fairlead(&args, |_| ()), CONFIG, &["HARBOUR_PASSWORD"]);
}

#[test]
fn sample_is_a_configuration() {
    let sample = fairlead(&["sample"], |_| ());
    assert_eq!(sample.code, 0);
    for key in
        ["[[source]]", "[kafka]", "[[route]]", "[engine]", "[admin]", "receive_maximum", "skip_oversized", "drain"]
    {
        assert!(sample.output.contains(key), "{key} is missing in the sample");
    }
    assert_says(&with_file("check", &sample.output, &[]), 0, &[]);
}

#[test]
fn exit_codes_are_in_the_help() {
    let help = fairlead(&["--help"], |_| ());
    assert_eq!(help.code, 0);
    for code in [UNAVAILABLE, TEMPORARY, CONFIG, 130] {
        assert!(help.output.contains(&code.to_string()), "{code} is missing in:\n{}", help.output);
    }
}

#[test]
fn taken_admin_port_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let finished = with_file("run", &nowhere().toml(port), &[]);
    assert_says(&finished, TEMPORARY, &[&format!("127.0.0.1:{port}"), "admin"]);
}

#[test]
fn unreachable_servers_are_waited_for() {
    let config = nowhere();
    let named = config.urls[0].trim_start_matches("mqtt://");
    let mut bridge = Fairlead::start(&config);
    bridge.wait_unready(named, LIMIT);
    bridge.wait_log(named, LIMIT);
    assert!(bridge.process().ended().is_none(), "it waits");
    assert_eq!(bridge.stop(LIMIT), 0, "nothing was lost");
}

#[test]
fn fail_fast_names_the_side_that_is_missing() {
    let mut config = nowhere();
    let (mqtt, broker) = (config.urls[0].trim_start_matches("mqtt://").to_owned(), EvilBroker::start());
    let finished = with_file("run", &config.toml(free_port()), &["--fail-fast"]);
    assert_says(&finished, UNAVAILABLE, &["`harbour`", &mqtt]);
    config.urls = vec![broker.url()];
    let finished = with_file("run", &config.toml(free_port()), &["--fail-fast"]);
    assert_says(&finished, UNAVAILABLE, &["Kafka", &config.brokers]);
    assert!(!finished.output.contains("MQTT"), "{}", finished.output);
}

/// librdkafka logs an error and reports it as an event.
#[test]
fn an_error_of_librdkafka_is_one_line() {
    let mut bridge = Fairlead::start(&nowhere());
    bridge.wait_log("no broker of", LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    let log = bridge.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let said: Vec<(i64, String)> = lines
        .filter(|line| line["target"] == "kafka")
        .map(|line| (line["fields"]["shard"].as_i64().unwrap(), line["message"].as_str().unwrap().to_owned()))
        .collect();
    assert!(said.iter().any(|(_, text)| text.contains("Connection refused")), "{log}");
    for (place, (shard, text)) in said.iter().enumerate() {
        let twin = |(at, (other, line)): (usize, &(i64, String))| at != place && other == shard && line.ends_with(text);
        assert!(!said.iter().enumerate().any(twin), "twice: {text}\n{log}");
    }
}

#[test]
fn check_connect_says_what_is_not_there() {
    let config = nowhere();
    let finished = with_file("check", &config.toml(free_port()), &["--connect"]);
    let mqtt = config.urls[0].trim_start_matches("mqtt://");
    assert_says(&finished, UNAVAILABLE, &[mqtt, &config.brokers]);
}

/// Runs the bridge until SIGTERM, and expects that it started and ended well.
fn runs(mut command: Command) {
    let folder = Scratch::new("host");
    let path = folder.write("fairlead.toml", &nowhere().toml(free_port()));
    let command = command
        .args(["timeout", "--foreground", "--preserve-status", "3"])
        .arg(fairlead_path())
        .args(["run", "-c"])
        .arg(path);
    command.env("XDG_STATE_HOME", folder.path());
    assert_says(&finished(&command.output().unwrap()), 0, &["total"]);
}

#[test]
fn no_locked_memory_is_needed() {
    let mut command = Command::new("prlimit");
    command.arg("--memlock=65536:65536");
    runs(command);
}

#[test]
fn no_io_uring_is_needed() {
    // As containers do it: io_uring_setup (425 on every architecture) fails with EPERM. The filter holds for this
    // thread and what it starts.
    let thread = std::thread::spawn(move || {
        let deny = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new([(425, vec![])].into(), SeccompAction::Allow, deny, arch).unwrap();
        let program: Arc<BpfProgram> = Arc::new(filter.try_into().unwrap());
        apply_filter(&program).unwrap();
        runs(Command::new("env"));
    });
    thread.join().unwrap();
}

#[test]
fn too_few_files_are_said() {
    let folder = Scratch::new("files");
    let path = folder.write("fairlead.toml", &nowhere().toml(free_port()));
    let mut command = Command::new("prlimit");
    command.args(["--nofile=12:12", "timeout", "20"]).arg(fairlead_path());
    let output = command.args(["run", "-c"]).arg(path).output().unwrap();
    assert_says(&finished(&output), CONFIG, &["open files"]);
}

fn finished(output: &std::process::Output) -> Finished {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    Finished { code: output.status.code().unwrap_or(-1), output: String::from_utf8_lossy(&text).into_owned() }
}
