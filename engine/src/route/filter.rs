//! MQTT topic filters with named levels.

/// A topic filter (MQTT 5.0 §4.7) whose wildcards may be named: `{x}` is one level, `{x...}` the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// Why a filter cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The filter is empty.
    #[error("the filter is empty; write at least one level, or `#` for every topic")]
    Empty,
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        Ok(Filter(text.to_owned()))
    }
}
