//! When an output is read again: at once, or a moment later, so that many small writes cost one wake-up.
//!
//! A program that writes a line per request would otherwise wake its keeper for each, and each wake-up takes the processor from
//! somebody. So an output that is hot (its last read was a moment ago) and brings little is left alone for that moment. Whatever
//! fills a good part of its pipe meanwhile is read at once next time, and what fills it gets a larger pipe.

use std::time::{Duration, Instant};

/// How long an output is left alone.
const MOMENT: Duration = Duration::from_millis(1);
/// Reads that bring as much are worth their wake-up.
const WORTHWHILE: usize = 16 << 10;
/// A pipe of the usual size that holds so much is about to stop its writer.
const CROWDED: usize = 32 << 10;

/// The rhythm of one output.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Pace {
    last: Option<Instant>,
    /// It was left alone before the last read.
    rested: bool,
    until: Option<Instant>,
}

impl Pace {
    /// Takes note of a read of `length` bytes; says whether the pipe is too small for the moments between reads.
    pub(crate) fn note(&mut self, length: usize, now: Instant) -> bool {
        let rested = std::mem::take(&mut self.rested);
        // Between two reads there was at least the rest itself.
        let hot = if rested { 2 * MOMENT } else { MOMENT };
        let is_hot = self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) < hot);
        if is_hot && length < WORTHWHILE {
            self.until = Some(now + MOMENT);
            self.rested = true;
        }
        rested && length >= CROWDED
    }

    /// Until when it is left alone.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends the rest when it is over.
    pub(crate) fn look_again(&mut self, now: Instant) {
        self.until = self.until.filter(|until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_micros(100);

    #[test]
    fn a_single_line_is_read_at_once_and_so_is_the_next_one_much_later() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(!pace.note(10, now));
        assert_eq!(pace.until(), None);
        assert!(!pace.note(10, now + 20 * MOMENT));
        assert_eq!(pace.until(), None);
    }

    #[test]
    fn lines_in_quick_succession_are_gathered() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.note(10, now);
        for _ in 0..5 {
            now += TICK;
            pace.note(100, now);
            let until = pace.until().expect("it rests");
            assert_eq!(until, now + MOMENT);
            now = until;
            pace.look_again(now);
            assert_eq!(pace.until(), None);
        }
    }

    #[test]
    fn a_flood_is_never_kept_waiting_and_gets_a_larger_pipe() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.note(100, now);
        pace.note(100, now + TICK);
        assert!(pace.until().is_some());
        pace.look_again(now + TICK + MOMENT);
        assert!(pace.note(64 << 10, now + TICK + MOMENT), "the pipe was full after one moment");
        assert_eq!(pace.until(), None);
    }
}
