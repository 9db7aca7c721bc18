//! The samples of one input.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::members::Found;
use super::{MAX_BYTES, MAX_SAMPLES, Symbols};
use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec, display_dims};
use vla_npz::npy;

/// Bytes of a member that are read to parse its header.
const FIRST_BYTES: u64 = 1 << 17;

/// One input's samples.
pub(super) struct Column {
    spec: TensorSpec,
    arrays: SampleArrays,
}

enum SampleArrays {
    /// One array for all samples.
    Stacked(Stacked),
    /// One array per sample.
    Each(Vec<Each>),
}

struct Each {
    name: String,
    member: usize,
    dims: Vec<usize>,
}

/// An array with the samples on its leading axis, decompressed while it is read.
struct Stacked {
    name: String,
    path: PathBuf,
    data: MemberData,
    dtype: DType,
    samples: usize,
    dims: Vec<usize>,
    open: Option<Unpacked>,
    /// Samples read since `open` was set.
    read: usize,
}

/// Decompressing reader of a member, with the checksum of the bytes read so far.
type Unpacked = CrcReader<Box<dyn Read + Send>>;

/// Position and encoding of an archive member's data.
#[derive(Clone, Copy)]
struct MemberData {
    start: u64,
    packed: u64,
    deflated: bool,
    /// Length of the `.npy` header in bytes.
    header: u64,
    /// Checksum of the whole decompressed member.
    crc32: u32,
}

impl Column {
    /// Reads the headers of an input's arrays and checks them against its description.
    ///
    /// # Errors
    /// A message that names the array.
    pub(crate) fn open(
        path: &Path,
        archive: &mut ZipArchive<BufReader<File>>,
        spec: &TensorSpec,
        found: Found,
    ) -> Result<Self, String> {
        let arrays = match found {
            Found::Stacked(name, member) => SampleArrays::Stacked(stacked(path, archive, spec, name, member)?),
            Found::Each(members) => {
                let mut each = Vec::with_capacity(members.len());
                for (name, member) in members {
                    let (header, _) = header(archive, member).map_err(|reason| format!("array '{name}': {reason}"))?;
                    fits(spec, &name, header.dtype, &header.dims, &spec.dims)?;
                    each.push(Each { name, member, dims: header.dims });
                }
                SampleArrays::Each(each)
            }
        };
        Ok(Self { spec: spec.clone(), arrays })
    }

    /// The input.
    pub(crate) fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// The input's name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Number of samples.
    pub(crate) fn samples(&self) -> usize {
        match &self.arrays {
            SampleArrays::Stacked(stacked) => stacked.samples,
            SampleArrays::Each(each) => each.len(),
        }
    }

    /// Name of the array that holds a sample.
    pub(crate) fn array(&self, sample: usize) -> String {
        match &self.arrays {
            SampleArrays::Stacked(stacked) => stacked.name.clone(),
            SampleArrays::Each(each) => each.get(sample).map(|each| each.name.clone()).unwrap_or_default(),
        }
    }

    /// Dimensions of a sample.
    pub(crate) fn dims(&self, sample: usize) -> &[usize] {
        match &self.arrays {
            SampleArrays::Stacked(stacked) => &stacked.dims,
            SampleArrays::Each(each) => each.get(sample).map_or(&[], |each| &each.dims),
        }
    }

    /// Reads a sample. Samples of a stacked array must be read in order.
    pub(crate) fn read(
        &mut self,
        archive: &mut ZipArchive<BufReader<File>>,
        sample: usize,
        symbols: &Symbols,
    ) -> Result<HostTensor, String> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(n) => *n,
            Dim::Symbol(symbol) => symbols.get(symbol).copied().unwrap_or_default(),
        };
        let dims: Vec<usize> = self.spec.dims.iter().map(size).collect();
        let tensor = match &mut self.arrays {
            SampleArrays::Stacked(stacked) => stacked.next(&dims)?,
            SampleArrays::Each(each) => {
                let each = each.get(sample).ok_or_else(|| "there is no such sample".to_owned())?;
                whole(archive, each)?
            }
        };
        finite(&tensor)?;
        if tensor.dtype() == self.spec.dtype {
            return Ok(tensor);
        }
        let mut wanted = HostTensor::zeros(self.spec.dtype, &dims);
        let converted = wanted.as_mut().is_some_and(|wanted| tensor.convert_into(wanted));
        let wanted = wanted.filter(|_| converted);
        let wanted = wanted.ok_or_else(|| format!("{} does not become {}", tensor.dtype(), self.spec.dtype))?;
        finite(&wanted).map_err(|reason| format!("in {}, {reason}", self.spec.dtype))?;
        Ok(wanted)
    }

    /// Returns to the first sample.
    pub(crate) fn rewind(&mut self) {
        if let SampleArrays::Stacked(stacked) = &mut self.arrays {
            (stacked.open, stacked.read) = (None, 0);
        }
    }
}

/// Reads a member's header and the location of its data.
fn header(archive: &mut ZipArchive<BufReader<File>>, member: usize) -> Result<(npy::Header, MemberData), String> {
    let mut member = archive.by_index(member).map_err(|error| format!("it cannot be read: {error}"))?;
    let deflated = match member.compression() {
        CompressionMethod::Stored => false,
        CompressionMethod::Deflated => true,
        other => return Err(format!("expected it stored or deflated, as NumPy does, found {other}")),
    };
    let (size, packed, start) = (member.size(), member.compressed_size(), member.data_start());
    let crc32 = member.crc32();
    let mut first = Vec::new();
    let read = member.by_ref().take(FIRST_BYTES).read_to_end(&mut first);
    read.map_err(|error| format!("it cannot be unpacked: {error}"))?;
    let header = npy::Header::parse(&first)?;
    let whole = header.data_bytes().and_then(|data| data.checked_add(header.length)).map(|bytes| bytes as u64);
    if whole != Some(size) {
        let (dtype, dims) = (header.dtype, display_dims(&header.dims));
        return Err(format!("expected the elements of {dtype} {dims}, found {size} bytes"));
    }
    let start = start.ok_or_else(|| "it has no place in the archive".to_owned())?;
    let data = MemberData { start, packed, deflated, header: header.length as u64, crc32 };
    Ok((header, data))
}

fn stacked(
    path: &Path,
    archive: &mut ZipArchive<BufReader<File>>,
    spec: &TensorSpec,
    name: String,
    member: usize,
) -> Result<Stacked, String> {
    let (header, data) = header(archive, member).map_err(|reason| format!("array '{name}': {reason}"))?;
    // The sample axis is either additional, or replaces a leading dimension that is always 1.
    let instead = header.dims.len() == spec.dims.len() && spec.dims.first() == Some(&Dim::Fixed(1));
    let mut wanted = spec.dims.clone();
    if instead {
        wanted.remove(0);
    }
    let axis = wanted.len() + 1;
    if header.dims.len() != axis {
        return Err(format!(
            "array '{name}': expected samples on the leading axis, {} [N{}], found {} {}; or '{name}/0000' and so on for \
             samples of different shapes",
            spec.dtype,
            spec.dims.iter().map(|dim| format!(", {dim}")).collect::<String>(),
            header.dtype,
            display_dims(&header.dims)
        ));
    }
    let (samples, rest) = header.dims.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
    fits(spec, &name, header.dtype, rest, &wanted)?;
    if samples == 0 || samples > MAX_SAMPLES {
        return Err(format!("array '{name}': expected 1 to {MAX_SAMPLES} samples, found {samples}"));
    }
    let dims = if instead { std::iter::once(1).chain(rest.iter().copied()).collect() } else { rest.to_vec() };
    Ok(Stacked { name, path: path.to_owned(), data, dtype: header.dtype, samples, dims, open: None, read: 0 })
}

/// Checks that an array of this type and shape fits the input.
fn fits(spec: &TensorSpec, name: &str, dtype: DType, dims: &[usize], wanted: &[Dim]) -> Result<(), String> {
    let same = |(size, dim): (&usize, &Dim)| match dim {
        Dim::Fixed(n) => size == n,
        Dim::Symbol(_) => *size > 0,
    };
    let shape = dims.len() == wanted.len() && dims.iter().zip(wanted).all(same);
    if !shape {
        let (wanted, found) = (display_dims(wanted), display_dims(dims));
        return Err(format!("array '{name}': expected samples of {} {wanted}, found {dtype} {found}", spec.dtype));
    }
    let narrowed = dtype == DType::F32 && matches!(spec.dtype, DType::F16 | DType::BF16);
    if dtype != spec.dtype && !narrowed {
        return Err(format!("array '{name}': expected {}, found {dtype}; convert it with astype", spec.dtype));
    }
    let bytes = dims.iter().try_fold(dtype.size() as u64, |bytes, n| bytes.checked_mul(*n as u64));
    if bytes.is_none_or(|bytes| bytes > MAX_BYTES) {
        let found = display_dims(dims);
        return Err(format!(
            "array '{name}': expected samples of at most {} MiB, found {dtype} {found}",
            MAX_BYTES >> 20
        ));
    }
    Ok(())
}

/// Reads the array of one sample.
fn whole(archive: &mut ZipArchive<BufReader<File>>, each: &Each) -> Result<HostTensor, String> {
    let member = archive.by_index(each.member).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    // `header` checked the size when the file was opened.
    // One byte more, to reach the end of the member, where the archive reader compares the checksum.
    let limit = member.size().saturating_add(1);
    member.take(limit).read_to_end(&mut bytes).map_err(|error| format!("it cannot be unpacked: {error}"))?;
    npy::parse(&bytes)
}

impl Stacked {
    fn next(&mut self, dims: &[usize]) -> Result<HostTensor, String> {
        let unpack = |error: std::io::Error| format!("it cannot be unpacked: {error}");
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(self.data.open(&self.path).map_err(unpack)?),
        };
        let elements: usize = self.dims.iter().product();
        let mut bytes = vec![0; elements * self.dtype.size()];
        open.read_exact(&mut bytes).map_err(unpack)?;
        self.read += 1;
        if self.read == self.samples && open.crc().sum() != self.data.crc32 {
            return Err("the array's checksum is wrong: the file is damaged, record it again".to_owned());
        }
        npy::elements(self.dtype, dims, &bytes)
    }
}

impl MemberData {
    /// Opens a reader at the first element.
    fn open(self, path: &Path) -> std::io::Result<Unpacked> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        let packed = BufReader::with_capacity(1 << 20, file.take(self.packed));
        let unpacked: Box<dyn Read + Send> =
            if self.deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        let mut header = CrcReader::new(unpacked).take(self.header);
        std::io::copy(&mut header, &mut std::io::sink())?;
        Ok(header.into_inner())
    }
}

/// Refuses values that are not finite: one of them would determine the scale of the whole tensor.
fn finite(tensor: &HostTensor) -> Result<(), String> {
    let bad = match tensor.data() {
        Data::F32(values) => values.iter().position(|value| !value.is_finite()),
        Data::F16(values) => values.iter().position(|value| !value.is_finite()),
        Data::BF16(values) => values.iter().position(|value| !value.is_finite()),
        _ => None,
    };
    match bad {
        None => Ok(()),
        Some(at) => Err(format!("element {at} is NaN or infinite; leave this sample out")),
    }
}
