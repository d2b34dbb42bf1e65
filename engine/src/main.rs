//! The `fairlead` binary.

use std::process::ExitCode;

/// One allocator for the engine and librdkafka.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fairlead::cli::main()
}
