//! The scheduler of a simulated world: virtual time, tasks that belong to nodes, dice from a seed.
//!
//! Not here: what the tasks do.
//! Invariants:
//! 1. Which of the ready tasks runs next is thrown by dice over their numbers in order, so the
//!    order in which they were woken does not matter.
//! 2. Time stands still while a task is ready, and then goes to the next timer.
//! 3. A killed node's tasks are dropped at once, in the order of their numbers.
//! 4. Every step goes into the trace: equal seeds, equal traces.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use cluster::rt::world::{self, World};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Steps after which a world is stuck: a task that never waits. Whole stories take up to 400,000.
const MOST_STEPS: u64 = 1_000_000;

/// Steps after which it is counted which tasks take them.
const SUSPICIOUS_STEPS: u64 = 900_000;

/// How many of the busiest tasks a stuck world names.
const MOST_BUSY: usize = 8;

/// Dice from a seed: `splitmix64`, by Vigna (public domain).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed; those of another `use_of` of the same seed throw otherwise.
    pub fn new(seed: u64, use_of: u64) -> Self {
        let mut dice = Self(seed ^ use_of.wrapping_mul(0xd6e8_feb8_6659_fd93));
        dice.throw();
        dice
    }

    /// The next throw.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

struct Waking {
    number: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number);
    }
}

struct Task {
    node: u64,
    kind: &'static str,
    work: Option<Work>,
    waker: Waker,
}

#[derive(Default)]
struct Timers {
    by_time: BTreeMap<(Duration, u64), Waker>,
    at: BTreeMap<u64, Duration>,
}

/// The world.
pub struct Executor {
    now: Cell<Duration>,
    numbers: Cell<u64>,
    steps: Cell<u64>,
    trace: Cell<u64>,
    /// Whose task runs; 0 for those of the world itself.
    node: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    timers: RefCell<Timers>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    dice: RefCell<Dice>,
    order: RefCell<Dice>,
    story: RefCell<Vec<String>>,
    /// Steps of each kind of task, from the moment on at which a story takes suspiciously many.
    busy: RefCell<BTreeMap<(u64, &'static str), u64>>,
}

thread_local! {
    static EXECUTOR: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The world that a panic left behind: its tasks are dropped, its story stands.
pub fn left() -> Option<Rc<Executor>> {
    let executor = EXECUTOR.take()?;
    let _entered = world::enter(executor.clone());
    executor.drop_tasks(|_| true);
    Some(executor)
}

/// How a world ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Done,
    /// Nobody waits for anything that could come.
    Deadlock,
    /// A task does not wait, or the time is over.
    Limit,
}

/// Runs `main` in a new world; answers how it ended and the world.
pub fn run(
    seed: u64,
    limit: Duration,
    main: impl Future<Output = ()> + Send + 'static,
) -> (Ended, Rc<Executor>) {
    let executor = Rc::new(Executor {
        now: Cell::default(),
        numbers: Cell::default(),
        steps: Cell::default(),
        trace: Cell::new(seed),
        node: Cell::default(),
        tasks: RefCell::default(),
        timers: RefCell::default(),
        ready: Arc::default(),
        dice: RefCell::new(Dice::new(seed, 1)),
        order: RefCell::new(Dice::new(seed, 2)),
        story: RefCell::default(),
        busy: RefCell::default(),
    });
    let _entered = world::enter(executor.clone());
    EXECUTOR.set(Some(executor.clone()));
    let done = Arc::new(Mutex::new(false));
    let told = done.clone();
    executor.add(
        0,
        "the story",
        Box::pin(async move {
            main.await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }),
    );
    let is_done = || *done.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = executor.go(limit, &is_done);
    // Tasks hold what holds tasks: they go while the world still stands.
    executor.drop_tasks(|_| true);
    EXECUTOR.set(None);
    (ended, executor)
}

fn with<T>(work: impl FnOnce(&Executor) -> T) -> Option<T> {
    // A thread that is ending has no world.
    let executor = EXECUTOR.try_with(|slot| slot.borrow().clone()).ok().flatten()?;
    Some(work(&executor))
}

/// Runs a task that belongs to a node.
pub fn spawn_on<F: Future<Output = ()> + Send + 'static>(node: u64, work: F) {
    with(|executor| executor.add(node, std::any::type_name::<F>(), Box::pin(work)));
}

/// Drops every task of a node: what a kill leaves of a process.
pub fn kill(node: u64) {
    with(|executor| executor.drop_tasks(|owner| owner == node));
}

/// The node whose task runs; 0 for the hands and checkers.
pub fn node() -> u64 {
    with(|executor| executor.node.get()).unwrap_or_default()
}

/// A line of the story.
pub fn tell(line: impl FnOnce() -> String) {
    with(|executor| {
        let line = format!("{:>12.6} s  {}", executor.now.get().as_secs_f64(), line());
        executor.mix(line.bytes().fold(0, |sum, octet| u64::from(octet) + sum * 31 % (1 << 50)));
        executor.story.borrow_mut().push(line);
    });
}

/// A number that rises from call to call, in the order of what happens.
pub fn moment() -> u64 {
    with(|executor| {
        let moment = executor.steps.get() + 1;
        executor.steps.set(moment);
        moment
    })
    .unwrap_or(0)
}

/// The next throw of the world's dice, below `limit`.
pub fn throw(limit: u64) -> u64 {
    with(|executor| executor.random() % limit.max(1)).unwrap_or(0)
}

/// The virtual time.
pub fn time() -> Duration {
    with(|executor| executor.now.get()).unwrap_or_default()
}

impl Executor {
    /// What the story says so far.
    pub fn story(&self) -> Vec<String> {
        self.story.borrow().clone()
    }

    /// Steps that were taken.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Who took most of the last steps of a world that took too many.
    pub fn busiest(&self) -> Vec<String> {
        let busy = self.busy.borrow();
        let mut busy: Vec<_> =
            busy.iter().map(|((node, kind), steps)| (steps, node, kind)).collect();
        busy.sort_by(|one, other| other.cmp(one));
        let line = |(steps, node, kind): &(&u64, &u64, &&str)| format!("n{node} {steps} {kind}");
        busy.iter().take(MOST_BUSY).map(line).collect()
    }

    /// A number that differs when anything went otherwise.
    pub fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// The virtual time.
    pub fn time(&self) -> Duration {
        self.now.get()
    }

    fn mix(&self, value: u64) {
        self.trace
            .set((self.trace.get() ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23));
    }

    fn number(&self) -> u64 {
        let number = self.numbers.get() + 1;
        self.numbers.set(number);
        number
    }

    fn add(&self, node: u64, kind: &'static str, work: Work) {
        let number = self.number();
        let ready = self.ready.clone();
        let waker = Waker::from(Arc::new(Waking { number, ready }));
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(number, Task { node, kind, work: Some(work), waker });
    }

    fn drop_tasks(&self, of: impl Fn(u64) -> bool) {
        let mut gone = Vec::new();
        self.tasks.borrow_mut().retain(|_, task| {
            let keep = !of(task.node);
            if !keep {
                gone.push(task.work.take());
            }
            keep
        });
        // Outside of the borrow: what is dropped may wake others.
        drop(gone);
    }

    fn next_ready(&self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let lot = self.order.borrow_mut().throw() % ready.len() as u64;
        let number = *ready.iter().nth(usize::try_from(lot).ok()?)?;
        ready.remove(&number);
        Some(number)
    }

    fn go(&self, limit: Duration, is_done: &dyn Fn() -> bool) -> Ended {
        loop {
            while let Some(number) = self.next_ready() {
                self.step(number);
                if is_done() {
                    return Ended::Done;
                }
                if self.steps.get() > MOST_STEPS {
                    return Ended::Limit;
                }
            }
            let next = self.timers.borrow_mut().by_time.pop_first();
            let Some(((at, number), waker)) = next else { return Ended::Deadlock };
            self.timers.borrow_mut().at.remove(&number);
            if at > limit {
                return Ended::Limit;
            }
            self.now.set(self.now.get().max(at));
            waker.wake();
        }
    }

    fn step(&self, number: u64) {
        let taken =
            self.tasks.borrow_mut().get_mut(&number).and_then(|task| {
                Some((task.node, task.kind, task.work.take()?, task.waker.clone()))
            });
        let Some((node, kind, mut work, waker)) = taken else { return };
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > SUSPICIOUS_STEPS {
            *self.busy.borrow_mut().entry((node, kind)).or_default() += 1;
        }
        self.mix(number);
        self.mix(u64::try_from(self.now.get().as_nanos()).unwrap_or(u64::MAX));
        let before = self.node.replace(node);
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        self.node.set(before);
        match polled {
            Poll::Ready(()) => {
                self.tasks.borrow_mut().remove(&number);
            }
            Poll::Pending => {
                // A task that killed its own node is gone.
                if let Some(task) = self.tasks.borrow_mut().get_mut(&number) {
                    task.work = Some(work);
                }
            }
        }
    }
}

impl World for Executor {
    fn now(&self) -> Duration {
        self.now.get()
    }

    fn spawn(&self, kind: &'static str, task: Work) {
        self.add(self.node.get(), kind, task);
    }

    fn wake_at(&self, at: Duration, waker: Waker) -> u64 {
        let number = self.number();
        let mut timers = self.timers.borrow_mut();
        timers.by_time.insert((at, number), waker);
        timers.at.insert(number, at);
        number
    }

    fn forget(&self, number: u64) {
        let mut timers = self.timers.borrow_mut();
        if let Some(at) = timers.at.remove(&number) {
            timers.by_time.remove(&(at, number));
        }
    }

    fn random(&self) -> u64 {
        self.dice.borrow_mut().throw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story_of(seed: u64) -> (Ended, Vec<String>, u64) {
        let (ended, world) = run(seed, Duration::from_secs(60), async {
            for task in 0..3_u64 {
                spawn_on(task, async move {
                    for turn in 0..5 {
                        world::sleep(Duration::from_millis(throw(50))).await;
                        tell(|| format!("task {task} turn {turn}"));
                    }
                });
            }
            world::sleep(Duration::from_millis(100)).await;
            kill(2);
            world::sleep(Duration::from_secs(1)).await;
        });
        (ended, world.story(), world.trace())
    }

    #[test]
    fn one_seed_is_one_story_and_another_seed_another() {
        assert_eq!(story_of(7), story_of(7));
        assert_ne!(story_of(7).2, story_of(8).2);
        let (ended, story, _) = story_of(7);
        assert_eq!(ended, Ended::Done);
        assert!(story.iter().filter(|line| line.contains("task 1")).count() == 5);
    }

    #[test]
    fn what_waits_for_nothing_is_a_deadlock_and_what_never_ends_has_a_limit() {
        let second = Duration::from_secs(1);
        assert_eq!(run(1, second, std::future::pending()).0, Ended::Deadlock);
        assert_eq!(
            run(1, second, async { world::sleep(Duration::from_secs(9)).await }).0,
            Ended::Limit
        );
    }
}
