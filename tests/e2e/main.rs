//! The end-to-end tests: one binary, so that it is linked once. Those marked "real brokers" run in `tests/run`.

mod harness;
mod tidy;
