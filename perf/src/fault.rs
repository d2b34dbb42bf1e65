//! What goes wrong in the middle of a run, and when it is mended.

use crate::scenario::{Fault, FaultKind};
use std::time::{Duration, Instant};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Nothing,
    Break(FaultKind),
    Mend(FaultKind),
}

/// When a fault begins and ends.
#[derive(Debug)]
pub(crate) struct Timetable {
    fault: Option<Fault>,
    next: Instant,
    is_broken: bool,
}

impl Timetable {
    /// The bridge starts `now`.
    pub(crate) fn start(fault: Option<Fault>, now: Instant) -> Self {
        let after = fault.map_or(0.0, |fault| fault.after);
        Self { fault, next: now + Duration::from_secs_f64(after), is_broken: false }
    }

    /// What is to be done; each deed is named once.
    pub(crate) fn poll(&mut self, now: Instant) -> Deed {
        let Some(fault) = self.fault.filter(|_| now >= self.next) else { return Deed::Nothing };
        if self.is_broken {
            return self.mend();
        }
        self.is_broken = true;
        self.next = now + Duration::from_secs_f64(fault.lasts);
        Deed::Break(fault.kind)
    }

    /// The run is over: what is broken is to be mended now. None where the fault has not begun.
    pub(crate) fn finish(&mut self) -> Option<Deed> {
        match self.fault {
            None => Some(Deed::Nothing),
            Some(_) if self.is_broken => Some(self.mend()),
            Some(_) => None,
        }
    }

    fn mend(&mut self) -> Deed {
        self.is_broken = false;
        self.fault.take().map_or(Deed::Nothing, |fault| Deed::Mend(fault.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Fault = Fault { kind: FaultKind::StopKafka, after: 10.0, lasts: 60.0 };

    #[test]
    fn a_fault_begins_and_ends_once() {
        let start = fairlead_tests::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timetable = Timetable::start(Some(FAULT), start);
        assert_eq!(timetable.poll(at(9)), Deed::Nothing);
        assert_eq!(timetable.poll(at(11)), Deed::Break(FaultKind::StopKafka));
        // It lasts from when it began, not from when it should have.
        assert_eq!(timetable.poll(at(70)), Deed::Nothing);
        assert_eq!(timetable.poll(at(71)), Deed::Mend(FaultKind::StopKafka));
        assert_eq!(timetable.poll(at(999)), Deed::Nothing);
        assert_eq!(timetable.finish(), Some(Deed::Nothing));
    }

    #[test]
    fn a_run_that_ends_early_is_mended_or_has_missed_its_fault() {
        let start = fairlead_tests::now();
        let mut timetable = Timetable::start(Some(FAULT), start);
        assert_eq!(timetable.finish(), None);
        timetable.poll(start + Duration::from_secs(11));
        assert_eq!(timetable.finish(), Some(Deed::Mend(FaultKind::StopKafka)));
        assert_eq!(Timetable::start(None, start).finish(), Some(Deed::Nothing));
    }
}
