//! librdkafka writes most errors into its log and then reports them as events as well. What it has logged is kept until
//! its twin comes, so that each error is one line.

use std::collections::VecDeque;

/// Most lines kept: their twins follow at once, often behind a line or two of another broker.
const LINES: usize = 16;

/// What librdkafka has logged of late.
#[derive(Debug, Default)]
pub(super) struct Said(VecDeque<String>);

impl Said {
    /// librdkafka has logged this.
    pub(super) fn note(&mut self, line: String) {
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// Whether the error has been logged, behind the name of a thread; its line is forgotten with that.
    pub(super) fn take(&mut self, error: &str) -> bool {
        let place = self.0.iter().position(|line| line.ends_with(error));
        place.is_some_and(|place| self.0.remove(place).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_was_logged_is_not_said_again() {
        let mut said = Said::default();
        said.note("[thrd:a:1/bootstrap]: a:1/bootstrap: refused".to_owned());
        said.note("[thrd:a:1/bootstrap]: a:1/bootstrap: refused (1 identical error(s) suppressed)".to_owned());
        assert!(said.take("a:1/bootstrap: refused"), "not only the last line counts");
        assert!(!said.take("a:1/bootstrap: refused"), "one event for each line");
        assert!(!said.take("a:2/bootstrap: refused"));
    }

    #[test]
    fn lines_without_a_twin_do_not_pile_up() {
        let mut said = Said::default();
        (0..=LINES).for_each(|line| said.note(format!("line {line:02}")));
        assert_eq!(said.0.len(), LINES);
        assert!(!said.take("line 00") && said.take("line 01"));
    }
}
