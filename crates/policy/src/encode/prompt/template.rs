//! `prompt.json`: the text around the instruction.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::encode::EncodeError;

const NUMBER: &str = "{k}";
const CONTEXT: &str = "{context}";

/// As typed. The four texts are there, and no other key but `images`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    before: String,
    image: String,
    context_token: String,
    after: String,
    #[serde(default)]
    images: Images,
}

/// On which side of the instruction the images are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Images {
    /// They come before it.
    Before,
    /// They come after it.
    #[default]
    After,
}

/// `before`, then the instruction and `image` once per view, then `after`.
pub(super) struct Template {
    before: String,
    /// What stands before and after the context tokens of a view, each cut where the view's number goes.
    image: [Vec<String>; 2],
    context: String,
    after: String,
    images: Images,
}

impl Template {
    pub(crate) fn load(path: &Path) -> Result<Self, EncodeError> {
        let fail = |reason: String| EncodeError::File { path: path.to_owned(), reason };
        let bytes = fs::read(path).map_err(|error| fail(error.to_string()))?;
        let raw: Raw = serde_json::from_slice(&bytes).map_err(|error| {
            fail(format!("{error}; expected an object of the texts before, image, context_token and after, and images: before or after"))
        })?;
        Self::new(raw).map_err(fail)
    }

    fn new(raw: Raw) -> Result<Self, String> {
        if raw.context_token.is_empty() {
            return Err("context_token: expected the token that stands for one image row, found an empty text".into());
        }
        for (key, text) in [("before", &raw.before), ("image", &raw.image), ("after", &raw.after)] {
            if text.contains(&raw.context_token) {
                return Err(format!(
                    "{key}: holds the context token {} itself; write {CONTEXT} in `image` where the image rows go",
                    raw.context_token
                ));
            }
        }
        let Some((left, right)) = raw.image.split_once(CONTEXT).filter(|(_, right)| !right.contains(CONTEXT)) else {
            return Err(format!("image: expected {CONTEXT} exactly once, found {:?}", raw.image));
        };
        let image = [left, right].map(|side| side.split(NUMBER).map(str::to_owned).collect::<Vec<_>>());
        if image.iter().flatten().any(|part| part.contains(['{', '}'])) {
            return Err(format!("image: expected no braces but {NUMBER} and {CONTEXT}, found {:?}", raw.image));
        }
        Ok(Self { before: raw.before, image, context: raw.context_token, after: raw.after, images: raw.images })
    }

    /// The token that stands for one image row.
    pub(crate) fn context(&self) -> &str {
        &self.context
    }

    /// What the template itself writes with angle brackets around and no white space within: names of tokens, such as
    /// `<|im_start|>` and `<img>`, as opposed to words such as `<image 1>`.
    pub(crate) fn named_tokens(&self) -> Vec<String> {
        let mut text = String::new();
        self.render("\n", &[0], &mut text);
        let mut tokens = Vec::new();
        for piece in text.split('<').skip(1) {
            let name = piece.split_once('>').map(|(name, _)| name);
            if let Some(name) = name.filter(|name| !name.is_empty() && !name.contains(char::is_whitespace)) {
                let token = format!("<{name}>");
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            }
        }
        tokens
    }

    /// Bytes of the prompt with an instruction of `instruction` bytes; `None` when it is beyond counting.
    pub(crate) fn length(&self, instruction: usize, image_tokens: &[usize]) -> Option<usize> {
        /// Decimal digits of the largest number of a view.
        const DIGITS: usize = 20;
        let parts = || self.image.iter().flatten();
        let image = parts().map(String::len).sum::<usize>() + DIGITS * parts().count();
        image_tokens.iter().try_fold(self.before.len() + self.after.len() + instruction, |length, &tokens| {
            tokens.checked_mul(self.context.len())?.checked_add(image)?.checked_add(length)
        })
    }

    /// Replaces `out` with the whole prompt. Views are numbered from 1.
    pub(crate) fn render(&self, instruction: &str, image_tokens: &[usize], out: &mut String) {
        out.clear();
        out.push_str(&self.before);
        if self.images == Images::After {
            out.push_str(instruction);
        }
        let [left, right] = &self.image;
        for (number, &tokens) in (1..).zip(image_tokens) {
            numbered(left, number, out);
            (0..tokens).for_each(|_| out.push_str(&self.context));
            numbered(right, number, out);
        }
        if self.images == Images::Before {
            out.push_str(instruction);
        }
        out.push_str(&self.after);
    }
}

fn numbered(parts: &[String], number: usize, out: &mut String) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            // Writing to a String does not fail.
            write!(out, "{number}").unwrap_or_default();
        }
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> Result<Template, String> {
        let text = |text: &str| text.to_owned();
        let (before, after) = (text("<|im_start|>system\nHi.<|im_end|>\n"), text("<|im_end|>\n"));
        let images = Images::After;
        Template::new(Raw { before, image: text(image), context_token: text("<IMG_CONTEXT>"), after, images })
    }

    #[test]
    fn every_view_has_its_number_and_its_own_count_of_context_tokens() {
        let template = template("<image {k}><img>{context}</img>").expect("a template");
        let mut text = "left over".to_owned();
        template.render("go", &[2, 0], &mut text);
        assert_eq!(
            text,
            "<|im_start|>system\nHi.<|im_end|>\ngo<image 1><img><IMG_CONTEXT><IMG_CONTEXT></img>\
             <image 2><img></img><|im_end|>\n"
        );
        assert!(template.length(2, &[2, 0]).is_some_and(|length| length >= text.len()));
        assert_eq!(template.length(2, &[usize::MAX]), None);
    }

    #[test]
    fn images_stand_on_the_side_of_the_instruction_that_the_template_says() {
        let mut template = template("<img>{context}</img>").expect("a template");
        template.images = Images::Before;
        let mut text = String::new();
        template.render("go", &[1, 1], &mut text);
        let images = "<img><IMG_CONTEXT></img><img><IMG_CONTEXT></img>";
        assert_eq!(text, format!("<|im_start|>system\nHi.<|im_end|>\n{images}go<|im_end|>\n"));
    }

    #[test]
    fn tokens_are_what_has_brackets_and_no_space() {
        let template = template("<image {k}><img>{context}</img>").expect("a template");
        assert_eq!(template.named_tokens(), ["<|im_start|>", "<|im_end|>", "<img>", "</img>"]);
    }

    #[test]
    fn an_image_pattern_without_exactly_one_place_for_the_rows_is_refused() {
        for image in ["", "<img></img>", "{context}{context}", "{context}<IMG_CONTEXT>", "{context}{n}", "{{context}}"]
        {
            let problem = template(image).err().expect("must be refused");
            assert!(problem.starts_with("image: "), "{image:?}: {problem}");
        }
        assert!(template("{context}").is_ok(), "a view without number is fine");
    }
}
