//! The queue of frames to open and of bands to make, shared by the threads of an encoding.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Job, Piece, Pieces};

/// Most opened frames that wait for threads; the thread that opened a further one makes it alone.
const MOST_WAITING: usize = 32;

/// The work of one encoding, shared by its threads.
pub(super) struct Work<'j, I> {
    left: Mutex<Left<'j, I>>,
    /// A frame was opened, or refused.
    opened: Condvar,
}

/// What is left to do. Opening a frame may mean to decode it, which takes the longest, so that is begun first: two threads then
/// share three images evenly.
struct Left<'j, I> {
    new: I,
    /// Frames that are being opened.
    opening: usize,
    waiting: [Option<Pieces<'j>>; MOST_WAITING],
    /// How many wait, and how many may.
    count: usize,
    room: usize,
}

enum Task<'j> {
    Open(Job<'j>),
    Convert(Piece<'j>),
}

impl<'j, I: Iterator<Item = Job<'j>>> Work<'j, I> {
    /// The work on `jobs`. Unless it `hands_over`, a thread that opens a frame makes all of it.
    pub(super) fn new(jobs: I, hands_over: bool) -> Self {
        let room = if hands_over { MOST_WAITING } else { 0 };
        let left = Left { new: jobs, opening: 0, waiting: [const { None }; MOST_WAITING], count: 0, room };
        Self { left: Mutex::new(left), opened: Condvar::new() }
    }

    /// Works until nothing is left for this thread.
    pub(super) fn help(&self) {
        while let Some(task) = self.next() {
            match task {
                Task::Convert(piece) => piece.convert(),
                Task::Open(job) => {
                    let opening = Opening(self);
                    let pieces = job.open().and_then(|pieces| self.lock().keep(pieces));
                    drop(opening);
                    pieces.into_iter().flatten().for_each(Piece::convert);
                }
            }
        }
    }

    /// The next task. Waits while there is none, but a frame that is being opened may bring some.
    fn next(&self) -> Option<Task<'j>> {
        let mut left = self.lock();
        loop {
            if let Some(task) = left.next() {
                return Some(task);
            }
            if left.opening == 0 || left.room == 0 {
                return None;
            }
            left = self.opened.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<'j, I> Work<'j, I> {
    /// Frames are opened and bands made outside of the lock, so no panic leaves it half changed.
    fn lock(&self) -> MutexGuard<'_, Left<'j, I>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame that is being opened; also a panic ends that, or other threads would wait for ever.
struct Opening<'w, 'j, I>(&'w Work<'j, I>);

impl<I> Drop for Opening<'_, '_, I> {
    fn drop(&mut self) {
        self.0.lock().opening -= 1;
        self.0.opened.notify_all();
    }
}

impl<'j, I: Iterator<Item = Job<'j>>> Left<'j, I> {
    fn next(&mut self) -> Option<Task<'j>> {
        if let Some(job) = self.new.next() {
            self.opening += 1;
            return Some(Task::Open(job));
        }
        loop {
            // The latest: its pixels may still be in the cache of the thread that asks.
            let latest = self.waiting.get_mut(self.count.checked_sub(1)?)?;
            if let Some(piece) = latest.as_mut().and_then(Iterator::next) {
                return Some(Task::Convert(piece));
            }
            *latest = None;
            self.count -= 1;
        }
    }

    /// Keeps an opened frame for whichever thread is free next; gives it back when there is no room.
    fn keep(&mut self, pieces: Pieces<'j>) -> Option<Pieces<'j>> {
        let place = self.waiting.get_mut(self.count).filter(|_| self.count < self.room);
        let Some(place) = place else { return Some(pieces) };
        self.count += 1;
        place.replace(pieces)
    }
}
