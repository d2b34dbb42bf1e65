//! Logs on standard error.
mod line;
pub use line::printable;
