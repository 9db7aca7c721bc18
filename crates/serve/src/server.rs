//! Sockets and threads of a server.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::connections::Connections;
use crate::protocol::Protocol;
use crate::queue::{Answered, Body, Buffer, Job, Request};
use crate::websocket::Connection;
use crate::zmtp::Zmtp;
use crate::{Error, Model, Token};

/// Interval at which the end of the server is noticed.
const PERIOD: Duration = Duration::from_millis(50);

/// What clients may take of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest message, in bytes.
    pub message_bytes: usize,
    /// Most connections.
    pub connections: usize,
    /// Longest silence within a message or an opening, and longest time in which a client takes no byte of its reply.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 64 << 20, connections: 16, patience: Duration::from_secs(10) }
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    /// Listens on an address; port 0 is any free one.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn bind(address: SocketAddr, limits: Limits) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).map_err(|source| Error::Listen { address, source })?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, limits })
    }

    /// The address.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers requests on the caller's thread, one after another, until `stop` is true. Then every connection is closed.
    ///
    /// # Errors
    /// [`Error::Policy`] after a failure of the model that is fatal, and [`Error::System`] when no thread can be started.
    pub fn run(&self, protocol: &mut Protocol, model: &mut dyn Model, stop: &dyn Fn() -> bool) -> Result<(), Error> {
        let connections = Connections::new(self.limits.connections);
        let wire = match protocol {
            Protocol::Gr00t(_) => Wire::Zmtp,
            Protocol::Openpi(openpi) => Wire::WebSocket(openpi.token().cloned()),
        };
        thread::scope(|scope| {
            // Also when the model panics: the threads of the connections wait for it no longer.
            let closing = Closing(&connections);
            let (jobs, queue) = sync_channel(self.limits.connections);
            let accepting = Accepting { limits: self.limits, connections: &connections, wire: &wire, jobs };
            thread::Builder::new().name("accept".to_owned()).spawn_scoped(scope, move || {
                accepting.run(&self.listener, scope);
            })?;
            let ended = answer(&queue, protocol, model, stop);
            drop((queue, closing));
            ended
        })
    }
}

struct Closing<'c>(&'c Connections);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Answers what is in the queue until the server ends.
fn answer(
    queue: &Receiver<Job>,
    protocol: &mut Protocol,
    model: &mut dyn Model,
    stop: &dyn Fn() -> bool,
) -> Result<(), Error> {
    while !stop() {
        let Job { request, before, back } = match queue.recv_timeout(PERIOD) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("no thread accepts connections").into()),
        };
        let (reply, fatal) = protocol.answer(&request, before, model);
        // A client that left in the meantime has no use for it.
        back.send(Answered { reply, request }).unwrap_or_default();
        if let Some(failure) = fatal {
            // The reply is on its way while the connections still are.
            thread::sleep(PERIOD);
            return Err(Error::Policy(failure.reason));
        }
    }
    Ok(())
}

/// How messages are carried.
enum Wire {
    Zmtp,
    WebSocket(Option<Token>),
}

/// The thread that accepts connections.
struct Accepting<'s> {
    limits: Limits,
    connections: &'s Connections,
    wire: &'s Wire,
    jobs: SyncSender<Job>,
}

impl<'s> Accepting<'s> {
    fn run<'scope>(self, listener: &TcpListener, scope: &'scope thread::Scope<'scope, '_>)
    where
        's: 'scope,
    {
        while !self.connections.is_closed() {
            match wait(listener).and_then(|ready| if ready { listener.accept().map(Some) } else { Ok(None) }) {
                Ok(Some((stream, peer))) => {
                    if let Err(error) = self.start(stream, peer, scope) {
                        tracing::warn!("{peer}: {error}");
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // Such as too many open files: others may close theirs.
                    tracing::warn!("accepting a connection: {error}");
                    thread::sleep(PERIOD);
                }
            }
        }
    }

    fn start<'scope>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> io::Result<()>
    where
        's: 'scope,
    {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.limits.patience))?;
        stream.set_write_timeout(Some(self.limits.patience))?;
        let connections = self.connections;
        let Some(id) = connections.add(&stream)? else {
            tracing::warn!("{peer}: refused, every connection waits for a reply");
            return Ok(());
        };
        let link = Link { id, connections, jobs: self.jobs.clone(), before: None };
        let (wire, limits) = (self.wire, self.limits);
        let run = move || {
            tracing::info!("{peer}: connected");
            match converse(stream, wire, limits, link) {
                Ok(()) => tracing::info!("{peer}: left"),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => tracing::info!("{peer}: left"),
                Err(error) => tracing::warn!("{peer}: connection ended: {error}"),
            }
            connections.remove(id);
        };
        let started = thread::Builder::new().name(format!("client-{id}")).spawn_scoped(scope, run);
        started.map(drop).inspect_err(|_| connections.remove(id))
    }
}

/// Waits for a connection; false after a while.
fn wait(listener: &TcpListener) -> io::Result<bool> {
    let period = Timespec { tv_sec: 0, tv_nsec: PERIOD.subsec_nanos().into() };
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&period)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A connection's way to the model.
struct Link<'c> {
    id: u64,
    connections: &'c Connections,
    jobs: SyncSender<Job>,
    /// From the arrival of the last request to the end of its reply.
    before: Option<Duration>,
}

impl Link<'_> {
    /// Has a request answered, and its reply sent by `send`, which gets the request's memory back; `None` when the server ends.
    fn answer<T>(&mut self, request: Request, send: impl FnOnce(Answered) -> io::Result<T>) -> io::Result<Option<T>> {
        let started = Instant::now();
        self.connections.busy(self.id, true);
        // One channel a request: when the server ends, the queue drops it, and `recv` fails.
        let (back, reply) = sync_channel(1);
        let Ok(()) = self.jobs.send(Job { request, before: self.before, back }) else { return Ok(None) };
        let Ok(answered) = reply.recv() else { return Ok(None) };
        let sent = send(answered)?;
        self.connections.busy(self.id, false);
        self.before = Some(started.elapsed());
        Ok(Some(sent))
    }
}

/// Serves one connection until it ends.
fn converse(stream: TcpStream, wire: &Wire, limits: Limits, mut link: Link<'_>) -> io::Result<()> {
    match wire {
        Wire::Zmtp => {
            let mut connection = Zmtp::accept(stream, limits.message_bytes)?;
            let mut memory = Buffer::default();
            loop {
                let request = connection.read(memory)?;
                let sent = link.answer(request, |Answered { reply, request }| {
                    connection.reply(&reply.bytes)?;
                    Ok(if let Request::Message(Body::Buffer(memory)) = request { memory } else { Buffer::default() })
                })?;
                let Some(kept) = sent else { return Ok(()) };
                memory = kept;
            }
        }
        Wire::WebSocket(token) => {
            let Some(mut connection) = Connection::accept(stream, limits.message_bytes, token.as_ref())? else {
                return Ok(());
            };
            let mut request = Request::Hello;
            loop {
                let too_long = matches!(request, Request::TooLong { .. });
                if link.answer(request, |answered| connection.reply(answered.reply))?.is_none() {
                    return Ok(());
                }
                if too_long {
                    return connection.end(limits.patience);
                }
                let Some(next) = connection.read()? else { return Ok(()) };
                request = next;
            }
        }
    }
}

#[cfg(test)]
mod tests;
