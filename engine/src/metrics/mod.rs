//! Counters, gauges and histograms: closed enums, arrays of one writer for each shard, exported by the admin thread.
