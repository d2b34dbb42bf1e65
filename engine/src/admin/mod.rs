//! The control thread's HTTP endpoint.
