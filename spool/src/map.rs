//! The memory map of an active segment, the signals that files may raise, and the only unsafe code of this package.

#![allow(unsafe_code, reason = "storing into a map of a file, and signals, cannot be expressed safely")]

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    ptr,
    sync::{Once, OnceLock},
};

use memmap2::{MmapOptions, MmapRaw};

/// The writable map of one whole file. It has one owner, which alone stores into it; reading goes through the file.
#[derive(Debug)]
pub struct FileMap {
    map: MmapRaw,
}

impl FileMap {
    /// Maps the first `size` bytes of `file`, which must be allocated and written, and brings the pages in.
    pub(crate) fn new(file: &File, size: u64) -> io::Result<Self> {
        let length = usize::try_from(size).map_err(io::Error::other)?;
        Ok(Self { map: MmapOptions::new().len(length).populate().map_raw(file)? })
    }

    /// Stores `bytes` at `offset`.
    pub(crate) fn store(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len()).expect("an offset inside a segment");
        assert!(end <= self.map.len(), "a store outside of the segment: {end} of {}", self.map.len());
        // SAFETY: the range lies inside the map (asserted above) and `bytes` is not part of it, because no reference
        // into the map is ever made. `&mut self` makes this the only store of this process; other processes are kept
        // out by the folder's lock, and whoever reads the file at the same time does so with `pread`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(offset), bytes.len()) }
    }
}

/// The last words of a process whose file was cut between the look at it and the store.
const CUT: &[u8] =
    b"SIGBUS: a segment of the spool was cut, or its disk failed, in the moment of a store. Nothing that \
was acknowledged is lost by that; start again.\n";

/// What was to happen on SIGBUS before [`handle_signals`].
static FORMER: OnceLock<libc::sigaction> = OnceLock::new();

/// Sees to it, once in a process, that a write beyond the process's limit of file sizes fails as one on a full disk does
/// instead of ending the process (SIGXFSZ), and that a store into a file that was cut ends it with a message (SIGBUS).
pub(crate) fn handle_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if action(libc::SIGXFSZ, None).is_some_and(|former| former.sa_sigaction == libc::SIG_DFL) {
            let mut ignore = nothing();
            ignore.sa_sigaction = libc::SIG_IGN;
            action(libc::SIGXFSZ, Some(&ignore));
        }
        let Some(former) = action(libc::SIGBUS, None) else { return };
        FORMER.get_or_init(|| former);
        let mut tell = nothing();
        tell.sa_sigaction = say_cut as extern "C" fn(libc::c_int) as libc::sighandler_t;
        tell.sa_flags = libc::SA_ONSTACK;
        action(libc::SIGBUS, Some(&tell));
    });
}

/// Says what happened and gives the signal back to whoever had it before: the store is tried again at once, fails again,
/// and the former handler, which is the end of the process if there was none, is called for it.
extern "C" fn say_cut(signal: libc::c_int) {
    // SAFETY: `write` may be called in a signal handler; the bytes are static. Whether they arrive changes nothing.
    unsafe { libc::write(libc::STDERR_FILENO, CUT.as_ptr().cast(), CUT.len()) };
    // Set before this handler was installed, so that this is an atomic load.
    action(signal, Some(FORMER.get().unwrap_or(&nothing())));
}

/// The default action.
fn nothing() -> libc::sigaction {
    // SAFETY: all zeros are SIG_DFL, no flags, no other signal blocked, no restorer: each a valid value of its field.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Sets what happens on a signal, if told to; returns what was set before.
fn action(signal: libc::c_int, new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    let mut former = nothing();
    // SAFETY: both pointers are valid for the call or null. A new action is SIG_IGN, what was set before, or `say_cut`,
    // which is a handler of one argument, as its flags say, and does only what a signal handler may.
    let done = unsafe { libc::sigaction(signal, new.map_or(ptr::null(), ptr::from_ref), &raw mut former) };
    (done == 0).then_some(former)
}
