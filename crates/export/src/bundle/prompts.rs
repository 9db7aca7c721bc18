//! What the tokenizer and the template say about the prompts of a policy.

use std::path::{Path, PathBuf};

use super::Request;
use crate::{Error, Model, View};
use vla_policy::encode::EncodeError;
use vla_policy::encode::prompt::{PromptEncoder, class_differences};
use vla_policy::encode::resize::Size;
use vla_policy::processor::Processor;

/// Text tokens of a usual instruction.
const USUAL_INSTRUCTION: usize = 16;

/// Properties of all prompts, from the tokenizer.
pub(super) struct Prompts {
    /// Fewest, most usual and most text tokens.
    pub text: [usize; 3],
    /// Id of the token that image rows replace.
    pub image_token: i32,
}

/// Fewest, most usual and most text tokens of a prompt, and the token of image rows.
pub(super) fn prompts(
    request: &Request,
    model: &Model,
    processor: &Processor,
    views: &[View],
    template: &Path,
) -> Result<Prompts, Error> {
    let mut encoder = match PromptEncoder::load(&request.tokenizer, template, processor.text_rules()) {
        // The template was just written by us: it is no file of the user's.
        Err(EncodeError::Token { token, tokenizer, found, .. }) => {
            let template = PathBuf::from("the model's prompt");
            return Err(EncodeError::Token { token, tokenizer, template, found }.into());
        }
        encoder => encoder?,
    };
    let images = views.iter().flat_map(|view| std::iter::repeat_n(view, view.images));
    let resize = processor.image.smart_resize;
    let size = |view: &View| Size { width: view.width, height: view.height };
    let tokens: Vec<usize> = images.map(|view| resize.image_tokens(size(view))).collect();
    let prompt = encoder.encode("", &tokens)?;
    let mut problems = Vec::new();
    let vocab = model.language.vocab;
    if let Some(id) = prompt.ids.iter().find(|id| usize::try_from(**id).is_ok_and(|id| id >= vocab)) {
        problems.push(format!(
            "--tokenizer: expected ids below {vocab} (rows of the token embedding), found {id}; name the tokenizer that \
             the language model was trained with"
        ));
    }
    let fewest = prompt.text_positions.len();
    let most = request.max_text;
    if most <= fewest {
        problems.push(format!("--max-text-tokens: expected more than the template's own {fewest}, found {most}"));
    }
    if let Some(places) = model.family.prompt.images {
        let expected = places.rows(tokens.iter().copied());
        if prompt.image_positions.iter().map(|place| usize::try_from(*place).ok()).ne(expected.into_iter().map(Some)) {
            problems.push(format!(
                "--tokenizer: expected {} tokens before the first image and {} around each, as the networks' positions have it, found \
                 others; name the tokenizer that the language model was trained with",
                places.lead,
                places.open + places.close
            ));
        }
    }
    if !problems.is_empty() {
        return Err(Error::Request { problems });
    }
    let [fewest, usual] = request.usual_text.unwrap_or([fewest, (fewest + USUAL_INSTRUCTION).min(most)]);
    // The template has a place for every view and every view has rows.
    let place = prompt.image_positions.first().and_then(|place| usize::try_from(*place).ok());
    let image_token = place.and_then(|place| prompt.ids.get(place)).copied().unwrap_or_default();
    Ok(Prompts { text: [fewest, usual, most], image_token })
}

/// Warns of a tokenizer that Python reads otherwise than this build.
pub(super) fn warn_of_class(tokenizer: &Path) {
    let differences = class_differences(tokenizer);
    let Some(first) = differences.first() else { return };
    let parts: Vec<&str> = differences.iter().map(|difference| difference.part).collect();
    tracing::warn!(
        "{}: tokenizer_config.json names {}, whose {} is another than that of tokenizer.json. The policy takes tokenizer.json's, as \
         transformers 4 does; transformers 5 takes the class's and gives other token ids for the same text. If the policy was \
         trained with transformers 5, export from a folder without tokenizer.json (with vocab.json and merges.txt); otherwise \
         nothing is to be done",
        tokenizer.display(),
        first.class,
        parts.join(" and ")
    );
}
