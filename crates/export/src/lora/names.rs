//! Names of an adapter's tensors.

/// Prefix that PEFT puts before the names of the model's modules.
const PREFIX: &str = "base_model.model.";

/// What a tensor is to the module that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Role {
    /// `A` of a linear layer.
    A,
    /// `B` of a linear layer.
    B,
    /// Bias of the layer with `B`.
    BiasOfB,
    /// `A` of a table of embeddings.
    EmbeddingA,
    /// `B` of a table of embeddings.
    EmbeddingB,
}

/// What a tensor's name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// A part of the LoRA layer on a module.
    Layer { module: String, role: Role },
    /// A whole tensor, with the names that it may have in the base, the likelier one first.
    Whole(Vec<String>),
    /// The frozen original of a module that the adapter replaces; PEFT saves its biases with `bias: all`.
    Original,
    /// A part of another method than LoRA.
    Foreign(&'static str),
}

/// Reads a name such as `base_model.model.a.b.lora_A.weight`. The adapter's name after `lora_A` or `modules_to_save`,
/// which PEFT leaves out when it saves, may be there.
pub(super) fn part(name: &str) -> Part {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let segments: Vec<&str> = name.split('.').collect();
    for (at, segment) in segments.iter().enumerate() {
        let role = match (*segment, segments.get(at + 1..).unwrap_or_default()) {
            ("lora_A", ["weight"] | [_, "weight"]) => Role::A,
            ("lora_B", ["weight"] | [_, "weight"]) => Role::B,
            ("lora_B", ["bias"] | [_, "bias"]) => Role::BiasOfB,
            ("lora_embedding_A", [] | [_]) => Role::EmbeddingA,
            ("lora_embedding_B", [] | [_]) => Role::EmbeddingB,
            ("lora_magnitude_vector", _) => return Part::Foreign("DoRA's magnitudes"),
            ("token_adapter", _) => return Part::Foreign("trained tokens (trainable_token_indices)"),
            ("original_module", _) => return Part::Original,
            ("modules_to_save", rest) => return whole(segments.get(..at).unwrap_or_default(), rest),
            _ => continue,
        };
        let module = segments.get(..at).unwrap_or_default().join(".");
        return Part::Layer { module, role };
    }
    whole(&segments, &[])
}

/// `module` and what follows `modules_to_save` there, with and without the adapter's name.
fn whole(module: &[&str], rest: &[&str]) -> Part {
    let joined = |rest: &[&str]| {
        let segments = module.iter().chain(rest).filter(|segment| **segment != "base_layer");
        segments.copied().collect::<Vec<_>>().join(".")
    };
    let mut names = vec![joined(rest)];
    if let Some((_, rest)) = rest.split_first().filter(|(_, rest)| !rest.is_empty()) {
        names.push(joined(rest));
    }
    Part::Whole(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(module: &str, role: Role) -> Part {
        Part::Layer { module: module.to_owned(), role }
    }

    #[test]
    fn layers_are_named_with_and_without_the_adapters_name() {
        for (name, expected) in [
            ("base_model.model.a.b.lora_A.weight", layer("a.b", Role::A)),
            ("base_model.model.a.b.lora_B.default.weight", layer("a.b", Role::B)),
            ("base_model.model.a.b.lora_B.bias", layer("a.b", Role::BiasOfB)),
            ("base_model.model.e.lora_embedding_A", layer("e", Role::EmbeddingA)),
            ("e.lora_embedding_B.default", layer("e", Role::EmbeddingB)),
            ("base_model.model.a.lora_magnitude_vector.weight", Part::Foreign("DoRA's magnitudes")),
            ("base_model.model.a.original_module.bias", Part::Original),
        ] {
            assert_eq!(part(name), expected, "{name}");
        }
    }

    #[test]
    fn whole_tensors_have_the_names_of_the_base() {
        for (name, expected) in [
            ("base_model.model.enc.W", &["enc.W"][..]),
            ("base_model.model.a.q_proj.base_layer.bias", &["a.q_proj.bias"]),
            ("base_model.model.enc.modules_to_save.W", &["enc.W"]),
            ("base_model.model.enc.modules_to_save.default.p.bias", &["enc.default.p.bias", "enc.p.bias"]),
            ("a.lora_A.one.two.weight", &["a.lora_A.one.two.weight"]),
        ] {
            let Part::Whole(names) = part(name) else { panic!("{name}") };
            assert_eq!(names, expected, "{name}");
        }
    }
}
