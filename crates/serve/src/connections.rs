//! The open connections: how many there are, and which is closed to make room.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Connections of a server. One that waits for no reply is closed when a new one needs its place: first those that were never
/// answered, then the one silent for the longest time.
pub(crate) struct Connections {
    state: Mutex<State>,
    most: usize,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    next: u64,
    closed: bool,
}

struct Open {
    id: u64,
    stream: TcpStream,
    /// Its last request, or its start.
    since: Instant,
    /// A request waits for its reply.
    busy: bool,
    /// A request was answered.
    answered: bool,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), most: most.max(1) }
    }

    /// Adds a connection; `None` when the server ends or every other one waits for a reply.
    ///
    /// # Errors
    /// The system's, when the socket cannot be duplicated.
    pub(crate) fn add(&self, stream: &TcpStream) -> io::Result<Option<u64>> {
        let stream = stream.try_clone()?;
        let mut state = self.state();
        if state.closed {
            return Ok(None);
        }
        if state.open.len() >= self.most {
            let idle = state.open.iter().enumerate().filter(|(_, open)| !open.busy);
            let Some((silent, _)) = idle.min_by_key(|(_, open)| (open.answered, open.since)) else { return Ok(None) };
            close(&state.open.swap_remove(silent).stream);
            tracing::warn!("closed the connection that was silent for the longest time, to accept another");
        }
        let id = state.next;
        state.next += 1;
        state.open.push(Open { id, stream, since: Instant::now(), busy: false, answered: false });
        Ok(Some(id))
    }

    /// A request begins to wait for its reply, or has it.
    pub(crate) fn busy(&self, id: u64, busy: bool) {
        if let Some(open) = self.state().open.iter_mut().find(|open| open.id == id) {
            open.busy = busy;
            open.answered |= !busy;
            open.since = Instant::now();
        }
    }

    pub(crate) fn remove(&self, id: u64) {
        self.state().open.retain(|open| open.id != id);
    }

    /// Closes all, and refuses new ones.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.open.drain(..).for_each(|open| close(&open.stream));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends both directions: the thread that reads from it returns.
fn close(stream: &TcpStream) {
    if let Err(error) = stream.shutdown(Shutdown::Both) {
        // It ended first.
        tracing::debug!("closing a connection: {error}");
    }
}
