//! The second writer of a network: its list of fused operations ([`vla_engines::operations`]).
//!
//! A [`Graph`] that the layers have built is lowered node by node: where a node moves no element, the result is a [`view`] of what it
//! reads; a [`Piece`](crate::onnx::pieces::Piece) of nodes is the one operation that the layers say it is. [`fuse`] then joins operations
//! that an engine runs as one. The list is checked before it is written.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use vla_engines::operations::{FORMAT, Program, path_beside};
use vla_engines::provenance::hash;

use crate::Error;
use crate::onnx::Graph;

mod fuse;
mod lower;
mod nodes;
mod pieces;
#[cfg(test)]
mod tests;
mod view;

/// The operations of a whole graph. The hash of its ONNX file, which is not written yet, is added by [`write()`].
///
/// # Errors
/// [`Error::Operations`] for a graph that the operations do not express.
pub(crate) fn program(graph: &Graph) -> Result<Program, Error> {
    let fails = |reason| Error::Operations { stage: graph.scope(), reason };
    let mut lowered = lower::lower(graph).map_err(fails)?;
    fuse::fuse(&mut lowered);
    lowered.program().map_err(fails)
}

/// Writes the operations beside the ONNX file that was written of the same graph.
///
/// # Errors
/// [`Error::Operations`] for a list that is not usable, [`Error::Io`].
pub(crate) fn write(mut program: Program, stage: &str, onnx: &Path) -> Result<(), Error> {
    let path = path_beside(onnx);
    program.format = FORMAT;
    program.network = hash::file_sha256(onnx).map_err(Error::io(onnx))?;
    let fails = |reason| Error::Operations { stage: stage.to_owned(), reason };
    program.check().map_err(fails)?;
    let text = program.to_text().map_err(|error| fails(error.to_string()))?;
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io(&path))
}
