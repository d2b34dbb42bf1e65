//! The command line as it is built here. Cargo builds a package's binary for its integration tests only, and the
//! end-to-end tests of the workspace need the binary.

use std::process::Command;

#[test]
fn help_names_every_command() {
    let output = Command::new(env!("CARGO_BIN_EXE_fairlead-loadgen")).arg("--help").output().expect("the binary runs");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    for command in ["ais", "firehose", "kafka", "publish", "verify", "report", "nmea"] {
        assert!(help.contains(command), "{command} is missing in:\n{help}");
    }
}

#[test]
fn unknown_command_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_fairlead-loadgen")).arg("sail").output().expect("the binary runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("sail"));
}
