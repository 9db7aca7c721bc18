use std::io::{Cursor, Read, Write};

use super::*;

/// A client whose bytes are known beforehand.
struct Peer {
    sends: Cursor<Vec<u8>>,
    received: Vec<u8>,
}

impl Read for Peer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.sends.read(out)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.received.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What libzmq 4.3 sends first: version 3.1, and its READY command.
fn opening(kind: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    bytes.extend_from_slice(b"NULL");
    bytes.resize(64, 0);
    let ready = [b"\x05READY\x0bSocket-Type\x00\x00\x00", &[kind.len() as u8][..], kind.as_bytes()].concat();
    let identity = b"\x08Identity\x00\x00\x00\x00";
    bytes.extend_from_slice(&[COMMAND, (ready.len() + identity.len()) as u8]);
    bytes.extend_from_slice(&ready);
    bytes.extend_from_slice(identity);
    bytes
}

fn connected(frames: &[&[u8]], limit: usize) -> Zmtp<Peer> {
    let sends = Cursor::new([opening("REQ"), frames.concat()].concat());
    Zmtp::accept(Peer { sends, received: Vec::new() }, limit).expect("a REQ socket")
}

fn message(request: &Request) -> &[u8] {
    match request {
        Request::Message(body) => body,
        other => panic!("expected a message, found {other:?}"),
    }
}

const DELIMITER: &[u8] = &[MORE, 0];

#[test]
fn a_request_of_any_length_is_read_and_its_reply_follows_the_envelope() {
    let long = vec![7; 3 << 20];
    let header = [&[LONG][..], &(long.len() as u64).to_be_bytes()].concat();
    let mut connection =
        connected(&[DELIMITER, &[0, 3], b"abc", DELIMITER, &header, &long, DELIMITER, &[0, 1], b"d"], 4 << 20);
    let request = connection.read(Buffer::default()).expect("short");
    assert_eq!(message(&request), b"abc");
    connection.reply(b"yes").expect("sent");
    let request = connection.read(Buffer::default()).expect("long");
    assert_eq!(message(&request), long);
    let Request::Message(Body::Buffer(memory)) = request else { panic!("no buffer") };
    // Shorter than what the memory holds from before.
    let request = connection.read(memory).expect("short");
    assert_eq!(message(&request), b"d");
    let reply = [DELIMITER, &[LONG, 0, 0, 0, 0, 0, 0, 0, 3], b"yes"].concat();
    assert!(connection.stream.get_ref().received.ends_with(&reply));
    assert_eq!(&connection.stream.get_ref().received[..11], &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3]);
    assert!(connection.read(Buffer::default()).is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof));
}

#[test]
fn frames_before_the_delimiter_go_back_with_the_reply() {
    let mut connection = connected(&[&[MORE, 2], b"id", DELIMITER, &[0, 1], b"x"], 10);
    assert_eq!(message(&connection.read(Buffer::default()).expect("a request")), b"x");
    connection.reply(b"").expect("sent");
    let reply = [&[MORE, 2][..], b"id", DELIMITER, &[LONG, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert!(connection.stream.get_ref().received.ends_with(&reply));
}

#[test]
fn a_message_that_is_too_long_or_in_parts_is_dropped_and_the_next_is_read() {
    let mut connection = connected(
        &[
            DELIMITER,
            &[0, 11],
            b"eleven bytes"[..11].as_ref(),
            DELIMITER,
            &[MORE, 1],
            b"a",
            &[0, 1],
            b"b",
            DELIMITER,
            &[0, 2],
            b"ok",
        ],
        10,
    );
    let request = connection.read(Buffer::default()).expect("the connection goes on");
    assert!(matches!(request, Request::TooLong { limit: 10, found: 11 }), "{request:?}");
    let request = connection.read(Buffer::default()).expect("the connection goes on");
    assert!(matches!(request, Request::Malformed(_)), "{request:?}");
    assert_eq!(message(&connection.read(Buffer::default()).expect("a request")), b"ok");
}

#[test]
fn pings_are_answered_between_requests() {
    let mut connection =
        connected(&[&[COMMAND, 9], b"\x04PING\x00\x0aab", DELIMITER, &[COMMAND, 4], b"\x03WHO", &[0, 1], b"x"], 10);
    assert_eq!(message(&connection.read(Buffer::default()).expect("a request")), b"x");
    assert!(connection.stream.get_ref().received.ends_with(b"\x04\x07\x04PONGab"));
}

#[test]
fn frames_that_break_the_protocol_end_the_connection() {
    let huge = [&[LONG][..], &u64::MAX.to_be_bytes()].concat();
    let cases: [&[&[u8]]; 6] = [
        // No delimiter; a frame before it that is too long; reserved flags.
        &[&[0, 1], b"x"],
        &[&[MORE | LONG, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 256]],
        &[&[0x80, 0]],
        // A length that nobody sends, a command of it, a message that ends early.
        &[DELIMITER, &huge],
        &[&[COMMAND | LONG, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
        &[DELIMITER, &[0, 9], b"cut"],
    ];
    for frames in cases {
        assert!(connected(frames, 10).read(Buffer::default()).is_err(), "{frames:?}");
    }
}

#[test]
fn only_req_and_dealer_sockets_without_security_are_accepted() {
    let accepts = |sends: Vec<u8>| {
        Zmtp::accept(Peer { sends: Cursor::new(sends), received: Vec::new() }, 10).map(drop).map_err(|e| e.kind())
    };
    assert_eq!(accepts(opening("REQ")), Ok(()));
    assert_eq!(accepts(opening("DEALER")), Ok(()));
    assert_eq!(accepts(opening("SUB")), Err(ErrorKind::InvalidData));
    let mut curve = opening("REQ");
    curve[12..17].copy_from_slice(b"CURVE");
    assert_eq!(accepts(curve), Err(ErrorKind::InvalidData));
    let mut old = opening("REQ");
    old[10] = 1;
    assert_eq!(accepts(old), Err(ErrorKind::InvalidData));
    assert_eq!(accepts(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4)), Err(ErrorKind::InvalidData));
    assert_eq!(accepts(opening("REQ")[..70].to_vec()), Err(ErrorKind::UnexpectedEof));
}
