//! tmp
use std::path::Path;

use super::EncodeError;

/// tmp
pub struct Prompt {
    /// ids
    pub ids: Vec<i32>,
    /// text
    pub text_positions: Vec<i32>,
    /// image
    pub image_positions: Vec<i32>,
}

/// tmp
pub struct PromptEncoder {
    tokenizer: tokenizers::Tokenizer,
    template: serde_json::Value,
    context: u32,
}

impl PromptEncoder {
    /// tmp
    pub fn load(tokenizer: &Path, template: &Path, _formalize: bool) -> Result<Self, EncodeError> {
        let tokenizer = tokenizers::Tokenizer::from_file(tokenizer).unwrap();
        let template: serde_json::Value = serde_json::from_slice(&std::fs::read(template).unwrap()).unwrap();
        let context = tokenizer.token_to_id(template["context_token"].as_str().unwrap()).unwrap();
        Ok(Self { tokenizer, template, context })
    }

    /// tmp
    pub fn encode(&mut self, instruction: &str, tokens: &[usize]) -> Result<Prompt, EncodeError> {
        let t = |k: &str| self.template[k].as_str().unwrap();
        let mut text = t("before").to_owned() + &instruction.to_lowercase();
        for (k, n) in tokens.iter().enumerate() {
            text +=
                &t("image").replace("{k}", &(k + 1).to_string()).replace("{context}", &t("context_token").repeat(*n));
        }
        text += t("after");
        let e = self.tokenizer.encode(text, false).unwrap();
        let ids: Vec<i32> = e.get_ids().iter().map(|i| *i as i32).collect();
        let (image_positions, text_positions) =
            (0..ids.len() as i32).partition(|i| ids[*i as usize] == self.context as i32);
        Ok(Prompt { ids, text_positions, image_positions })
    }
}
