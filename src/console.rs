//! Standard output and standard error that block no thread of the node.
//!
//! A pipe, terminal or socket without a reader blocks every writer: our logging threads, but also rcl, Fast DDS and ONNX Runtime,
//! which write to the console themselves. So both streams lead into a pipe whose write end never
//! blocks, and one thread each passes on what is in it. When the reader stalls, that thread waits alone; what finds the pipe full
//! is lost and, where it is ours, counted ([`super::logging`]).
//!
//! Files are left as they are. The streams' own flags are not touched: they belong to the parent process, too. What a library
//! prints right before it aborts the process may stay in the pipe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use super::error::Error;

/// What a reader may fall behind: some thousand lines. Less (64 KiB) where the system refuses that.
const BEHIND: usize = 1 << 18;
/// [`Console::flush`] looks this often.
const FLUSH_POLL: Duration = Duration::from_millis(2);

/// The process's standard streams, led through pipes.
#[derive(Debug, Default)]
pub struct Console {
    relays: Vec<Relay>,
}

impl Console {
    /// Leads both streams through pipes, where they are of a kind that can block. Call it once, at the start.
    ///
    /// # Errors
    /// When the system gives no pipe or thread. The streams are then as they were, but for those done before.
    pub fn install() -> Result<Self, Error> {
        let mut console = Self::default();
        console.lead(io::stderr().as_fd().try_clone_to_owned(), "stderr", |pipe| dup2_stderr(pipe))?;
        console.lead(io::stdout().as_fd().try_clone_to_owned(), "stdout", |pipe| dup2_stdout(pipe))?;
        Ok(console)
    }

    fn lead(
        &mut self,
        stream: io::Result<OwnedFd>,
        name: &'static str,
        replace: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        let error = |source| Error::Runtime { what: "the pipe of a standard stream", source };
        let stream = stream.map_err(error)?;
        if can_block(&stream) {
            let (relay, pipe) = Relay::start(stream, name).map_err(error)?;
            replace(&pipe).map_err(|errno| error(errno.into()))?;
            self.relays.push(relay);
        }
        Ok(())
    }

    /// Waits until everything written so far is passed on, `patience` at most; false when something is still waiting then.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.relays.iter().all(Relay::is_empty) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(FLUSH_POLL);
        }
        true
    }
}

/// Whether a write may wait for a reader.
fn can_block(stream: &OwnedFd) -> bool {
    let kind = fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Fifo | FileType::Socket) => true,
        Ok(FileType::CharacterDevice) => io::IsTerminal::is_terminal(stream),
        _ => false,
    }
}

/// One stream's pipe and the thread that empties it.
#[derive(Debug)]
struct Relay {
    pipe: Arc<OwnedFd>,
    /// Set before the pipe is read and cleared when what was read is passed on.
    busy: Arc<AtomicBool>,
}

impl Relay {
    /// Passes on to `target` what is written to the returned end, which never blocks.
    fn start(target: OwnedFd, name: &'static str) -> io::Result<(Self, OwnedFd)> {
        let (source, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our own end: it is a description of its own, which no other process shares.
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        // Refused where the user has many pipes; the size that it has then is enough.
        fcntl_setpipe_size(&pipe, BEHIND).ok();
        let relay = Self { pipe: Arc::new(source), busy: Arc::default() };
        let (source, busy) = (relay.pipe.clone(), relay.busy.clone());
        thread::Builder::new().name(name.to_owned()).spawn(move || pass_on(&source, &target, &busy))?;
        Ok((relay, pipe))
    }

    /// Nothing is in the pipe, and nothing on its way.
    fn is_empty(&self) -> bool {
        // In this order: the thread says that it is busy before it takes anything out of the pipe.
        ioctl_fionread(&*self.pipe).is_ok_and(|waiting| waiting == 0) && !self.busy.load(Ordering::SeqCst)
    }
}

/// Until the last write end is closed, which is the end of the process.
fn pass_on(source: &OwnedFd, target: &OwnedFd, busy: &AtomicBool) {
    let mut buffer = [0; 1 << 14];
    loop {
        match poll(&mut [PollFd::new(source, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        busy.store(true, Ordering::SeqCst);
        let found = read(source, &mut buffer);
        if let Ok(length) = found {
            put(target, buffer.get(..length).unwrap_or_default());
        }
        busy.store(false, Ordering::SeqCst);
        if !matches!(found, Ok(1..) | Err(Errno::INTR)) {
            return;
        }
    }
}

/// Writes all of it, however long the reader takes. What a closed stream does not take is gone, as it always was.
fn put(target: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match write(target, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // The parent made its end non-blocking: wait on this thread, which blocks no other.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(target, PollFlags::OUT)], None)),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A relay in front of a pipe of which the test holds the far end.
    fn relay() -> (Console, OwnedFd, std::fs::File) {
        let (far, near) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (relay, pipe) = Relay::start(near, "relay").expect("a relay");
        (Console { relays: vec![relay] }, pipe, far.into())
    }

    #[test]
    fn a_reader_that_never_reads_blocks_no_writer_and_flush_gives_up_in_time() {
        let (console, pipe, far) = relay();
        let line = [b'x'; 100];
        // Ten times what both pipes hold. Each of these writes returns; before, the first beyond 64 KiB did not.
        let refused = (0..200_000).filter(|_| write(&pipe, &line) == Err(Errno::AGAIN)).count();
        assert!(refused > 0);
        assert!(!console.flush(Duration::from_millis(20)));
        drop(far);
    }

    #[test]
    fn what_was_written_arrives_in_order_and_flush_waits_for_it() {
        let (console, pipe, mut far) = relay();
        for number in 0..200 {
            write(&pipe, format!("{number}\n").as_bytes()).expect("room");
        }
        assert!(console.flush(Duration::from_secs(60)));
        // Everything is in the far pipe by now: nothing is waited for here.
        let mut text = vec![0; 1 << 16];
        let length = far.read(&mut text).expect("what was passed on");
        let expected: String = (0..200).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&text[..length]), expected);
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_waited() {
        let (console, pipe, mut far) = relay();
        let mut taken = 0;
        while let Ok(length) = write(&pipe, &[b'x'; 4096]) {
            taken += length;
        }
        drop(pipe);
        let mut text = Vec::new();
        far.read_to_end(&mut text).expect("everything up to the end of the relay");
        assert_eq!(text.len(), taken);
        assert!(console.flush(Duration::from_secs(60)));
    }

    #[test]
    fn a_closed_stream_is_no_reason_to_stop_reading() {
        let (console, pipe, far) = relay();
        drop(far);
        for _ in 0..100 {
            write(&pipe, b"into nothing\n").expect("room");
        }
        assert!(console.flush(Duration::from_secs(60)));
    }

    #[test]
    fn files_are_left_as_they_are_and_pipes_are_not() {
        let file = OwnedFd::from(tempfile::tempfile().expect("a file"));
        let null = OwnedFd::from(std::fs::File::open("/dev/null").expect("/dev/null"));
        let (far, near) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        assert_eq!([&file, &null, &near].map(can_block), [false, false, true]);
        drop(far);
    }
}
