//! WebSocket connections as openpi's clients make them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tungstenite::error::CapacityError;
use tungstenite::handshake::server::{ErrorResponse, Request as Opening, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message, accept_hdr_with_config};

use crate::Token;
use crate::protocol::Reply;
use crate::queue::{Body, Request};

/// Request of a health check, which is plain HTTP: openpi's server answers it with 200.
const HEALTH: &[u8] = b"GET /healthz ";
/// Most bytes of a health check.
const MAX_HEAD: usize = 8192;
/// Longest message of a client that is read after it was refused.
const MAX_DISCARDED: u64 = 1 << 30;

/// A connection after its opening.
pub(crate) struct Connection {
    socket: WebSocket<TcpStream>,
    limit: usize,
}

impl Connection {
    /// Answers a health check, or opens the connection; `None`: there is nothing more to do.
    ///
    /// # Errors
    /// The connection's, and [`ErrorKind::InvalidData`] for a client that is none of this protocol or has another token.
    pub(crate) fn accept(stream: TcpStream, limit: usize, token: Option<&Token>) -> io::Result<Option<Self>> {
        if is_health_check(&stream)? {
            read_head(&stream)?;
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n")?;
            return Ok(None);
        }
        // The type of the error is tungstenite's.
        #[allow(clippy::result_large_err)]
        let check = |opening: &Opening, response: Response| -> Result<Response, ErrorResponse> {
            let given = opening.headers().get("Authorization").and_then(|value| value.to_str().ok());
            let given = given.and_then(|value| value.strip_prefix("Api-Key "));
            if token.is_none_or(|token| given.is_some_and(|given| token.is(given))) {
                return Ok(response);
            }
            let mut refused = ErrorResponse::new(Some("expected the header Authorization: Api-Key TOKEN\n".to_owned()));
            *refused.status_mut() = StatusCode::UNAUTHORIZED;
            Err(refused)
        };
        let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
        let socket = accept_hdr_with_config(stream, check, Some(config));
        let socket = socket.map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        // Clients are silent between observations.
        socket.get_ref().set_read_timeout(None)?;
        Ok(Some(Self { socket, limit }))
    }

    /// Waits for the next request; pings are answered. `None`: the client closed the connection.
    ///
    /// # Errors
    /// The connection's. It cannot be used further.
    pub(crate) fn read(&mut self) -> io::Result<Option<Request>> {
        loop {
            return Ok(Some(match self.socket.read() {
                Ok(Message::Binary(bytes)) => Request::Message(Body::Shared(bytes)),
                Ok(Message::Text(_)) => Request::Malformed("expected a binary message, found text"),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(_)) => continue,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(None),
                Err(Error::Capacity(CapacityError::MessageTooLong { size, .. })) => {
                    Request::TooLong { limit: self.limit, found: size as u64 }
                }
                Err(error) => return Err(to_io(error)),
            }));
        }
    }

    /// Sends a reply.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn reply(&mut self, reply: Reply) -> io::Result<()> {
        let message = match String::from_utf8(reply.bytes) {
            Ok(text) if reply.text => Message::text(text),
            Ok(bytes) => Message::Binary(Bytes::from(bytes.into_bytes())),
            Err(bytes) => Message::Binary(Bytes::from(bytes.into_bytes())),
        };
        self.socket.send(message).map_err(to_io)
    }

    /// Ends the connection after a message that was too long: what is left of it is read and dropped, so that the client, which is
    /// still sending, reads the reply.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn end(mut self, patience: Duration) -> io::Result<()> {
        let frame = CloseFrame { code: CloseCode::Size, reason: "message too long".into() };
        self.socket.close(Some(frame)).map_err(to_io)?;
        self.socket
            .flush()
            .or_else(|error| if matches!(error, Error::ConnectionClosed) { Ok(()) } else { Err(to_io(error)) })?;
        let mut stream = self.socket.get_ref();
        // The client has the close frame and the end of the stream, and closes too.
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(patience))?;
        let (mut scratch, mut left, until) = (vec![0; 1 << 16], MAX_DISCARDED, Instant::now() + 6 * patience);
        while left > 0 && Instant::now() < until {
            match stream.read(&mut scratch)? {
                0 => break,
                read => left = left.saturating_sub(read as u64),
            }
        }
        Ok(())
    }
}

/// Reads an HTTP request to the end of its head: a socket that is closed with bytes to be read loses its answer.
fn read_head(mut stream: &TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while head.len() < MAX_HEAD && !head.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes)? {
            0 => break,
            read => head.extend_from_slice(bytes.get(..read).unwrap_or_default()),
        }
    }
    Ok(())
}

/// Whether a connection begins with [`HEALTH`]. Its bytes stay to be read.
fn is_health_check(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; HEALTH.len()];
    let mut seen = 0;
    loop {
        let read = stream.peek(&mut start)?;
        let known = start.get(..read).unwrap_or_default();
        if read == HEALTH.len() || !HEALTH.starts_with(known) || read == seen {
            return Ok(known == HEALTH);
        }
        seen = read;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::new(ErrorKind::InvalidData, other.to_string()),
    }
}
