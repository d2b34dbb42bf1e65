//! `fairlead-loadgen nmea`: what is in recorded files, so that a test can hold the counts as constants.

use super::{Error, Exit, print_line};
use fairlead_loadgen::ais::nmea::read_files;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files with AIS sentences
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let (_, counts) = read_files(&self.files)?;
        print_line(&serde_json::to_string(&counts).expect("counts are plain data"))?;
        Ok(Exit::Ok)
    }
}
