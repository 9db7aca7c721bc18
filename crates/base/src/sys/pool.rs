//! A few threads that stay and run one closure side by side with their caller, on borrowed data and without allocating.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, thread};

/// Threads that wait for work. Ended and joined when dropped.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A round has begun, or the pool ends.
    begun: Condvar,
    /// The last worker has finished its round.
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The closure of the current round; set while workers may call it.
    work: Option<Work>,
    round: u64,
    /// Workers that have not finished the current round.
    running: usize,
    /// Payload of a worker's panic.
    panic: Option<Box<dyn Any + Send>>,
    ended: bool,
}

/// The closure of a round, without the lifetime of what it borrows.
#[derive(Clone, Copy, Debug)]
struct Work(*const (dyn Fn() + Sync + 'static));

// SAFETY: the closure is `Sync`, so threads may call it through a shared reference at the same time.
unsafe impl Send for Work {}

impl Pool {
    /// A pool in which a closure runs on `threads` threads, the caller's among them: one less is started, none for 1.
    ///
    /// # Errors
    /// The system's, when a thread cannot be started.
    pub fn new(name: &str, threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut pool = Self { shared, workers: Vec::new() };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name(format!("{name}-{index}"));
            pool.workers.push(thread.spawn(move || shared.serve())?);
        }
        Ok(pool)
    }

    /// Threads that a closure runs on.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once on every thread at the same time, and returns when all calls have returned. Allocates nothing.
    ///
    /// # Panics
    /// When `work` panics on any thread, after all have left it.
    pub fn run(&mut self, work: &(dyn Fn() + Sync)) {
        if self.workers.is_empty() {
            return work();
        }
        let work_pointer: *const (dyn Fn() + Sync + '_) = work;
        // SAFETY: only the lifetime of what the closure borrows changes. Workers call it between here and the moment at which
        // `running` is 0 again; `wait` below returns after that, on every path: `work` is called in `catch_unwind`.
        let erased = Work(unsafe {
            std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync + 'static)>(work_pointer)
        });
        {
            let mut state = lock(&self.shared.state);
            state.work = Some(erased);
            state.round += 1;
            state.running = self.workers.len();
        }
        self.shared.begun.notify_all();
        let own = catch_unwind(AssertUnwindSafe(work));
        let others = self.shared.wait();
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// Waits until every worker has finished the round; the payload of a panic among them.
    fn wait(&self) -> Option<Box<dyn Any + Send>> {
        let mut state = lock(&self.state);
        while state.running > 0 {
            state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.work = None;
        state.panic.take()
    }

    /// A worker's life.
    fn serve(&self) {
        let mut round = 0;
        while let Some(work) = self.next_round(&mut round) {
            // SAFETY: the caller of `run` keeps the closure alive until this worker has counted itself out below.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*work.0)() }));
            let mut state = lock(&self.state);
            if let Err(panic) = result {
                state.panic = Some(panic);
            }
            state.running -= 1;
            if state.running == 0 {
                self.finished.notify_one();
            }
        }
    }

    /// Waits for a round after `round`; `None` when the pool ends.
    fn next_round(&self, round: &mut u64) -> Option<Work> {
        let mut state = lock(&self.state);
        loop {
            if state.ended {
                return None;
            }
            if state.round != *round {
                *round = state.round;
                return state.work;
            }
            state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.begun.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of the work, so nothing is lost here.
            drop(worker.join());
        }
    }
}

/// No panic leaves a state half changed: the work runs outside this lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Barrier;

    /// Calls `work` once for each job, on whichever thread is free.
    fn for_each<I>(pool: &mut Pool, jobs: I, work: impl Fn(I::Item) + Sync)
    where
        I: Iterator + Send,
    {
        let jobs = Mutex::new(jobs);
        let next = || lock(&jobs).next();
        pool.run(&|| {
            while let Some(job) = next() {
                work(job);
            }
        });
    }

    #[test]
    fn every_job_is_done_once_on_borrowed_data_by_any_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let mut pool = Pool::new("test", threads).expect("threads");
            assert_eq!(pool.threads(), threads.max(1));
            let mut values = vec![0_u32; 100];
            for round in 1..=50 {
                for_each(&mut pool, values.iter_mut(), |value| *value += 1);
                assert!(values.iter().all(|value| *value == round), "{threads} threads");
            }
            for_each(&mut pool, std::iter::empty::<()>(), |()| panic!("no job"));
        }
    }

    #[test]
    fn as_many_jobs_as_threads_run_at_the_same_time() {
        let mut pool = Pool::new("test", 3).expect("threads");
        // Nobody passes the barrier before three are there.
        let (barrier, seen) = (Barrier::new(3), Mutex::new(Vec::new()));
        for_each(&mut pool, 0..3, |_| {
            barrier.wait();
            lock(&seen).push(thread::current().id());
        });
        let distinct: BTreeSet<String> = lock(&seen).iter().map(|id| format!("{id:?}")).collect();
        assert_eq!(distinct.len(), 3);
        assert!(lock(&seen).contains(&thread::current().id()), "the caller works too");
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new("test", 2).expect("threads");
        for _ in 0..20 {
            let mut done = [false; 8];
            let jobs = done.iter_mut().enumerate();
            let result = catch_unwind(AssertUnwindSafe(|| {
                for_each(&mut pool, jobs, |(index, done)| {
                    assert!(index != 3, "job 3");
                    *done = true;
                });
            }));
            assert!(result.is_err() && !done[3]);
        }
        let mut sum = [0; 4];
        for_each(&mut pool, sum.iter_mut(), |value| *value = 1);
        assert_eq!(sum, [1; 4]);
    }
}
