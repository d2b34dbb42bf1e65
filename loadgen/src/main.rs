//! The `fairlead-loadgen` binary.
fn main() {}
