//! `fairlead sample`: a commented configuration with every key and default.

use super::{Exit, print};
use crate::settings::SAMPLE;

/// Prints the sample.
pub(super) fn run() -> Exit {
    print(SAMPLE, Exit::Success)
}
