//! `fairlead-loadgen report`.

use super::{Error, Exit, print_line};
use fairlead_loadgen::output::write_text;
use fairlead_loadgen::report::page;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Result files of `ais`, `firehose`, `publish` or `kafka`
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Where the page is written to
    #[arg(long, short, default_value = "report.html")]
    output: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        write_text(&self.output, &page(&self.results)?)?;
        print_line(&format!("{}", self.output.display()))?;
        Ok(Exit::Ok)
    }
}
