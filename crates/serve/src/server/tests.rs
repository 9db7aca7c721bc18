use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::stub::{Stub, policy};
use crate::{Failure, Gr00t, Openpi};

const PING: &[u8] = b"\x81\xa8endpoint\xa4ping";

/// Runs a server beside `client`, and ends it afterwards.
fn with_server(
    limits: Limits,
    mut protocol: Protocol,
    model: &mut Stub,
    client: impl FnOnce(SocketAddr) + Send,
) -> Result<(), Error> {
    let server = Server::bind(([127, 0, 0, 1], 0).into(), limits).expect("a free port");
    let address = server.address().expect("bound");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(address)));
            done.store(true, Ordering::Relaxed);
            ended.expect("the client's assertions hold");
        });
        server.run(&mut protocol, model, &|| done.load(Ordering::Relaxed))
    })
}

fn gr00t() -> Protocol {
    Protocol::Gr00t(Gr00t::new(policy(), None))
}

fn brief() -> Limits {
    Limits { message_bytes: 4096, connections: 3, patience: Duration::from_millis(300) }
}

/// A REQ socket that has said what it is.
fn req(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut opening = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
    opening.resize(64, 0);
    opening.extend_from_slice(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ");
    stream.write_all(&opening).expect("sent");
    let mut answer = [0; 64 + 27];
    stream.read_exact(&mut answer).expect("the server's greeting");
    stream
}

fn send(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(&[&[1, 0, 2][..], &(message.len() as u64).to_be_bytes(), message].concat()).expect("sent");
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 11];
    stream.read_exact(&mut header).expect("a reply");
    assert_eq!(header[..3], [1, 0, 2]);
    let mut reply = vec![0; u64::from_be_bytes(header[3..].try_into().expect("eight bytes")) as usize];
    stream.read_exact(&mut reply).expect("the whole reply");
    reply
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    match stream.read(&mut [0; 256]) {
        Ok(read) => read == 0 || is_closed(stream),
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn clients_are_answered_side_by_side_and_after_a_message_that_is_too_long() {
    let ended = with_server(brief(), gr00t(), &mut Stub::default(), |address| {
        let (mut first, mut second) = (req(address), req(address));
        for _ in 0..3 {
            send(&mut first, PING);
            send(&mut second, PING);
            assert!(receive(&mut second).starts_with(b"\x82\xa6status\xa2ok"));
            assert!(receive(&mut first).starts_with(b"\x82\xa6status\xa2ok"));
        }
        send(&mut first, &vec![0; 1 << 20]);
        assert!(receive(&mut first).starts_with(b"\x81\xa5error"));
        send(&mut first, PING);
        assert!(receive(&mut first).starts_with(b"\x82\xa6status"));
    });
    assert!(ended.is_ok());
}

#[test]
fn a_client_that_stops_in_the_middle_delays_nobody_and_is_closed() {
    let ended = with_server(brief(), gr00t(), &mut Stub::default(), |address| {
        // Nothing at all, half an opening, half a message.
        let mut silent = TcpStream::connect(address).expect("a connection");
        let mut half = TcpStream::connect(address).expect("a connection");
        half.write_all(&[0xff, 0, 0]).expect("sent");
        let mut stuck = req(address);
        stuck.write_all(&[1, 0, 0, 200, b'x']).expect("sent");
        for stream in [&mut silent, &mut half, &mut stuck] {
            assert!(is_closed(stream));
        }
        let mut other = req(address);
        send(&mut other, PING);
        receive(&mut other);
    });
    assert!(ended.is_ok());
}

#[test]
fn silent_connections_make_room_and_those_never_answered_go_first() {
    let limits = Limits { patience: Duration::from_secs(60), ..brief() };
    let ended = with_server(limits, gr00t(), &mut Stub::default(), |address| {
        let (mut first, mut second, mut third) = (req(address), req(address), req(address));
        send(&mut first, PING);
        receive(&mut first);
        let mut fourth = req(address);
        assert!(is_closed(&mut second));
        for stream in [&mut third, &mut fourth, &mut first] {
            send(stream, PING);
            receive(stream);
        }
        let mut fifth = req(address);
        assert!(is_closed(&mut third));
        for stream in [&mut first, &mut fourth, &mut fifth] {
            send(stream, PING);
            receive(stream);
        }
    });
    assert!(ended.is_ok());
}

#[test]
fn the_end_of_the_server_closes_connections_that_wait() {
    let mut waiting = None;
    let ended = with_server(brief(), gr00t(), &mut Stub::default(), |address| waiting = Some(req(address)));
    assert!(ended.is_ok());
    assert!(is_closed(&mut waiting.expect("connected")));
}

#[test]
fn a_fatal_failure_of_the_policy_is_answered_and_ends_the_server() {
    let failure = Failure { reason: "the device is lost".into(), fatal: true };
    let mut model = Stub { failure: Some(failure), ..Stub::default() };
    // The smallest whole observation, as openpi's client sends it.
    let ended = with_server(brief(), Protocol::Openpi(Openpi::new(policy(), None)), &mut model, |address| {
        let stream = TcpStream::connect(address).expect("a connection");
        let (mut socket, _) = tungstenite::client(format!("ws://{address}"), stream).expect("opens");
        assert!(socket.read().expect("metadata").is_binary());
        socket.send(tungstenite::Message::binary(observation())).expect("sent");
        assert_eq!(socket.read().expect("an error").into_text().expect("text").as_str(), "the device is lost");
    });
    assert!(matches!(ended, Err(Error::Policy(_))));
}

/// `{"front": ..., "wrist": ..., "state": ..., "prompt": ...}` of one pixel each.
fn observation() -> Vec<u8> {
    let array = |name: &str, dtype: &str, dims: &[u8], data: &[u8]| {
        let mut bytes = vec![0xa0 | name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4");
        bytes.push(data.len() as u8);
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\xc4\x05dtype\xa3");
        bytes.extend_from_slice(dtype.as_bytes());
        bytes.extend_from_slice(b"\xc4\x05shape");
        bytes.push(0x90 | dims.len() as u8);
        bytes.extend_from_slice(dims);
        bytes
    };
    let images = ["front", "wrist"].map(|name| array(name, "|u1", &[1, 1, 3], &[0; 3]));
    let state = array("state", "<f4", &[4], &[0; 16]);
    [b"\x84".to_vec(), images.concat(), state, b"\xa6prompt\xa2go".to_vec()].concat()
}

#[test]
fn websocket_clients_need_the_token_get_errors_as_text_and_health_checks_get_theirs() {
    let token = Token::new("test", "secret").expect("a token");
    let protocol = Protocol::Openpi(Openpi::new(policy(), Some(token)));
    let ended = with_server(brief(), protocol, &mut Stub::default(), |address| {
        let open = |header: Option<&str>| {
            let stream = TcpStream::connect(address).expect("a connection");
            let mut opening =
                tungstenite::ClientRequestBuilder::new(format!("ws://{address}").parse().expect("an address"));
            if let Some(header) = header {
                opening = opening.with_header("Authorization", header);
            }
            tungstenite::client(opening, stream)
        };
        for refused in [None, Some("Api-Key other"), Some("secret")] {
            assert!(open(refused).is_err(), "{refused:?}");
        }
        let (mut socket, _) = open(Some("Api-Key secret")).expect("opens");
        assert!(socket.read().expect("metadata").is_binary());
        for malformed in [tungstenite::Message::binary(&b"\xc1"[..]), tungstenite::Message::text("hello")] {
            socket.send(malformed).expect("sent");
            assert!(socket.read().expect("an error").is_text());
        }
        socket.send(tungstenite::Message::binary(observation())).expect("sent");
        assert!(socket.read().expect("actions").is_binary());
        // Too long: the error comes, then the end.
        socket.send(tungstenite::Message::binary(vec![0; 1 << 20])).expect("sent");
        assert!(socket.read().expect("an error").is_text());
        assert!(socket.read().expect("the end").is_close());

        let mut health = TcpStream::connect(address).expect("a connection");
        health.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = String::new();
        health.read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nOK\n"), "{answer}");
    });
    assert!(ended.is_ok());
}
