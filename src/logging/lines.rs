//! Log lines on a stream that refuses to take them when it is full ([`crate::console`]).

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts what a full stream did not take, and says so in the stream when it takes something again.
///
/// The caller holds the stream's lock, which keeps one writer at a time here.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lost: AtomicU64,
    /// Of them, those that no line in the stream speaks of yet.
    unreported: AtomicU64,
    /// The last line that was written is there in part.
    cut: AtomicBool,
}

impl Lines {
    /// Lines that the stream did not take, or took in part.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes `line`, and before it `gap(n)` when `n` lines were lost since the last. A closed stream loses nothing that
    /// anybody waits for: it is not counted.
    pub(super) fn write(&self, stream: &mut dyn Write, line: &str, gap: impl FnOnce(u64) -> String) {
        let unreported = self.unreported.load(Ordering::Relaxed);
        let mut text = String::new();
        if self.cut.load(Ordering::Relaxed) {
            text.push('\n');
        }
        if unreported > 0 {
            text += &gap(unreported);
        }
        text += line;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(0) => return,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    self.unreported.fetch_add(1, Ordering::Relaxed);
                    if rest.len() < text.len() {
                        self.cut.store(true, Ordering::Relaxed);
                    }
                    return;
                }
                Err(_) => return,
            }
        }
        self.unreported.fetch_sub(unreported, Ordering::Relaxed);
        self.cut.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A stream that takes `room` bytes.
    struct Full {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(self.room);
            self.text.extend_from_slice(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_stream_does_not_take_are_counted_and_told_when_it_takes_again() {
        let (lines, mut stream) = (Lines::default(), Full { room: 9, text: Vec::new() });
        let write = |stream: &mut Full, line: &str| lines.write(stream, line, |lost| format!("[{lost} lost]\n"));
        write(&mut stream, "first\n");
        write(&mut stream, "second\n");
        write(&mut stream, "third\n");
        assert_eq!(lines.lost(), 2);
        stream.room = 100;
        write(&mut stream, "fourth\n");
        write(&mut stream, "fifth\n");
        // The second line is there in part, so the next begins on a line of its own.
        assert_eq!(String::from_utf8_lossy(&stream.text), "first\nsec\n[2 lost]\nfourth\nfifth\n");
        assert_eq!(lines.lost(), 2);
    }
}
