//! A scheduled chunk as messages, written into buffers that are reused.

use super::Chunk;
use super::error::Error;
use super::schedule::Scheduled;
use vla_base::time::Span;
use vla_messages::ActionChunkMessage;

/// Time that a joint without a limit of acceleration takes to come to rest. Much less would ask for a jerk that hardware
/// answers with a fault.
pub const STOP_WITHIN: Span = Span::from_nanos(200_000_000);

/// What an `ActionChunk` says besides the chunk itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Publication<'a> {
    /// Number of the chunk since the start of the node.
    pub sequence: u64,
    /// Frame of the header, that of the poses; empty for joint space.
    pub frame_id: &'a str,
    /// Wall time from observation to chunk; 0 or as given in a replay.
    pub inference_latency: Span,
    /// Fingerprint of the policy bundle.
    pub policy_fingerprint: &'a str,
}

/// Writes a chunk into a reused `vla_trt/ActionChunk`. All rows are in it; those late at publication are counted in
/// `late_rows`.
pub fn action_chunk_message(
    chunk: &Chunk,
    scheduled: &Scheduled,
    publication: &Publication<'_>,
    out: &mut ActionChunkMessage,
) -> Result<(), Error> {
    chunk.check()?;
    out.stamp = chunk.observation_stamp;
    set(&mut out.frame_id, publication.frame_id);
    out.sequence = publication.sequence;
    set_all(&mut out.input_names, chunk.inputs.iter().map(|(name, _)| name.as_ref()));
    out.input_stamps.clear();
    out.input_stamps.extend(chunk.inputs.iter().map(|(_, stamp)| *stamp));
    out.start = scheduled.start;
    out.step = chunk.step;
    set_all(&mut out.names, chunk.names.iter().map(String::as_str));
    out.horizon = u32::try_from(chunk.rows).unwrap_or(u32::MAX);
    out.values.clone_from(&chunk.values);
    out.late_rows = scheduled.late_rows;
    out.inference_latency = publication.inference_latency;
    out.seed = chunk.seed;
    set(&mut out.policy_fingerprint, publication.policy_fingerprint);
    Ok(())
}

fn set(out: &mut String, text: &str) {
    out.clear();
    out.push_str(text);
}

fn set_all<'a>(out: &mut Vec<String>, texts: impl Iterator<Item = &'a str> + Clone) {
    out.resize_with(texts.clone().count(), String::new);
    out.iter_mut().zip(texts).for_each(|(out, text)| set(out, text));
}
