//! Seeded bugs, so that the tests can be tested: `tests/bugs`. No other build has any.

/// Whether this process is to have the bug of that name.
#[cfg(bug = "any")]
pub(crate) fn has_bug(name: &str) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("FAIRLEAD_BUG").ok());
    CHOSEN.as_deref() == Some(name)
}

/// It has none.
#[cfg(not(bug = "any"))]
pub(crate) const fn has_bug(_: &str) -> bool {
    false
}
