//! Whether an instruction fits a policy, for those who take it and for the policy that reads it: both ask the same tokenizer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::EncodeError;
use super::encode::prompt::{Prompt, PromptEncoder, TextRules};
use super::spec::InstructionSpec;
use super::{Error, PolicySpec};

/// Tokenizer and template of a bundle: read when they are first needed, kept, and shared by all copies of its specification. A
/// large model's vocabulary is too much memory to have twice.
#[derive(Clone, Default)]
pub struct SharedEncoder(Arc<Mutex<Option<PromptEncoder>>>);

impl fmt::Debug for SharedEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedEncoder")
    }
}

/// It follows from the files that the specification names.
impl PartialEq for SharedEncoder {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl InstructionSpec {
    /// Reads tokenizer and template, unless that was done.
    ///
    /// # Errors
    /// As [`PromptEncoder::load`].
    pub fn load(&self, rules: TextRules) -> Result<(), EncodeError> {
        self.with_encoder(rules, |_| ())
    }

    /// The prompt of an instruction that fits the policy; `image_tokens` as in [`PromptEncoder::encode`].
    ///
    /// # Errors
    /// [`Error::InstructionTooLong`], and as [`PromptEncoder::load`] and [`PromptEncoder::encode`].
    pub fn encode(&self, instruction: &str, image_tokens: &[usize], rules: TextRules) -> Result<Prompt, Error> {
        let prompt = self.with_encoder(rules, |encoder| encoder.encode(instruction, image_tokens))??;
        let found = prompt.text_positions.len();
        if found > self.max_tokens {
            Err(Error::InstructionTooLong { max: self.max_tokens, found })
        } else {
            Ok(prompt)
        }
    }

    fn with_encoder<T>(&self, rules: TextRules, work: impl FnOnce(&mut PromptEncoder) -> T) -> Result<T, EncodeError> {
        // An encoder has no state that a panic could leave half done: its text is made anew each time.
        let mut encoder = self.encoder.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = encoder.as_mut() {
            return Ok(work(encoder));
        }
        let loaded = PromptEncoder::load(&self.tokenizer, &self.template, rules)?;
        Ok(work(encoder.insert(loaded)))
    }
}

/// Tells whether an instruction fits, without the policy's engines.
#[derive(Clone, PartialEq, Debug)]
pub struct InstructionCheck {
    files: InstructionSpec,
    views: usize,
    rules: TextRules,
}

impl InstructionCheck {
    /// Of this policy, whose processor has these `rules`. Reads nothing yet.
    pub fn new(spec: &PolicySpec, rules: TextRules) -> Self {
        Self { files: spec.instruction.clone(), views: spec.cameras.len(), rules }
    }

    /// Refuses what the policy would refuse at every inference. Images are no part of the text's length, so one row stands for
    /// each view's.
    ///
    /// # Errors
    /// As [`InstructionSpec::encode`].
    pub fn check(&self, instruction: &str) -> Result<(), Error> {
        self.files.encode(instruction, &vec![1; self.views], self.rules).map(drop)
    }
}
