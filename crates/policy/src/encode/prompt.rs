//! The instruction and the places of the images as token ids of the language model.
//!
//! The whole prompt is tokenised as one text: merges cross the ends of the instruction, unless a special token is next to it.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use super::EncodeError;
use super::normalise_text::normalise_text;
use crate::family::ImagePlaces;

mod class;
mod template;
mod tokenizer;

pub use class::{ClassDifference, class_differences};

use template::Template;

/// Longest instruction, in bytes. Beyond it nobody speaks to a robot, and the library's regular expressions would give
/// up on some texts, unseen.
pub const MAX_INSTRUCTION_BYTES: usize = 1 << 16;
/// Longest prompt, in bytes: far beyond any sequence that fits a model, so that a wrong count of image rows is an error.
const MAX_PROMPT_BYTES: usize = 1 << 24;

/// Writes the tokenizer at `from`, a `tokenizer.json` or a folder as [`PromptEncoder::load`] takes it, as the one file
/// `to`.
///
/// # Errors
/// [`EncodeError::File`] when it cannot be read or written.
pub fn save_tokenizer(from: &Path, to: &Path) -> Result<(), EncodeError> {
    let tokenizer = tokenizer::load(from)?;
    tokenizer.save(to, false).map_err(|error| EncodeError::File { path: to.to_owned(), reason: error.to_string() })
}

/// A prompt as the language model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token of each position of the sequence.
    pub ids: Vec<i32>,
    /// Positions of everything but image rows, ascending.
    pub text_positions: Vec<i32>,
    /// Positions that image rows take, ascending: all rows of the first view, then those of the second.
    pub image_positions: Vec<i32>,
    /// The instruction as the model gets it.
    pub normalised: String,
}

/// How instructions are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextRules {
    /// They are lower-cased and stripped of punctuation.
    pub normalise: bool,
    /// Texts that are refused in an instruction, because an image would be read there.
    pub image_places: ImagePlaces,
}

/// Tokenizer and template of one policy.
pub struct PromptEncoder {
    tokenizer: Tokenizer,
    template: Template,
    context: u32,
    rules: TextRules,
    /// The rendered prompt.
    text: String,
}

impl PromptEncoder {
    /// Reads `tokenizer` (a `tokenizer.json`, or a folder with it or with `vocab.json`, `merges.txt` and
    /// `tokenizer_config.json`) and `template` (a `prompt.json`).
    ///
    /// # Errors
    /// [`EncodeError::File`] for a file that cannot be used, [`EncodeError::Token`] for a token that the template names
    /// and the tokenizer does not have.
    pub fn load(tokenizer: &Path, template: &Path, rules: TextRules) -> Result<Self, EncodeError> {
        let files = [tokenizer, template].map(Path::to_owned);
        let template = Template::load(template)?;
        let tokenizer = tokenizer::load(tokenizer)?;
        let context = single(&tokenizer, template.context(), &files)?;
        for token in template.named_tokens() {
            single(&tokenizer, &token, &files)?;
        }
        Ok(Self { tokenizer, template, context, rules, text: String::new() })
    }

    /// The prompt of `instruction` and of one view for each of `image_tokens_per_view`, which has that many image rows.
    ///
    /// # Errors
    /// [`EncodeError::Instruction`] for one that is too long or in which an image would be read,
    /// [`EncodeError::ImageTokens`] when the tokenizer makes another number of image positions.
    pub fn encode(&mut self, instruction: &str, image_tokens_per_view: &[usize]) -> Result<Prompt, EncodeError> {
        if instruction.len() > MAX_INSTRUCTION_BYTES {
            return Err(refused(format!(
                "expected at most {MAX_INSTRUCTION_BYTES} bytes, found {}; shorten it",
                instruction.len()
            )));
        }
        let normalised = if self.rules.normalise { normalise_text(instruction) } else { instruction.to_owned() };
        if let Some(found) = self.image_in(&normalised) {
            return Err(refused(format!(
                "expected text without images, found {found}, which stands for rows of an image; leave it out"
            )));
        }
        let rows = image_tokens_per_view.iter().fold(0_usize, |sum, &rows| sum.saturating_add(rows));
        let length = self.template.length(normalised.len(), image_tokens_per_view);
        if length.is_none_or(|length| length > MAX_PROMPT_BYTES) {
            return Err(refused(format!(
                "expected a prompt of at most {MAX_PROMPT_BYTES} bytes, found one with {rows} image rows; \
                 check the image size that the policy's vision stage takes"
            )));
        }
        self.template.render(&normalised, image_tokens_per_view, &mut self.text);
        let encoding = tokenizer::encode(&self.tokenizer, &self.text);
        let encoding = encoding.map_err(|error| refused(format!("the tokenizer gives up: {error}")))?;
        let mut prompt = Prompt {
            ids: Vec::with_capacity(encoding.len()),
            text_positions: Vec::with_capacity(encoding.len().saturating_sub(rows)),
            image_positions: Vec::with_capacity(rows),
            normalised,
        };
        for (position, &id) in (0..).zip(encoding.get_ids()) {
            let places = if id == self.context { &mut prompt.image_positions } else { &mut prompt.text_positions };
            places.push(position);
            let id = i32::try_from(id).map_err(|error| refused(format!("token id {id}: {error}")))?;
            prompt.ids.push(id);
        }
        let found = prompt.image_positions.len();
        if found == rows { Ok(prompt) } else { Err(EncodeError::ImageTokens { expected: rows, found }) }
    }

    /// What of `text` would be read as an image: by the model, or by the vendor's processor, which may put images where its
    /// own numbered placeholders stand. Other special tokens become their ids, as they do there.
    fn image_in<'t>(&'t self, text: &'t str) -> Option<&'t str> {
        let ImagePlaces { tokens, numbered } = self.rules.image_places;
        let mut named = std::iter::once(self.template.context()).chain(tokens.iter().copied());
        let numbered = || numbered.then(|| placeholder(text)).flatten();
        named.find(|token| text.contains(token)).or_else(numbered)
    }
}

/// `<image-N>` or `<video-N>` in `text`.
fn placeholder(text: &str) -> Option<&str> {
    text.match_indices('<').find_map(|(start, _)| {
        let rest = text.get(start..)?;
        let number = rest.strip_prefix("<image-").or_else(|| rest.strip_prefix("<video-"))?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let length = rest.len() - number.len() + digits + 1;
        rest.get(..length).filter(|found| digits > 0 && found.ends_with('>'))
    })
}

/// The id of a text that the tokenizer reads as one token wherever it stands.
fn single(tokenizer: &Tokenizer, token: &str, [file, template]: &[PathBuf; 2]) -> Result<u32, EncodeError> {
    let refused = |found: &'static str| EncodeError::Token {
        token: token.to_owned(),
        tokenizer: file.clone(),
        template: template.clone(),
        found,
    };
    let id = tokenizer.token_to_id(token).ok_or_else(|| refused("it is not there"))?;
    if !tokenizer.get_added_vocabulary().get_vocab().contains_key(token) {
        return Err(refused("it is an ordinary entry, which text can become"));
    }
    let twice = tokenizer::encode(tokenizer, &format!("a{token}{token}a")).ok();
    let ids = twice.as_ref().map(|encoding| encoding.get_ids()).unwrap_or_default();
    if ids.iter().filter(|&&found| found == id).count() == 2 {
        Ok(id)
    } else {
        Err(refused("it is not recognised beside other text"))
    }
}

fn refused(reason: String) -> EncodeError {
    EncodeError::Instruction { reason }
}
