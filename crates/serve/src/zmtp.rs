//! ZMTP 3.0, the wire protocol of ZeroMQ, as far as a REP socket with the NULL mechanism needs it.
//!
//! <https://rfc.zeromq.org/spec/23/>: a greeting of 64 bytes each way, a READY command each way, then frames. A REQ socket sends
//! an empty frame, the delimiter, before its message; a DEALER may send frames before that, which go back with the reply.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

use crate::queue::{Body, Buffer, Request};

/// Frames before the message, together.
const MAX_ENVELOPE: usize = 1024;
/// Longest command; READY has the name of the socket type and an identity.
const MAX_COMMAND: u64 = 4096;
/// Longest message that is read to its end to be answered with an error. Beyond it the connection is closed.
const MAX_DISCARDED: u64 = 1 << 30;
/// Memory that is taken at once for a message that announces more.
const FIRST_BYTES: usize = 1 << 20;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Signature, version 3.0, mechanism NULL, no server of a mechanism.
const GREETING: [u8; 64] = {
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    let mechanism = *b"NULL";
    let mut at = 0;
    while at < mechanism.len() {
        greeting[12 + at] = mechanism[at];
        at += 1;
    }
    greeting
};

/// The REP side of a connection.
pub(crate) struct Zmtp<S> {
    /// Holds a frame's header; longer reads pass it by.
    stream: BufReader<S>,
    /// Frames that go back before the reply, as they were read, and the delimiter.
    envelope: Vec<u8>,
    limit: usize,
    out: Vec<u8>,
}

struct Header {
    more: bool,
    command: bool,
    length: u64,
}

impl<S: Read + Write> Zmtp<S> {
    /// Exchanges greetings.
    ///
    /// # Errors
    /// The connection's, and [`ErrorKind::InvalidData`] for a peer that is no REQ or DEALER socket of version 3 without security.
    pub(crate) fn accept(stream: S, limit: usize) -> io::Result<Self> {
        let stream = BufReader::with_capacity(64, stream);
        let mut connection = Self { stream, envelope: Vec::new(), limit, out: Vec::new() };
        connection.stream.get_mut().write_all(&GREETING)?;
        let mut greeting = [0; 64];
        connection.stream.read_exact(&mut greeting)?;
        let [0xff, _, _, _, _, _, _, _, _, 0x7f, version, _, mechanism @ ..] = &greeting else {
            return Err(invalid("expected a ZeroMQ client, found other bytes"));
        };
        if *version < 3 || !mechanism.starts_with(b"NULL\0") {
            return Err(invalid("expected ZMTP 3 with the NULL mechanism, found another version or mechanism"));
        }
        connection.command(b"\x05READY\x0bSocket-Type\x00\x00\x00\x03REP")?;
        let header = connection.header()?;
        let ready = connection.read_command(&header)?;
        if !ready.starts_with(b"\x05READY") {
            return Err(invalid("expected a READY command, found another"));
        }
        match socket_type(&ready) {
            Some(b"REQ" | b"DEALER") => Ok(connection),
            _ => {
                connection.command(b"\x05ERROR\x18expected a REQ or DEALER")?;
                Err(invalid("expected a REQ or DEALER socket, found another type"))
            }
        }
    }

    /// Waits for the next request and reads it into `memory`.
    ///
    /// # Errors
    /// The connection's, [`ErrorKind::InvalidData`] for frames that break the protocol; the connection cannot be used further.
    pub(crate) fn read(&mut self, memory: Buffer) -> io::Result<Request> {
        self.wait()?;
        self.envelope.clear();
        loop {
            let header = self.data_header()?;
            match (header.length, header.more) {
                (0, true) => break,
                (length, true) if length < 256 && self.envelope.len() < MAX_ENVELOPE => {
                    self.envelope.extend_from_slice(&[MORE, length as u8]);
                    let start = self.envelope.len();
                    self.envelope.resize(start + length as usize, 0);
                    self.stream.read_exact(self.envelope.get_mut(start..).unwrap_or_default())?;
                }
                _ => return Err(invalid("expected an empty frame before the message, as REQ sockets send it")),
            }
        }
        self.envelope.extend_from_slice(&[MORE, 0]);
        let header = self.data_header()?;
        let mut request = self.message(header.length, memory)?;
        let mut more = header.more;
        while more {
            let header = self.data_header()?;
            self.discard(header.length)?;
            more = header.more;
            request = Request::Malformed("expected one frame, found several");
        }
        Ok(request)
    }

    /// Sends the reply to the last request.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.clear();
        self.out.extend_from_slice(&self.envelope);
        self.out.push(LONG);
        self.out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.out.extend_from_slice(bytes);
        self.stream.get_mut().write_all(&self.out)
    }

    /// Waits for the first byte of a request, however long that takes.
    fn wait(&mut self) -> io::Result<()> {
        loop {
            match self.stream.fill_buf() {
                Ok([]) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a message, or its length alone if it is too long.
    fn message(&mut self, length: u64, mut memory: Buffer) -> io::Result<Request> {
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.limit) else {
            self.discard(length)?;
            return Ok(Request::TooLong { limit: self.limit, found: length });
        };
        memory.filled = 0;
        while memory.filled < length {
            // Memory grows with what arrived, not with what was announced.
            let room = memory.memory.len().max(2 * memory.filled).max(FIRST_BYTES).min(length);
            if memory.memory.len() < room {
                memory.memory.resize(room, 0);
            }
            let free = memory.memory.get_mut(memory.filled..room).unwrap_or_default();
            self.stream.read_exact(free)?;
            memory.filled = room;
        }
        Ok(Request::Message(Body::Buffer(memory)))
    }

    fn discard(&mut self, length: u64) -> io::Result<()> {
        if length > MAX_DISCARDED {
            return Err(invalid("expected a message of at most 1 GiB, found a longer one"));
        }
        let mut scratch = [0; 1 << 16];
        let mut left = length;
        while left > 0 {
            let part = scratch.get_mut(..usize::try_from(left).unwrap_or(usize::MAX).min(1 << 16)).unwrap_or_default();
            self.stream.read_exact(part)?;
            left -= part.len() as u64;
        }
        Ok(())
    }

    /// Header of the next frame of a message. Commands before it are answered.
    fn data_header(&mut self) -> io::Result<Header> {
        loop {
            let header = self.header()?;
            if !header.command {
                return Ok(header);
            }
            let command = self.read_command(&header)?;
            if let Some([_, _, context @ ..]) = command.strip_prefix(b"\x04PING") {
                let pong = [b"\x04PONG", context.get(..16.min(context.len())).unwrap_or_default()].concat();
                self.command(&pong)?;
            }
        }
    }

    fn header(&mut self) -> io::Result<Header> {
        let [flags] = self.bytes()?;
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(invalid("expected a frame's flags, found reserved bits"));
        }
        let length = if flags & LONG == 0 {
            let [length] = self.bytes()?;
            u64::from(length)
        } else {
            u64::from_be_bytes(self.bytes()?)
        };
        Ok(Header { more: flags & MORE != 0, command: flags & COMMAND != 0, length })
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_command(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        if !header.command || header.length > MAX_COMMAND {
            return Err(invalid("expected a command of at most 4096 bytes"));
        }
        let mut command = vec![0; header.length as usize];
        self.stream.read_exact(&mut command)?;
        Ok(command)
    }

    fn command(&mut self, body: &[u8]) -> io::Result<()> {
        let Ok(length) = u8::try_from(body.len()) else {
            return Err(invalid("expected a command of at most 255 bytes"));
        };
        self.stream.get_mut().write_all(&[&[COMMAND, length][..], body].concat())
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

/// Value of the property `Socket-Type` of a READY command.
fn socket_type(ready: &[u8]) -> Option<&[u8]> {
    let mut rest = ready.get(6..)?;
    while let Some((&length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(length))?;
        let (size, after) = after.split_first_chunk::<4>()?;
        let (value, after) = after.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(value);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests;
