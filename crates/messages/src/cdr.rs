//! Plain CDR (XCDR1): what ROS 2 puts on the wire and into bags.
//!
//! Four bytes of encapsulation header (00 01 little-endian, 00 00 big-endian, then two bytes of options), then the
//! fields in order. A primitive is aligned to its own size, counted from after the header. A string is its length
//! with terminator (u32), its bytes and a NUL; a sequence is its length (u32) and its elements. Structs add nothing.
//! Padding bytes and whatever follows the last field are arbitrary: Fast DDS leaves both uninitialised.

mod reader;
mod writer;

pub use reader::{Doubles, Reader};
pub use writer::Writer;

/// Bytes of the encapsulation header.
const HEADER: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Little,
    Big,
}
