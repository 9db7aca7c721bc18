//! Copies a network's weights to the device, through two page-locked buffers: no copy of the whole is ever in host memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cudarc::driver::{CudaEvent, result};

use super::module::Module;
use crate::driver::{Cuda, failed};
use crate::launch::{Arguments, Element, Kernel, Matrix, QuantizeArguments};
use crate::plan::WeightLayout;
use crate::{DeviceBlock, PinnedBlock};
use vla_base::sys::streamed::StreamedFile;
use vla_base::tensor::DType;
use vla_engines::Error;
use vla_engines::memory::Footprint;
use vla_engines::onnx::Network;
use vla_engines::operations::Program;

/// Bytes of one of the two buffers.
const PIECE: usize = 16 << 20;
const _: () = assert!(PIECE as u64 == Footprint::ROUNDED_ROWS, "the planned block for rows that are rounded");

/// Where a weight's bytes are, and where they go.
struct Copy {
    weight: usize,
    /// Bytes of a row and its number of elements, where the weight gets 8 bits: where its scales go.
    quantized: Option<Rows>,
    /// A file beside the network, and the place there; `None`: in the network's own file.
    place: Option<(PathBuf, u64)>,
    bytes: u64,
    to: u64,
}

/// Rows that are rounded to 8 bits, each with a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rows {
    element: Element,
    columns: u64,
    /// Where the scales go.
    scales: u64,
}

impl Copy {
    /// Bytes that are copied at once: whole rows where they get 8 bits.
    fn piece(&self) -> usize {
        let row = self.quantized.map_or(1, |rows| rows.columns * 2);
        PIECE - PIECE % usize::try_from(row).unwrap_or(1).clamp(1, PIECE)
    }
}

/// The weights of `program`, by `layout`, in one block on the device. With `drop_pages`, what was read and was not there before
/// leaves the page cache, which takes memory of the device where both share it. Weights in 8 bits are copied to a
/// block beside it and rounded on the device.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::Device`]; [`Error::Load`] naming the weight and its file.
pub(super) fn load(
    (cuda, module): (&Cuda, Option<&Arc<Module>>),
    stage: &str,
    program: &Program,
    network: &Network,
    layout: &WeightLayout,
    drop_pages: bool,
) -> Result<DeviceBlock, Error> {
    let refused = |file: &Path, source: vla_engines::Cause| Error::Load {
        stage: stage.to_owned(),
        file: file.to_owned(),
        source,
    };
    let copies = copies(program, network, layout).map_err(|error| refused(&network.path, error.into()))?;
    let bytes = usize::try_from(layout.bytes()).unwrap_or(usize::MAX);
    let block = DeviceBlock::zeroed(cuda, bytes)?;
    let mut upload = Upload::new(cuda, module, &block)?;
    let mut open: Option<(PathBuf, Source)> = None;
    for copy in copies {
        let Some((file, offset)) = &copy.place else {
            let tensor = network.graph().initializer.iter().find(|it| it.name() == program.weights[copy.weight].name);
            let elements = tensor.map(|tensor| network.elements(tensor)).transpose();
            let elements = elements.map_err(|error| refused(&network.path, error.into()))?.unwrap_or_default();
            for (index, piece) in elements.chunks(copy.piece()).enumerate() {
                upload.piece(&copy, (index * copy.piece()) as u64, piece.len(), |buffer| {
                    buffer.copy_from_slice(piece);
                    Ok(())
                })?;
            }
            continue;
        };
        if open.as_ref().is_none_or(|(opened, _)| opened != file) {
            let source = Source::open(file, drop_pages).map_err(|error| refused(file, error.into()))?;
            open = Some((file.clone(), source));
        }
        let Some((_, source)) = &mut open else { continue };
        let mut done = 0;
        while done < copy.bytes {
            let piece = usize::try_from(copy.bytes - done).unwrap_or(PIECE).min(copy.piece());
            upload.piece(&copy, done, piece, |buffer| {
                source.read(buffer, offset + done).map_err(|error| {
                    let weight = &program.weights[copy.weight].name;
                    refused(file, format!("weight '{weight}' of {} bytes at {offset}: {error}", copy.bytes).into())
                })
            })?;
            done += piece as u64;
        }
    }
    cuda.wait()?;
    drop(upload);
    Ok(block)
}

/// What is to be copied, in the order of files and places, so that each file is read once from front to back.
fn copies(program: &Program, network: &Network, layout: &WeightLayout) -> Result<Vec<Copy>, vla_engines::onnx::Error> {
    let outside = network.external_weights()?;
    let places: BTreeMap<&str, _> = outside.iter().map(|weight| (weight.name.as_str(), weight)).collect();
    let stored: BTreeMap<&str, u64> =
        network.weights.iter().map(|weight| (weight.name.as_str(), weight.bytes)).collect();
    let mut copies: Vec<Copy> = program
        .weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            let name = weight.name.as_str();
            let place = places.get(name).map(|place| (place.file.clone(), place.offset));
            let bytes = stored.get(name).copied().unwrap_or_default();
            let quantized = layout.scales(index).and_then(|scales| {
                let element = if weight.dtype == DType::BF16 { Element::BF16 } else { Element::F16 };
                Some(Rows { element, columns: *weight.dims.last()? as u64, scales })
            });
            Copy { weight: index, quantized, place, bytes, to: layout.offset(index) }
        })
        .collect();
    copies.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(copies)
}

/// A file of weights.
enum Source {
    /// Its pages stay in the page cache: the next start reads them from there.
    Kept(File),
    /// Those that were not there before leave it.
    Streamed(StreamedFile),
}

impl Source {
    fn open(path: &Path, drop_pages: bool) -> io::Result<Self> {
        Ok(if drop_pages { Self::Streamed(StreamedFile::open(path)?) } else { Self::Kept(File::open(path)?) })
    }

    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Kept(file) => file.read_exact_at(buffer, offset),
            Self::Streamed(file) => {
                let read = file.read_at(buffer, offset)?;
                let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before it");
                (read == buffer.len()).then_some(()).ok_or_else(cut)
            }
        }
    }
}

/// Two buffers: one is filled while the other is copied.
struct Upload<'a> {
    cuda: &'a Cuda,
    module: Option<&'a Arc<Module>>,
    block: &'a DeviceBlock,
    /// Rows before they are rounded; made for the first of them.
    rows: Option<DeviceBlock>,
    buffers: [(PinnedBlock, CudaEvent); 2],
    next: usize,
}

impl<'a> Upload<'a> {
    fn new(cuda: &'a Cuda, module: Option<&'a Arc<Module>>, block: &'a DeviceBlock) -> Result<Self, Error> {
        let buffer = || Ok::<_, Error>((PinnedBlock::zeroed(cuda, PIECE)?, cuda.event()?));
        Ok(Self { cuda, module, block, rows: None, buffers: [buffer()?, buffer()?], next: 0 })
    }

    /// Has `fill` write the `bytes` bytes from `done` on of a weight.
    fn piece(
        &mut self,
        copy: &Copy,
        done: u64,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(rows) = copy.quantized else {
            let place = within(self.block, copy.to + done, bytes)?;
            return self.copy(place, bytes, fill);
        };
        if self.rows.is_none() {
            self.rows = Some(DeviceBlock::zeroed(self.cuda, PIECE)?);
        }
        let staged = self.rows.as_ref().map_or(0, DeviceBlock::address);
        self.copy(staged, bytes, fill)?;
        self.quantize(rows, staged, copy.to, (done / 2, bytes as u64 / 2))
    }

    /// Rounds the rows at `staged` to their place in 8 bits: `count` elements from `first` on of the weight at `to`. What is copied to
    /// `staged` next comes later on the stream.
    fn quantize(&self, rows: Rows, staged: u64, to: u64, (first, count): (u64, u64)) -> Result<(), Error> {
        let Rows { element, columns, scales } = rows;
        let size = |n: u64| i32::try_from(n).unwrap_or_default();
        let number = count / columns.max(1);
        let stride = i64::from(size(columns));
        let arguments = QuantizeArguments {
            x: Matrix { address: staged, stride },
            y: Matrix {
                address: within(self.block, to + first, usize::try_from(count).unwrap_or(usize::MAX))?,
                stride,
            },
            scales: within(
                self.block,
                scales + first / columns.max(1) * 4,
                usize::try_from(number * 4).unwrap_or(usize::MAX),
            )?,
            rows: size(number),
            columns: size(columns),
            ..QuantizeArguments::default()
        };
        let action = "rounding weights to 8 bits";
        let without =
            || Error::Device { action: action.to_owned(), source: "this program has no kernels for the GPU".into() };
        let module = self.module.ok_or_else(without)?;
        let kernel = module.prepare(Kernel::Quantize(element), Arguments::Quantize(arguments))?;
        // SAFETY: source and results are inside of their blocks, as was checked here and by `copy`; both live until `drop`, which waits.
        unsafe { kernel.enqueue(self.cuda.stream().cu_stream(), false) }
    }

    /// Has `fill` write `bytes` bytes, which go to `place` on the device.
    fn copy(
        &mut self,
        place: u64,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if bytes > PIECE {
            return Err(outside(format!("{bytes} bytes, of at most {PIECE} at once")));
        }
        let (buffer, copied) = &mut self.buffers[self.next];
        // The copy before the last one, which read this buffer.
        copied.synchronize().map_err(failed("copying weights to the device"))?;
        let piece = &mut buffer.as_mut_slice()[..bytes];
        fill(piece)?;
        let stream = self.cuda.stream().cu_stream();
        // SAFETY: the block is that long: `piece` checks it for the weights' block, and the other one has `PIECE` bytes. The buffer is not
        // written before its event, which is recorded behind the copy, and both live until `drop`, which waits.
        unsafe { result::memcpy_htod_async(place, piece, stream) }.map_err(failed("copying weights to the device"))?;
        self.cuda.record(copied, false)?;
        self.next = 1 - self.next;
        Ok(())
    }
}

/// The address of `bytes` bytes from `offset` on in a block.
fn within(block: &DeviceBlock, offset: u64, bytes: usize) -> Result<u64, Error> {
    let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(bytes));
    if end.is_none_or(|end| end > block.bytes()) {
        return Err(outside(format!("{bytes} bytes at {offset} of {}", block.bytes())));
    }
    Ok(block.address() + offset)
}

fn outside(what: String) -> Error {
    Error::Device { action: "copying weights to the device".to_owned(), source: what.into() }
}

/// Neither buffer may be freed while it is read.
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cuda.wait() {
            tracing::debug!(%error, "after copying weights");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_engines::operations;

    #[test]
    fn every_weight_of_a_policy_is_read_whole_from_its_place_to_a_place_of_its_own() {
        let dir = tempfile::tempdir().expect("a folder");
        vla_export::demo::bundle::write(&vla_export::family::N1D6, dir.path(), 7).expect("the demo policy");
        for stage in ["vision", "language", "context", "step"] {
            let onnx = dir.path().join(format!("{stage}.onnx"));
            let program = Program::read(&operations::path_beside(&onnx)).expect("a list");
            let (network, layout) = (Network::open(&onnx).expect("a network"), WeightLayout::new(&program));
            let mut taken: Vec<(u64, u64)> = Vec::new();
            let copies = copies(&program, &network, &layout).expect("places");
            assert_eq!(copies.len(), program.weights.len());
            for copy in copies {
                let weight = &program.weights[copy.weight];
                let tensor = network.graph().initializer.iter().find(|it| it.name() == weight.name).expect("a weight");
                let expected = network.elements(tensor).expect("elements");
                assert_eq!(copy.bytes, expected.len() as u64);
                if let Some((file, offset)) = copy.place {
                    for drop_pages in [false, true] {
                        let mut found = vec![0; expected.len()];
                        let mut source = Source::open(&file, drop_pages).expect("a file");
                        source.read(&mut found, offset).expect("whole");
                        assert!(found == expected[..], "{}", weight.name);
                        let end = std::fs::metadata(&file).expect("a size").len();
                        let beyond = end - copy.bytes + 1;
                        let cut = source.read(&mut found, beyond).expect_err("beyond the end");
                        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
                    }
                }
                taken.push((copy.to, copy.to + copy.bytes));
            }
            taken.sort_unstable();
            assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{stage}: places overlap");
            assert!(taken.last().is_some_and(|last| last.1 <= layout.bytes()));
        }
    }

    #[test]
    fn rows_that_are_rounded_are_copied_whole() {
        let copy = |columns: Option<u64>| {
            let quantized = columns.map(|columns| Rows { element: Element::F16, columns, scales: 0 });
            Copy { weight: 0, quantized, place: None, bytes: 1 << 30, to: 0 }
        };
        assert_eq!(copy(None).piece(), PIECE);
        for columns in [16, 1536, 6144, 1 << 17] {
            let piece = copy(Some(columns)).piece() as u64;
            assert!(piece > 0 && piece <= PIECE as u64 && piece.is_multiple_of(2 * columns), "{columns}: {piece}");
        }
    }
}
