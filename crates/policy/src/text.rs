//! Instruction to token ids, embedding rows and indices; kept until the instruction changes.

use super::embedding::EmbeddingTable;
use super::encode::prompt::{Prompt, TextRules};
use super::processor::Processor;
use super::spec::InstructionSpec;
use super::{Error, PolicySpec};
use vla_base::tensor::HostTensor;

/// The instruction in force and its tensors.
pub(super) struct Text {
    files: InstructionSpec,
    rules: TextRules,
    embedding: Option<EmbeddingTable>,
    image_tokens: Vec<usize>,
    current: Option<String>,
    tensors: Vec<(&'static str, HostTensor)>,
}

impl Text {
    /// Loads tokenizer, template and embedding table.
    pub(crate) fn new(spec: &PolicySpec, processor: &Processor, image_tokens: Vec<usize>) -> Result<Self, Error> {
        let files = &spec.instruction;
        files.load(processor.text_rules())?;
        let embedding =
            files.embedding.as_ref().map(|(file, tensor)| EmbeddingTable::open(file, tensor)).transpose()?;
        let (files, rules) = (files.clone(), processor.text_rules());
        Ok(Self { files, rules, embedding, image_tokens, current: None, tensors: Vec::new() })
    }

    /// Makes `instruction` the current one; nothing is done when it is so already.
    pub(crate) fn set(&mut self, instruction: &str) -> Result<(), Error> {
        if self.current.as_deref() == Some(instruction) {
            return Ok(());
        }
        let prompt = self.files.encode(instruction, &self.image_tokens, self.rules)?;
        self.tensors = self.tensors_of(prompt)?;
        self.current = Some(instruction.to_owned());
        Ok(())
    }

    /// A tensor by its name.
    pub(crate) fn tensor(&self, name: &str) -> Option<&HostTensor> {
        self.tensors.iter().find(|(held, _)| *held == name).map(|(_, tensor)| tensor)
    }

    /// Every tensor.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &HostTensor)> {
        self.tensors.iter().map(|(name, tensor)| (*name, tensor))
    }

    fn tensors_of(&self, prompt: Prompt) -> Result<Vec<(&'static str, HostTensor)>, Error> {
        let length = prompt.ids.len();
        let texts = prompt.text_positions.len();
        // Row of concat(text rows, image rows) that stands at each position of the sequence.
        let mut positions = vec![0; length];
        let rows = prompt.text_positions.iter().chain(&prompt.image_positions);
        for (row, &position) in (0..).zip(rows) {
            if let Some(slot) = usize::try_from(position).ok().and_then(|at| positions.get_mut(at)) {
                *slot = row;
            }
        }
        let ints = |values: Vec<i32>| {
            HostTensor::from_i32(&[values.len()], values).ok_or(Error::Internal("a vector of its own length"))
        };
        let mut image_mask = vec![0; length];
        for &position in &prompt.image_positions {
            if let Some(slot) = usize::try_from(position).ok().and_then(|at| image_mask.get_mut(at)) {
                *slot = 1;
            }
        }
        let mut tensors = Vec::with_capacity(8);
        if let Some(table) = &self.embedding {
            let ids = prompt.text_positions.iter().filter_map(|&at| prompt.ids.get(usize::try_from(at).ok()?));
            let mut rows = Vec::with_capacity(texts * table.width());
            for &id in ids {
                table.gather(id, &mut rows)?;
            }
            let rows = HostTensor::from_f32(&[texts, table.width()], rows);
            tensors.push(("text_rows", rows.ok_or(Error::Internal("rows of the table's width"))?));
        }
        tensors.push(("positions", ints(positions)?));
        tensors.push(("text_index", ints(prompt.text_positions)?));
        tensors.push(("image_index", ints(prompt.image_positions)?));
        // One prompt at a time: nothing is padded.
        for mask in ["attention_mask", "backbone_attention_mask"] {
            tensors.push((mask, ints(vec![1; length])?));
        }
        tensors.push(("image_mask", ints(image_mask)?));
        tensors.push(("input_ids", ints(prompt.ids)?));
        Ok(tensors)
    }
}
