use super::*;
use crate::msgpack::Writer;

fn refused_of(message: &[u8]) -> String {
    match parse(message) {
        Err(Refusal::Message(reason)) => reason,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn every_kind_of_value_is_read_as_written_by_msgpack_in_python() {
    // msgpack.packb([None, True, 5, -3, 200, -200, 70000, -70000, 2**40, -2**40, 1.5, "ab", b"\x00\xff", {"k": []}])
    let message = b"\x9e\xc0\xc3\x05\xfd\xcc\xc8\xd1\xff\x38\xce\x00\x01\x11\x70\xd2\xff\xfe\xee\x90\
        \xcf\x00\x00\x01\x00\x00\x00\x00\x00\xd3\xff\xff\xff\x00\x00\x00\x00\x00\
        \xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xa2ab\xc4\x02\x00\xff\x81\xa1k\x90";
    let expected = Value::Array(vec![
        Value::Nil,
        Value::Bool(true),
        Value::Integer(5),
        Value::Integer(-3),
        Value::Integer(200),
        Value::Integer(-200),
        Value::Integer(70_000),
        Value::Integer(-70_000),
        Value::Integer(1 << 40),
        Value::Integer(-1 << 40),
        Value::Float(1.5),
        Value::Text("ab"),
        Value::Bytes(b"\x00\xff"),
        Value::Map(vec![(Value::Text("k"), Value::Array(Vec::new()))]),
    ]);
    assert_eq!(parse(message).expect("valid"), expected);
}

#[test]
fn what_the_writer_writes_is_read_back() {
    let long = "x".repeat(70_000);
    let mut bytes = Vec::new();
    let mut writer = Writer(&mut bytes);
    writer.map(3);
    writer.text("text");
    writer.text(&long);
    writer.bytes(b"bytes");
    writer.bytes(long.as_bytes());
    writer.text("numbers");
    writer.array(5);
    [-5_000_000_000, -1, 0, 127, 1 << 40].into_iter().for_each(|number| writer.integer(number));
    let value = parse(&bytes).expect("valid");
    assert_eq!(value.get("text").and_then(Value::text), Some(long.as_str()));
    assert_eq!(value.get("bytes"), Some(&Value::Bytes(long.as_bytes())));
    let numbers = [-5_000_000_000, -1, 0, 127, 1 << 40].map(Value::Integer).to_vec();
    assert_eq!(value.get("numbers"), Some(&Value::Array(numbers)));
}

#[test]
fn bombs_are_refused_before_memory_is_taken() {
    // A list that announces four billion values, bytes of 4 GiB, and a map of them.
    for bomb in [&b"\xdd\xff\xff\xff\xff"[..], b"\xc6\xff\xff\xff\xff\x00", b"\xdf\xff\xff\xff\xff"] {
        refused_of(bomb);
    }
    let nested = [vec![0x91; 100_000], vec![0xc0]].concat();
    assert!(refused_of(&nested).contains("16 levels"));
    // As many values as bytes.
    let wide = [b"\xdd\x00\x10\x00\x00".to_vec(), vec![0xc0; 1 << 20]].concat();
    assert!(refused_of(&wide).contains("16383"));
    // Many small lists add up.
    let spread = [b"\xdc\x00\x20".to_vec(), [b"\xdc\x10\x00".to_vec(), vec![0xc0; 4096]].concat().repeat(32)].concat();
    refused_of(&spread);
}

#[test]
fn a_message_that_is_cut_or_goes_on_is_refused_at_every_byte() {
    let message = b"\x82\xa1a\xc4\x03abc\xa1b\x92\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xda\x00\x02hi";
    assert!(parse(message).is_ok());
    for cut in 0..message.len() {
        refused_of(&message[..cut]);
    }
    refused_of(&[message, &b"\xc0"[..]].concat());
    for extension in [&b"\xc1"[..], b"\xd4\x01\x00", b"\xc7\x01\x01\x00"] {
        refused_of(extension);
    }
}
