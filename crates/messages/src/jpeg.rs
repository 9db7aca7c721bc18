//! What a JPEG file says of itself, read without decoding it: size, orientation, and whether all its data are there.

/// Markers, ITU T.81 table B.1.
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DRI: u8 = 0xdd;
const APP1: u8 = 0xe1;
const RST0: u8 = 0xd0;
const TEM: u8 = 0x01;

/// Tag of the orientation in the first directory of EXIF data, and its type.
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// Components of a frame: this many can be in one scan.
const MOST_COMPONENTS: usize = 4;

/// The frame header (SOF).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Frame {
    width: usize,
    height: usize,
    /// Identifier, horizontal and vertical sampling factor of each component.
    components: [(u8, usize, usize); MOST_COMPONENTS],
    count: usize,
}

/// What the headers before the first scan say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct JpegHeader {
    /// Columns; 0 when no frame header was found.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Colour components.
    pub components: usize,
    /// EXIF orientation, 1 to 8; 1 is upright, and what a file without one is.
    pub orientation: u8,
}

impl JpegHeader {
    /// Reads the segments up to the first scan; what is missing there is zero.
    pub(crate) fn parse(data: &[u8]) -> Self {
        let (mut frame, mut orientation) = (Frame::default(), 1);
        for segment in Segments::new(data) {
            match segment.marker {
                SOS => break,
                APP1 => orientation = exif_orientation(segment.body).unwrap_or(orientation),
                marker if is_frame(marker) => frame = Frame::parse(segment.body).unwrap_or(frame),
                _ => {}
            }
        }
        Self { width: frame.width, height: frame.height, components: frame.count, orientation }
    }
}

/// Copies a file without the bytes between its header segments that belong to none of them.
pub(super) fn without_stray_bytes(data: &[u8], out: &mut Vec<u8>) {
    out.clear();
    for segment in Segments::new(data) {
        out.extend_from_slice(&[0xff, segment.marker]);
        if let Ok(length) = u16::try_from(segment.body.len() + 2)
            && has_length(segment.marker)
        {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(segment.body);
        }
        if segment.marker == SOS {
            // Bytes too many in the coded data are the decoder's business.
            out.extend_from_slice(data.get(segment.end..).unwrap_or_default());
            break;
        }
    }
}

/// Whether every scan of a file is there to its end: all restart markers in their order, the scans for every bit of every
/// coefficient, and the end marker. Bytes too many before a marker do not matter. `ends`: whether to ask for the end marker.
pub(super) fn is_complete(data: &[u8], ends: bool) -> bool {
    let (mut frame, mut interval) = (Frame::default(), 0);
    // Coefficients of each component that have come to their last bit.
    let mut known = [0_u64; MOST_COMPONENTS];
    let mut ended = false;
    for segment in Segments::new(data) {
        match segment.marker {
            EOI => ended = true,
            DRI => interval = pair(segment.body, 0).unwrap_or(0),
            SOS => match scan_is_complete(&frame, interval, &segment, &mut known) {
                Some(true) => {}
                _ => return false,
            },
            marker if is_frame(marker) => frame = Frame::parse(segment.body).unwrap_or_default(),
            _ => {}
        }
    }
    let all = known.iter().take(frame.count).all(|coefficients| *coefficients == u64::MAX);
    frame.count > 0 && all && (ended || !ends)
}

/// `None` for a scan header that makes no sense.
fn scan_is_complete(frame: &Frame, interval: usize, scan: &Segment<'_>, known: &mut [u64; 4]) -> Option<bool> {
    let count = usize::from(*scan.body.first()?);
    let (first, last) = (*scan.body.get(1 + 2 * count)?, *scan.body.get(2 + 2 * count)?);
    let bits_left = scan.body.get(3 + 2 * count)? & 0x0f;
    let mut units = 0;
    for at in 0..count {
        let id = *scan.body.get(1 + 2 * at)?;
        let place = frame.components.iter().take(frame.count).position(|component| component.0 == id)?;
        if bits_left == 0 && first <= last && last < 64 {
            *known.get_mut(place)? |= (u64::MAX >> (63 - (last - first))) << first;
        }
        units = if count == 1 { frame.blocks(place)? } else { frame.units() };
    }
    let expected = if interval > 0 { units.div_ceil(interval).saturating_sub(1) } else { 0 };
    Some(scan.restarts == Some(expected))
}

impl Frame {
    fn parse(body: &[u8]) -> Option<Self> {
        let (height, width, count) = (pair(body, 1)?, pair(body, 3)?, usize::from(*body.get(5)?));
        let mut components = [(0, 1, 1); MOST_COMPONENTS];
        for (at, component) in components.iter_mut().enumerate().take(count) {
            let sampling = *body.get(7 + 3 * at)?;
            let (across, down) = (usize::from(sampling >> 4), usize::from(sampling & 0x0f));
            *component = (*body.get(6 + 3 * at)?, across.max(1), down.max(1));
        }
        (count <= MOST_COMPONENTS).then_some(Self { width, height, components, count })
    }

    /// Greatest sampling factors.
    fn sampling(&self) -> (usize, usize) {
        let used = self.components.iter().take(self.count);
        used.fold((1, 1), |(across, down), component| (across.max(component.1), down.max(component.2)))
    }

    /// Coded units of a scan of several components.
    fn units(&self) -> usize {
        let (across, down) = self.sampling();
        self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down)
    }

    /// Blocks of a scan of one component.
    fn blocks(&self, place: usize) -> Option<usize> {
        let ((across, down), &(_, h, v)) = (self.sampling(), self.components.get(place)?);
        Some((self.width * h).div_ceil(across).div_ceil(8) * (self.height * v).div_ceil(down).div_ceil(8))
    }
}

/// Frame headers of every coding but DHT (c4), JPG (c8) and DAC (cc), which share the range.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// A marker with what belongs to it.
struct Segment<'a> {
    marker: u8,
    /// Behind the length field; empty for markers without one.
    body: &'a [u8],
    /// Where it ends in the file.
    end: usize,
    /// Restart markers of the scan behind a scan header; `None` when they are not in their order.
    restarts: Option<usize>,
}

/// The segments of a file, until something is no segment.
struct Segments<'a> {
    length: usize,
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { length: data.len(), rest: data }
    }

    /// The next marker, past bytes that belong to none.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let at = self.rest.iter().position(|byte| *byte == 0xff)?;
            self.rest = self.rest.get(at + 1..)?;
            match *self.rest.first()? {
                0 | 0xff => {}
                marker => {
                    self.rest = self.rest.get(1..)?;
                    return Some(marker);
                }
            }
        }
    }

    /// Passes the coded data of a scan up to the next marker that ends it.
    fn pass_scan(&mut self) -> Option<usize> {
        let (mut restarts, mut in_order) = (0, true);
        loop {
            let Some(at) = self.rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff)) else {
                self.rest = &[];
                break;
            };
            let marker = self.rest.get(at + 1).copied().unwrap_or_default();
            if marker & 0xf8 != RST0 {
                self.rest = self.rest.get(at..).unwrap_or_default();
                break;
            }
            in_order &= usize::from(marker & 7) == restarts % 8;
            restarts += 1;
            self.rest = self.rest.get(at + 2..).unwrap_or_default();
        }
        in_order.then_some(restarts)
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let marker = self.marker()?;
        if !has_length(marker) {
            let end = self.length - self.rest.len();
            if marker == EOI {
                // What stands behind the end is no part of the file.
                self.rest = &[];
            }
            return Some(Segment { marker, body: &[], end, restarts: None });
        }
        let length = pair(self.rest, 0)?;
        let body = self.rest.get(2..length)?;
        self.rest = self.rest.get(length..)?;
        let end = self.length - self.rest.len();
        let restarts = if marker == SOS { self.pass_scan() } else { None };
        Some(Segment { marker, body, end, restarts })
    }
}

/// Markers that stand alone have no length.
fn has_length(marker: u8) -> bool {
    !matches!(marker, SOI | EOI | TEM) && marker & 0xf8 != RST0
}

/// Two bytes, most significant first.
fn pair(bytes: &[u8], at: usize) -> Option<usize> {
    let [high, low] = *bytes.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes([high, low])))
}

/// The orientation in an APP1 segment; `None` when it is no EXIF or has none.
fn exif_orientation(body: &[u8]) -> Option<u8> {
    let tiff = body.strip_prefix(b"Exif\0\0")?;
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| -> Option<u16> {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| -> Option<usize> {
        let bytes = *tiff.get(at..)?.first_chunk::<4>()?;
        usize::try_from(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }).ok()
    };
    let directory = u32_at(4)?;
    let entries = usize::from(u16_at(directory)?);
    // Each entry: tag, type, count, value or offset.
    let entry = (0..entries).map(|entry| directory.saturating_add(2 + 12 * entry));
    let place = entry.take_while(|at| u16_at(*at).is_some()).find(|at| u16_at(*at) == Some(ORIENTATION))?;
    let value = u16_at(place + 8).filter(|_| u16_at(place + 2) == Some(SHORT))?;
    u8::try_from(value).ok().filter(|value| (1..=8).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/message");
        std::fs::read(folder.join(name)).expect("a checked-in frame")
    }

    #[test]
    fn a_file_is_complete_with_all_its_scans_and_at_no_shorter_length() {
        for name in ["baseline_422.jpg", "baseline_444.jpg", "progressive_420.jpg", "grey.jpg", "camera.jpg"] {
            let data = file(name);
            assert!(is_complete(&data, true), "{name}");
            assert!(
                !is_complete(&data[..data.len() - 2], true) && is_complete(&data[..data.len() - 2], false),
                "{name}"
            );
        }
        let progressive = file("progressive_420.jpg");
        let scans: Vec<usize> =
            progressive.windows(2).enumerate().filter(|(_, m)| *m == [0xff, SOS]).map(|(at, _)| at).collect();
        assert!(scans.len() > 2);
        for at in scans {
            assert!(!is_complete(&progressive[..at], false), "cut before the scan at {at}");
        }
    }

    #[test]
    fn bytes_between_header_segments_are_left_out_and_nothing_else() {
        let data = file("camera.jpg");
        let mut clean = Vec::new();
        without_stray_bytes(&data, &mut clean);
        assert_eq!(clean, data);
        let table = data.windows(2).position(|marker| marker == [0xff, 0xdb]).expect("a quantisation table");
        let mut stray = data.clone();
        stray.splice(table..table, [0x12, 0x34, 0x00]);
        without_stray_bytes(&stray, &mut clean);
        assert_eq!(clean, data);
    }

    #[test]
    fn the_orientation_is_read_from_either_byte_order_and_nowhere_else() {
        let exif = |body: &[u8]| {
            let mut data = vec![0xff, SOI, 0xff, APP1];
            data.extend(((body.len() + 8) as u16).to_be_bytes());
            data.extend(b"Exif\0\0");
            data.extend(body);
            JpegHeader::parse(&data).orientation
        };
        let little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0";
        assert_eq!((exif(little), exif(big)), (6, 3));
        for length in 0..18 {
            assert_eq!(exif(&little[..length]), 1, "cut to {length}");
        }
        assert_eq!(exif(b"II*\0\xff\xff\xff\xff"), 1);
        assert_eq!(JpegHeader::parse(&file("camera.jpg")).orientation, 1);
    }
}
