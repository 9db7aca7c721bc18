//! Appends msgpack to a buffer, each value in its shortest form.

/// A buffer that values are appended to.
pub(crate) struct Writer<'b>(pub &'b mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn nil(&mut self) {
        self.0.push(0xc0);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.0.push(if value { 0xc3 } else { 0xc2 });
    }

    pub(crate) fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value @ 0..=0x7f) => self.0.push(value as u8),
            Ok(value) => self.marked(0xcf, value.to_be_bytes()),
            Err(_) => self.marked(0xd3, value.to_be_bytes()),
        }
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.marked(0xcb, value.to_be_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.length(text.len(), (0xa0, 31), [Some(0xd9), Some(0xda)], 0xdb);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes_of(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Begins bytes that the caller appends.
    pub(crate) fn bytes_of(&mut self, length: usize) {
        match u8::try_from(length) {
            Ok(length) => self.marked(0xc4, [length]),
            Err(_) => self.length(length, (0, 0), [None, Some(0xc5)], 0xc6),
        }
    }

    /// Begins an array of this many values.
    pub(crate) fn array(&mut self, length: usize) {
        self.length(length, (0x90, 15), [None, Some(0xdc)], 0xdd);
    }

    /// Begins a map of this many keys, each followed by its value.
    pub(crate) fn map(&mut self, length: usize) {
        self.length(length, (0x80, 15), [None, Some(0xde)], 0xdf);
    }

    /// A JSON value.
    pub(crate) fn json(&mut self, value: &serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::Null => self.nil(),
            Value::Bool(value) => self.bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(integer) => self.integer(integer),
                None => self.float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => self.text(text),
            Value::Array(values) => {
                self.array(values.len());
                values.iter().for_each(|value| self.json(value));
            }
            Value::Object(entries) => {
                self.map(entries.len());
                for (key, value) in entries {
                    self.text(key);
                    self.json(value);
                }
            }
        }
    }

    fn marked<const N: usize>(&mut self, marker: u8, bytes: [u8; N]) {
        self.0.push(marker);
        self.0.extend_from_slice(&bytes);
    }

    /// A length in its marker up to `short.1`, else in one, two or four bytes after the markers that there are.
    fn length(&mut self, length: usize, short: (u8, usize), [one, two]: [Option<u8>; 2], four: u8) {
        if length <= short.1 && short.1 > 0 {
            self.0.push(short.0 | length as u8);
        } else if let (Some(marker), Ok(length)) = (one, u8::try_from(length)) {
            self.marked(marker, [length]);
        } else if let (Some(marker), Ok(length)) = (two, u16::try_from(length)) {
            self.marked(marker, length.to_be_bytes());
        } else {
            // Replies hold actions and texts, far below 4 GiB.
            self.marked(four, u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}
