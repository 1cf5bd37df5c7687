//! Which dialled meter is due for what, and when it may be tried again. Pure: time and jitter are
//! arguments; nobody is dialled here.
//!
//! Invariants: 1. a meter is handed out by `due` only when it is idle, so it has one session at a
//! time; 2. a failed meter waits at least its back-off, at most the cap; 3. `queue` holds exactly
//! one entry per idle meter.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// One kind of scheduled work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// The billing registers, now.
    Registers,
    /// The clock and its deviation from ours.
    Clock,
    /// The load profile from the watermark on.
    Profile,
}

const JOBS: [Job; 3] = [Job::Clock, Job::Registers, Job::Profile];

/// The times of a schedule.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Between two register readings.
    pub registers: Duration,
    /// Between two clock readings.
    pub clock: Duration,
    /// Between two load profile readings.
    pub profile: Duration,
    /// After the first failed session; doubles.
    pub backoff_first: Duration,
    /// The longest back-off.
    pub backoff_cap: Duration,
}

impl Times {
    fn every(&self, job: Job) -> Duration {
        match job {
            Job::Registers => self.registers,
            Job::Clock => self.clock,
            Job::Profile => self.profile,
        }
    }

    /// `first * 2^(failures - 1)`, at most the cap, less up to a quarter by `jitter` (0..=255).
    fn backoff(&self, failures: u32, jitter: u8) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_cap);
        full - full / 4 * u32::from(jitter) / 255
    }
}

struct Entry {
    /// When each of `JOBS` is due.
    due: [Instant; 3],
    failures: u32,
    not_before: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In `queue` under this time.
    Idle(Instant),
    /// Handed out.
    Running,
}

impl Entry {
    fn wake(&self) -> Instant {
        let earliest = self.due.iter().min().copied().unwrap_or(self.not_before);
        earliest.max(self.not_before)
    }
}

/// All dialled meters of this node.
pub struct Schedule {
    times: Times,
    meters: HashMap<String, Entry>,
    queue: BTreeSet<(Instant, String)>,
}

impl Schedule {
    /// An empty schedule.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self { times, meters: HashMap::new(), queue: BTreeSet::new() }
    }

    /// Takes a meter in; everything is due at once. A known meter is left as it is.
    pub fn add(&mut self, now: Instant, serial: &str) {
        if self.meters.contains_key(serial) {
            return;
        }
        let state = State::Idle(now);
        let entry = Entry { due: [now; 3], failures: 0, not_before: now, state };
        self.meters.insert(serial.to_owned(), entry);
        self.queue.insert((now, serial.to_owned()));
    }

    /// Forgets a meter. A running session is the caller's to end.
    pub fn remove(&mut self, serial: &str) {
        if let Some(entry) = self.meters.remove(serial)
            && let State::Idle(at) = entry.state
        {
            self.queue.remove(&(at, serial.to_owned()));
        }
    }

    /// Hands out the meter that waits longest among those due, with its due jobs, and marks it
    /// running. None when nobody is due.
    pub fn due(&mut self, now: Instant) -> Option<(String, Vec<Job>)> {
        let (at, serial) = self.queue.first()?.clone();
        if at > now {
            return None;
        }
        self.queue.remove(&(at, serial.clone()));
        let entry = self.meters.get_mut(&serial)?;
        entry.state = State::Running;
        let jobs = JOBS.iter().zip(entry.due).filter(|(_, due)| *due <= now);
        let jobs = jobs.map(|(job, _)| *job).collect();
        Some((serial, jobs))
    }

    /// Marks an idle meter as running for work from outside the schedule (an order). False when it
    /// is unknown or in a session.
    pub fn take(&mut self, serial: &str) -> bool {
        let Some(entry) = self.meters.get_mut(serial) else { return false };
        let State::Idle(at) = entry.state else { return false };
        self.queue.remove(&(at, serial.to_owned()));
        entry.state = State::Running;
        true
    }

    /// Ends a session that reached the meter: `done` jobs get their next time; the others stay due.
    pub fn succeeded(&mut self, now: Instant, serial: &str, done: &[Job]) {
        let times = self.times;
        self.settle(serial, |entry| {
            entry.failures = 0;
            entry.not_before = now;
            for (job, due) in JOBS.iter().zip(entry.due.iter_mut()) {
                if done.contains(job) {
                    *due = now + times.every(*job);
                }
            }
        });
    }

    /// Ends a session that failed. `jitter` is any octet; it spreads the next tries.
    pub fn failed(&mut self, now: Instant, serial: &str, jitter: u8) {
        let times = self.times;
        self.settle(serial, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before = now + times.backoff(entry.failures, jitter);
        });
    }

    /// When `due` is worth asking again.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    fn settle(&mut self, serial: &str, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.meters.get_mut(serial) else { return };
        if entry.state != State::Running {
            return;
        }
        change(entry);
        let wake = entry.wake();
        entry.state = State::Idle(wake);
        self.queue.insert((wake, serial.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Schedule, Times};
    use std::time::{Duration, Instant};

    fn times() -> Times {
        Times {
            registers: Duration::from_secs(900),
            clock: Duration::from_secs(86_400),
            profile: Duration::from_secs(900),
            backoff_first: Duration::from_secs(5),
            backoff_cap: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_new_meter_is_due_for_all_at_once_and_then_by_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(times());
        schedule.add(start, "A");
        let all = vec![Job::Clock, Job::Registers, Job::Profile];
        assert_eq!(schedule.due(start), Some(("A".to_owned(), all.clone())));
        assert_eq!(schedule.due(start), None, "it has one session at a time");
        schedule.succeeded(start, "A", &all);
        assert_eq!(schedule.due(start + Duration::from_secs(899)), None);
        let later = start + Duration::from_secs(900);
        let due = vec![Job::Registers, Job::Profile];
        assert_eq!(schedule.due(later), Some(("A".to_owned(), due)));
    }

    #[test]
    fn a_job_that_was_not_done_stays_due() {
        let start = Instant::now();
        let mut schedule = Schedule::new(times());
        schedule.add(start, "A");
        schedule.due(start);
        schedule.succeeded(start, "A", &[Job::Clock, Job::Registers]);
        assert_eq!(schedule.due(start), Some(("A".to_owned(), vec![Job::Profile])));
    }

    #[test]
    fn failures_double_the_pause_up_to_the_cap_and_success_forgets_them() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(times());
        schedule.add(now, "A");
        for seconds in [5, 10, 20, 40, 60, 60] {
            assert!(schedule.due(now).is_some());
            schedule.failed(now, "A", 0);
            assert_eq!(schedule.next(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        schedule.due(now);
        schedule.succeeded(now, "A", &[]);
        schedule.due(now);
        schedule.failed(now, "A", 0);
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(5)));
    }

    #[test]
    fn jitter_shortens_by_at_most_a_quarter() {
        let times = times();
        assert_eq!(times.backoff(1, 0), Duration::from_secs(5));
        assert_eq!(times.backoff(1, 255), Duration::from_millis(3_750));
        assert_eq!(times.backoff(u32::MAX, 255), Duration::from_secs(45));
    }

    #[test]
    fn orders_take_an_idle_meter_even_in_back_off_and_never_a_running_one() {
        let now = Instant::now();
        let mut schedule = Schedule::new(times());
        assert!(!schedule.take("A"));
        schedule.add(now, "A");
        schedule.due(now);
        assert!(!schedule.take("A"));
        schedule.failed(now, "A", 0);
        assert!(schedule.take("A"));
        schedule.remove("A");
        schedule.succeeded(now, "A", &[]);
        assert_eq!(schedule.next(), None, "a removed meter does not come back");
    }
}
