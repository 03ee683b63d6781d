//! A store of things made ahead of need, filled by a thread of its own: the ready namespaces.
//!
//! Filling waits for a quiet moment as long as enough is in stock, because a refill takes the same locks and the same processors as
//! the container that just started. An empty store is filled at once, and a claim that finds nothing makes its own thing on a thread
//! of its own. The same thread runs small jobs that must not delay an answer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long after a claim the refill of a half-full store waits.
const QUIET: Duration = Duration::from_millis(40);
/// How long a failed attempt to fill rests.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What the thread does: make one more, and a turn of the waiting jobs.
pub(crate) trait Worker: Send + 'static {
    type Item: Send + 'static;
    type Error: fmt::Display;
    type Job: Send + 'static;

    fn make(&mut self) -> Result<Self::Item, Self::Error>;

    /// Tries the job; one that is not finished comes back with the time to wait until the next try.
    fn run(&mut self, job: Self::Job) -> Option<(Self::Job, Duration)>;

    /// The last turn of a job that is not finished when the thread ends.
    fn end(&mut self, job: Self::Job) {
        drop(self.run(job));
    }
}

struct State<W: Worker> {
    items: VecDeque<W::Item>,
    /// Each job with the time from which it may run.
    jobs: Vec<(Instant, W::Job)>,
    last_claim: Option<Instant>,
    stop: bool,
}

struct Shared<W: Worker> {
    state: Mutex<State<W>>,
    changed: Condvar,
    wanted: usize,
}

impl<W: Worker> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        // A panic elsewhere leaves the queue itself whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store; dropping it stops the thread and drops what is in stock.
pub(crate) struct Stock<W: Worker> {
    shared: Arc<Shared<W>>,
    thread: Option<JoinHandle<()>>,
}

impl<W: Worker> fmt::Debug for Stock<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stock").field("ready", &self.ready()).field("wanted", &self.shared.wanted).finish()
    }
}

impl<W: Worker> Stock<W> {
    /// Starts the thread, named `name`, which keeps `wanted` items in stock.
    pub(crate) fn open(name: &str, wanted: usize, worker: W) -> io::Result<Self> {
        let state = State { items: VecDeque::new(), jobs: Vec::new(), last_claim: None, stop: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), wanted });
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&theirs, worker))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes the oldest item in stock. The thread learns of it with the next [`Self::tend`] or [`Self::submit`], which the caller
    /// makes when it has nothing more urgent to do: waking a thread costs more than all of the claim's other bookkeeping.
    pub(crate) fn take(&self) -> Option<W::Item> {
        let mut state = self.shared.lock();
        state.last_claim = Some(Instant::now());
        state.items.pop_front()
    }

    /// Wakes the thread to see to the stock.
    pub(crate) fn tend(&self) {
        self.shared.changed.notify_one();
    }

    pub(crate) fn ready(&self) -> usize {
        self.shared.lock().items.len()
    }

    /// Hands a job to the thread, to be tried after `delay`.
    pub(crate) fn submit(&self, job: W::Job, delay: Duration) {
        self.shared.lock().jobs.push((Instant::now() + delay, job));
        self.shared.changed.notify_one();
    }
}

impl<W: Worker> Drop for Stock<W> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps network namespaces ready had panicked");
        }
    }
}

fn serve<W: Worker>(shared: &Shared<W>, mut worker: W) {
    let mut failed_at: Option<Instant> = None;
    loop {
        let mut state = shared.lock();
        if state.stop {
            let jobs = std::mem::take(&mut state.jobs);
            drop(state);
            jobs.into_iter().for_each(|(_, job)| worker.end(job));
            return;
        }
        let refill_in = refill_delay(state.items.len(), shared.wanted, state.last_claim, failed_at);
        let now = Instant::now();
        let due: Vec<_> = state.jobs.extract_if(.., |(at, _)| *at <= now).collect();
        if due.is_empty() && refill_in != Some(Duration::ZERO) {
            let next_job = state.jobs.iter().map(|(at, _)| at.saturating_duration_since(now)).min();
            wait(shared, state, refill_in.into_iter().chain(next_job).min());
            continue;
        }
        drop(state);

        if refill_in == Some(Duration::ZERO) {
            failed_at = refill(shared, &mut worker);
        }
        for (_, job) in due {
            if let Some((job, delay)) = worker.run(job) {
                shared.lock().jobs.push((Instant::now() + delay, job));
            }
        }
    }
}

/// Makes one item; answers when it failed, if it did.
fn refill<W: Worker>(shared: &Shared<W>, worker: &mut W) -> Option<Instant> {
    match worker.make() {
        Ok(item) => {
            shared.lock().items.push_back(item);
            None
        }
        Err(error) => {
            tracing::warn!("cannot keep a network namespace ready: {error}");
            Some(Instant::now())
        }
    }
}

fn wait<W: Worker>(shared: &Shared<W>, state: MutexGuard<'_, State<W>>, time: Option<Duration>) {
    match time {
        Some(time) => drop(shared.changed.wait_timeout(state, time)),
        None => drop(shared.changed.wait(state)),
    }
}

/// When the next item shall be made: `None` while the store is full.
pub(crate) fn refill_delay(
    ready: usize,
    wanted: usize,
    last_claim: Option<Instant>,
    failed_at: Option<Instant>,
) -> Option<Duration> {
    if ready >= wanted {
        return None;
    }
    let rest = |since: Option<Instant>, span: Duration| {
        since.map_or(Duration::ZERO, |at| span.saturating_sub(at.elapsed()))
    };
    let pause = rest(failed_at, PAUSE_AFTER_FAILURE);
    let quiet = if ready * 2 < wanted { Duration::ZERO } else { rest(last_claim, QUIET) };
    Some(pause.max(quiet))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u32);

    impl Worker for Counter {
        type Item = u32;
        type Error = &'static str;
        type Job = (u32, std::sync::mpsc::Sender<()>);

        fn make(&mut self) -> Result<u32, &'static str> {
            self.0 += 1;
            Ok(self.0)
        }

        fn run(&mut self, (turns, done): Self::Job) -> Option<(Self::Job, Duration)> {
            if turns == 0 {
                done.send(()).unwrap();
                return None;
            }
            Some(((turns - 1, done), Duration::from_millis(1)))
        }
    }

    fn until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(10), "waited too long");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn the_store_fills_itself_and_hands_out_the_oldest() {
        let stock = Stock::open("test", 3, Counter(0)).unwrap();
        until(|| stock.ready() == 3);
        assert_eq!(stock.take(), Some(1));
        stock.tend();
        until(|| stock.ready() == 3);
        assert_eq!([stock.take(), stock.take(), stock.take()], [Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn a_job_is_tried_until_it_is_finished() {
        let stock = Stock::open("test", 0, Counter(0)).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        stock.submit((3, sender), Duration::ZERO);
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(stock.take(), None);
    }

    #[test]
    fn a_half_full_store_is_left_alone_right_after_a_claim() {
        let now = Some(Instant::now());
        assert_eq!(refill_delay(8, 8, now, None), None);
        assert!(refill_delay(4, 8, now, None) > Some(Duration::ZERO));
        assert_eq!(refill_delay(3, 8, now, None), Some(Duration::ZERO));
        assert!(refill_delay(0, 8, None, now) > Some(Duration::from_secs(1)));
    }
}
