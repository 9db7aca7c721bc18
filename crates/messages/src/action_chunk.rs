//! `vla_trt/ActionChunk`.

use super::cdr::{Reader, Writer};
use super::error::Error;
use super::header::HeaderView;
use vla_base::time::{Span, Stamp};

/// One action chunk as it is published; `msg/ActionChunk.msg` says what each field means.
///
/// Kept and refilled: writing allocates nothing once the buffers have grown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ActionChunkMessage {
    /// `header.stamp`: the oldest input of the observation.
    pub stamp: Stamp,
    /// `header.frame_id`.
    pub frame_id: String,
    /// Counts the chunks of one run, from 1.
    pub sequence: u64,
    /// Inputs of the observation.
    pub input_names: Vec<String>,
    /// Their stamps, same order.
    pub input_stamps: Vec<Stamp>,
    /// Due time of row 0.
    pub start: Stamp,
    /// Time between rows.
    pub step: Span,
    /// Joints, in column order.
    pub names: Vec<String>,
    /// Rows.
    pub horizon: u32,
    /// `[horizon, names]`, rad or m.
    pub values: Vec<f32>,
    /// Rows that were due before the chunk was published.
    pub late_rows: u32,
    /// From observation to chunk.
    pub inference_latency: Span,
    /// Seed of the noise.
    pub seed: u64,
    /// Which policy made it.
    pub policy_fingerprint: String,
}

impl ActionChunkMessage {
    /// Name of the type.
    pub const TYPE: &'static str = "vla_trt/msg/ActionChunk";

    /// Replaces `out` by the serialized message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.header(HeaderView { stamp: self.stamp, frame_id: &self.frame_id });
        writer.u64(self.sequence);
        writer.strings(&self.input_names);
        writer.length(self.input_stamps.len());
        for &stamp in &self.input_stamps {
            writer.stamp(stamp);
        }
        writer.stamp(self.start);
        writer.span(self.step);
        writer.strings(&self.names);
        writer.u32(self.horizon);
        writer.floats(&self.values);
        writer.u32(self.late_rows);
        writer.span(self.inference_latency);
        writer.u64(self.seed);
        writer.string(&self.policy_fingerprint);
    }

    /// Reads a serialized message.
    ///
    /// # Errors
    /// Not plain CDR, truncated, text that is not UTF-8, or [`Error::Length`] when names and stamps of the inputs, or
    /// values and `horizon` x `names`, do not match.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let header = reader.header()?;
        // Fields are read in the order in which they stand here, which is the message's.
        let message = Self {
            stamp: header.stamp,
            frame_id: header.frame_id.to_owned(),
            sequence: reader.u64("sequence")?,
            input_names: strings(&mut reader, "input_names")?,
            input_stamps: stamps(&mut reader, "input_stamps")?,
            start: reader.stamp("start")?,
            step: reader.span("step")?,
            names: strings(&mut reader, "names")?,
            horizon: reader.u32("horizon")?,
            values: floats(&mut reader, "values")?,
            late_rows: reader.u32("late_rows")?,
            inference_latency: reader.span("inference_latency")?,
            seed: reader.u64("seed")?,
            policy_fingerprint: reader.string("policy_fingerprint")?.to_owned(),
        };
        let inputs = message.input_names.len();
        expect_length("input_stamps", message.input_stamps.len(), inputs, "one for each of `input_names`")?;
        let values = message.names.len().saturating_mul(message.horizon as usize);
        expect_length("values", message.values.len(), values, "`horizon` times the number of `names`")?;
        Ok(message)
    }
}

fn expect_length(field: &'static str, found: usize, expected: usize, why: &'static str) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Length { message: ActionChunkMessage::TYPE.to_owned(), field, found, expected, why })
}

/// `string[]`, each at least its length.
pub(super) fn strings(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<String>, Error> {
    let count = reader.length(field, 4)?;
    (0..count).map(|_| reader.string(field).map(str::to_owned)).collect()
}

fn stamps(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<Stamp>, Error> {
    let count = reader.length(field, 8)?;
    (0..count).map(|_| reader.stamp(field)).collect()
}

fn floats(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<f32>, Error> {
    let count = reader.length(field, 4)?;
    (0..count).map(|_| reader.f32(field)).collect()
}
