//! The `fairlead` binary.

use std::process::ExitCode;

/// One allocator for the engine and librdkafka.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One value keeps all of a huge page resident: they double the memory and save little or no CPU time. A kernel without
    // them refuses, and has nothing to be forbidden.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    fairlead::cli::main()
}
