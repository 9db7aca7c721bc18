//! A recording on a thread of its own, behind a bounded queue.
//!
//! Threads that move the robot give messages to the queue: an atomic counter and a slot of an array allocated at the start. None of
//! them waits; what finds the queue full is dropped and counted. The thread writes, and reports what it cannot write; it
//! then tries again every few seconds.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Error, Options, RecordedTopic, Recording};
use vla_base::time::Stamp;

/// Messages in the queue.
const SLOTS: usize = 8192;
/// Pause of the thread while the queue is empty: it is not woken, so that no other thread makes a system call for it.
const IDLE: Duration = Duration::from_millis(5);
/// What was written reaches the system this often.
const FLUSH: Duration = Duration::from_secs(1);
/// Pause after an error.
const RETRY: Duration = Duration::from_secs(5);
/// Buffers of an [`OutputRecorder`].
const BUFFERS: usize = 16;

/// The recorder, for any thread. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: SyncSender<Item>,
    shared: Arc<Shared>,
}

struct Item {
    topic: usize,
    at: Stamp,
    data: Data,
}

enum Data {
    /// Shared with the rest of the node.
    Shared(Bytes),
    /// A buffer of an [`OutputRecorder`], which gets it back.
    Buffer(Vec<u8>, SyncSender<Vec<u8>>),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Buffer(bytes, _) => bytes,
        }
    }
}

struct Shared {
    max_queue: usize,
    queued: AtomicUsize,
    stop: AtomicBool,
    written: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    unwritten: AtomicU64,
    removed: AtomicU64,
    /// Only the recorder's thread and diagnostics use the lock.
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    file: Option<Arc<Path>>,
    fault: Option<Arc<str>>,
}

/// How a recording goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The file that is being written.
    pub file: Option<Arc<Path>>,
    /// Messages written.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that found the queue full.
    pub dropped: u64,
    /// Messages that could not be written.
    pub unwritten: u64,
    /// Files and earlier recordings removed for the greatest size.
    pub removed: u64,
    /// Why nothing is written now.
    pub fault: Option<Arc<str>>,
}

/// The recorder's thread.
pub struct RecorderThread {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Starts the thread. `max_queue`: bytes of messages that wait for it.
    ///
    /// # Errors
    /// [`Error::Thread`]. A folder that cannot be written is no error here: [`Status::fault`].
    pub fn start(
        options: Options,
        topics: Vec<RecordedTopic>,
        max_queue: usize,
    ) -> Result<(Self, RecorderThread), Error> {
        let (queue, items) = mpsc::sync_channel(SLOTS);
        let shared = Arc::new(Shared {
            max_queue,
            queued: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            written: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            state: Mutex::default(),
        });
        let now = Instant::now();
        let recording = Recording::new(options, topics);
        let mut worker =
            Worker { recording, shared: Arc::clone(&shared), items, flushed: now, retry: None, largest: 0 };
        let run = move || {
            // A recording is worth no robot: the node goes on without it.
            if panic::catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                worker.shared.set_fault(Some("the recorder panicked, which is a bug; the log has the message".into()));
            }
        };
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn(run).map_err(Error::Thread)?;
        Ok((Self { queue, shared: Arc::clone(&shared) }, RecorderThread { shared, thread }))
    }

    /// Records a message of a topic (its index) that is shared with others: nothing is copied.
    pub fn message(&self, topic: usize, at: Stamp, data: &Bytes) {
        if self.shared.admit(data.len()) {
            self.send(Item { topic, at, data: Data::Shared(data.clone()) });
        }
    }

    /// A recorder of messages that one thread at a time serializes.
    pub fn output(&self) -> OutputRecorder {
        let (home, buffers) = mpsc::sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            // There is a slot for each.
            home.try_send(Vec::new()).ok();
        }
        OutputRecorder { recorder: self.clone(), home, buffers }
    }

    /// How the recording goes.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let State { file, fault } = shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            file,
            written: count(&shared.written),
            bytes: count(&shared.bytes),
            dropped: count(&shared.dropped),
            unwritten: count(&shared.unwritten),
            removed: count(&shared.removed),
            fault,
        }
    }

    fn send(&self, item: Item) -> bool {
        let Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) = self.queue.try_send(item) else {
            return true;
        };
        self.shared.queued.fetch_sub(item.data.bytes().len(), Ordering::Relaxed);
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        // The buffer is used for the next message.
        if let Data::Buffer(buffer, home) = item.data {
            home.try_send(buffer).ok();
        }
        false
    }
}

impl Shared {
    /// Whether a message of this length fits into the queue; it then counts.
    fn admit(&self, length: usize) -> bool {
        let before = self.queued.fetch_add(length, Ordering::Relaxed);
        // A message above the bound is recorded when nothing else waits.
        let fits = before == 0 || before.saturating_add(length) <= self.max_queue;
        if !fits {
            self.queued.fetch_sub(length, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    fn set_fault(&self, fault: Option<Arc<str>>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fault = fault;
    }
}

/// Records messages that are serialized for it, in buffers that are used again.
pub struct OutputRecorder {
    recorder: Recorder,
    home: SyncSender<Vec<u8>>,
    buffers: Receiver<Vec<u8>>,
}

impl OutputRecorder {
    /// Records a message of a topic (its index), which `write` puts into an empty buffer. False when it is dropped, which is counted.
    pub fn record(&mut self, topic: usize, at: Stamp, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let shared = &self.recorder.shared;
        let Ok(mut buffer) = self.buffers.try_recv() else {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        buffer.clear();
        write(&mut buffer);
        if shared.admit(buffer.len()) {
            self.recorder.send(Item { topic, at, data: Data::Buffer(buffer, self.home.clone()) })
        } else {
            self.home.try_send(buffer).ok();
            false
        }
    }
}

impl RecorderThread {
    /// Asks the thread to write what waits, end the file and return.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    /// Whether it has returned.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

struct Worker {
    recording: Recording,
    shared: Arc<Shared>,
    items: Receiver<Item>,
    flushed: Instant,
    /// Nothing is written before this time, after an error.
    retry: Option<Instant>,
    /// Size of the largest message that was serialized for it, rounded up to a power of two.
    largest: usize,
}

impl Worker {
    fn run(&mut self) {
        loop {
            // Read first: what was sent before the stop is written.
            let stops = self.shared.stop.load(Ordering::Acquire);
            while let Ok(item) = self.items.try_recv() {
                self.take(item);
                if self.flushed.elapsed() >= FLUSH {
                    self.flush();
                }
            }
            if stops {
                break;
            }
            if self.flushed.elapsed() >= FLUSH {
                self.flush();
            }
            thread::park_timeout(IDLE);
        }
        let finished = self.recording.finish();
        self.report(finished);
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).file = None;
    }

    fn take(&mut self, Item { topic, at, data }: Item) {
        let length = data.bytes().len();
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
        } else {
            let written = self.recording.write(topic, at, data.bytes());
            let counter = if written.is_ok() { &self.shared.written } else { &self.shared.unwritten };
            counter.fetch_add(1, Ordering::Relaxed);
            if written.is_ok() {
                self.shared.bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
            self.report(written);
        }
        self.shared.queued.fetch_sub(length, Ordering::Relaxed);
        if let Data::Buffer(mut buffer, home) = data {
            // Here, so that its owner finds room for the largest message without an allocation.
            self.largest = self.largest.max(length.next_power_of_two());
            buffer.clear();
            buffer.reserve(self.largest);
            // Its owner may be gone.
            home.try_send(buffer).ok();
        }
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if self.recording.file().is_some() {
            let flushed = self.recording.flush();
            self.report(flushed);
        }
    }

    /// Notes an error, or that there is none any more.
    fn report(&mut self, result: Result<(), Error>) {
        self.shared.removed.store(self.recording.removed(), Ordering::Relaxed);
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if state.fault.take_if(|_| self.recording.file().is_some()).is_some() {
                    tracing::info!("recording again");
                }
                self.retry = None;
            }
            Err(error) => {
                let text: Arc<str> = error.to_string().into();
                if state.fault.is_none() {
                    tracing::warn!("not recording, next try in {} s: {text}", RETRY.as_secs());
                }
                state.fault = Some(text);
                self.retry = Some(Instant::now() + RETRY);
            }
        }
        let file = self.recording.file();
        if state.file.as_deref() != file {
            state.file = file.map(Arc::from);
        }
    }
}
