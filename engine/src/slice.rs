//! How long a thread of this process may run before another that waits for its core, and which it may interrupt.

#![expect(unsafe_code, reason = "sched_setattr(2) has no safe wrapper; each block says why it is sound")]

use std::{io, time::Duration};

use libc::{SYS_sched_getattr, SYS_sched_setattr, sched_attr};

/// The least that Linux grants.
const SLICE: Duration = Duration::from_micros(100);

/// Asks for short slices for this thread and for those that it starts from now on. Their share of a core stays the same,
/// but where they share it with others they get it sooner when something arrives: at once, and not when the other's
/// slice of milliseconds is over. Linux before 6.12 does not listen; a policy that an operator has set is left alone.
///
/// # Errors
/// As of `sched_setattr(2)`; a sandbox may forbid it. Nothing has changed then.
pub(crate) fn shorten() -> io::Result<()> {
    ask(libc::SCHED_OTHER)
}

/// As [`shorten`], and what wakes this thread, or those that it starts from now on, is not interrupted by it.
///
/// # Errors
/// As [`shorten`].
pub(crate) fn defer() -> io::Result<()> {
    ask(libc::SCHED_BATCH)
}

fn ask(policy: i32) -> io::Result<()> {
    let mut attributes = attributes()?;
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.sched_policy = policy as u32;
    attributes.sched_runtime = SLICE.as_nanos() as u64;
    // SAFETY: the attributes are valid for as many bytes as they say, and read during the call only.
    let result = unsafe { libc::syscall(SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The scheduling attributes of this thread.
fn attributes() -> io::Result<sched_attr> {
    let size = size_of::<sched_attr>() as u32;
    let mut attributes = sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the attributes are valid for `size` bytes, and written during the call only.
    let result = unsafe { libc::syscall(SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_passes_its_slice_and_policy_on_and_keeps_its_nice_value() {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
        if (numbers.next(), numbers.next()) < (Some(6), Some(12)) {
            println!("SKIPPED: Linux {release} has no slices");
            return;
        }
        let started = std::thread::spawn(|| {
            let nice = rustix::process::nice(3).unwrap();
            shorten().unwrap();
            let shortened = std::thread::spawn(attributes).join().unwrap().unwrap();
            defer().unwrap();
            (nice, shortened, std::thread::spawn(attributes).join().unwrap().unwrap())
        });
        let (nice, shortened, deferred) = started.join().unwrap();
        let read =
            |attributes: sched_attr| (attributes.sched_policy as i32, attributes.sched_runtime, attributes.sched_nice);
        assert_eq!(read(shortened), (libc::SCHED_OTHER, 100_000, nice));
        assert_eq!(read(deferred), (libc::SCHED_BATCH, 100_000, nice));
    }
}
