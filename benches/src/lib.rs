//! Criterion benches, one file a stage of the line.
