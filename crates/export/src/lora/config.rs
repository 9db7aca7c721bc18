//! `adapter_config.json` of PEFT: what a LoRA layer adds, and what kinds of adapters are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value};

use crate::Error;

/// Largest rank that a configuration may name.
const LARGEST_RANK: u64 = 1 << 16;
/// Keys that do not change what is merged, whatever their value. `fan_in_fan_out`: every layer of GR00T is an `nn.Linear`,
/// for which PEFT sets it to false.
const WITHOUT_EFFECT: [&str; 19] = [
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "velora_config",
];
/// Keys that are read here.
const READ: [&str; 12] = [
    "alpha_pattern",
    "base_model_name_or_path",
    "bias",
    "init_lora_weights",
    "lora_alpha",
    "lora_bias",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_rslora",
];
/// Keys that make another method of LoRA, and its name.
const OTHER_METHODS: [(&str, &str); 11] = [
    ("alora_invocation_tokens", "activated LoRA, which applies to a part of the tokens"),
    ("arrow_config", "Arrow, which chooses among adapters for each token"),
    ("kasa_config", "KaSA"),
    ("layer_replication", "repeated layers"),
    ("megatron_config", "layers of Megatron"),
    ("monteclora_config", "MonteCLoRA"),
    ("target_parameters", "LoRA on single parameters"),
    ("trainable_token_indices", "trained tokens"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("use_dora", "DoRA"),
    ("use_qalora", "QALoRA"),
];
/// Values of `init_lora_weights` that leave the base's weights as they are.
const INIT: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// Which biases an adapter holds, replaced as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bias {
    /// None.
    None,
    /// Some: of all modules, or of those with a LoRA layer.
    Replaced,
}

/// Modules that have a LoRA layer.
#[derive(Clone, Debug)]
enum Targets {
    /// Full names, or their ends.
    Names(Vec<String>),
    /// A regular expression for the full name.
    Pattern(Box<Regex>),
    /// All linear layers.
    Linear,
}

/// What an adapter's configuration says about its tensors.
#[derive(Clone, Debug)]
pub struct AdapterConfig {
    /// The base that it was trained on: a folder or a repository's name.
    pub base: Option<String>,
    /// Biases that it replaces.
    pub bias: Bias,
    rank: usize,
    alpha: f64,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    stabilised: bool,
    targets: Targets,
    replaced: Vec<String>,
}

impl AdapterConfig {
    /// Reads `adapter_config.json`.
    ///
    /// # Errors
    /// [`Error::Io`], and those of [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &fs::read(path).map_err(Error::io(path))?)
    }

    /// The content of an `adapter_config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Json`]; [`Error::Invalid`] with every key whose value cannot be merged.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        let keys: Map<String, Value> =
            serde_json::from_slice(json).map_err(|source| Error::Json { path: path.to_owned(), source })?;
        let mut problems = Vec::new();
        check_kind(&keys, &mut problems);
        let config = Keys { keys: &keys, problems: &mut problems }.config();
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(config),
            None => Err(Error::Invalid { path: path.to_owned(), problems }),
        }
    }

    /// Rank of the layer on a module.
    pub fn rank(&self, module: &str) -> usize {
        first(&self.ranks, module).unwrap_or(self.rank)
    }

    /// What the product of a module's layer is multiplied with.
    pub fn scale(&self, module: &str) -> f64 {
        let (alpha, rank) = (first(&self.alphas, module).unwrap_or(self.alpha), self.rank(module) as f64);
        if self.stabilised { alpha / rank.sqrt() } else { alpha / rank }
    }

    /// Whether a module has a LoRA layer, as PEFT decides it.
    pub fn is_target(&self, module: &str) -> bool {
        match &self.targets {
            Targets::Names(names) => names.iter().any(|name| is_or_ends_with(module, name)),
            Targets::Pattern(pattern) => pattern.is_match(module),
            Targets::Linear => true,
        }
    }

    /// Whether a weight belongs to a module that the adapter replaces as a whole.
    pub fn is_replaced(&self, weight: &str) -> bool {
        let modules = weight.match_indices('.').filter_map(|(at, _)| weight.get(..at));
        let mut modules = modules.peekable();
        modules.any(|module| self.replaced.iter().any(|name| module.ends_with(name.as_str())))
    }
}

fn is_or_ends_with(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The value of the first pattern that a module matches.
fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map(|(_, value)| *value)
}

/// Whether a value switches nothing on.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Refuses other methods of PEFT, and keys that nobody knows here.
fn check_kind(keys: &Map<String, Value>, problems: &mut Vec<String>) {
    const MERGE: &str = "merge it in Python (merge_and_unload), save the model and export that";
    match keys.get("peft_type") {
        Some(Value::String(kind)) if kind == "LORA" => {}
        found => {
            let found = found.map_or("nothing".to_owned(), Value::to_string);
            problems.push(format!("peft_type: expected \"LORA\", found {found}; {MERGE}"));
        }
    }
    for (key, value) in keys.iter().filter(|(_, value)| !is_off(value)) {
        if let Some((_, method)) = OTHER_METHODS.iter().find(|(known, _)| known == key) {
            problems.push(format!("{key}: expected plain LoRA, found {method}; {MERGE}"));
        } else if !WITHOUT_EFFECT.contains(&key.as_str()) && !READ.contains(&key.as_str()) {
            problems.push(format!("{key}: expected a key of PEFT 0.21 or older, found the value {value}; {MERGE}"));
        }
    }
    let init = keys.get("init_lora_weights");
    let keeps_base = match init {
        None | Some(Value::Bool(_) | Value::Null) => true,
        Some(Value::String(name)) => INIT.contains(&name.as_str()),
        Some(_) => false,
    };
    if !keeps_base {
        let found = init.map(Value::to_string).unwrap_or_default();
        problems.push(format!(
            "init_lora_weights: expected true, false, {}, found {found}, which changes the base's weights; convert the \
             adapter to plain LoRA when it is saved (PEFT: path_initial_model_for_weight_conversion)",
            INIT.join(", ")
        ));
    }
}

/// The keys that are read, and what is wrong with them.
struct Keys<'a> {
    keys: &'a Map<String, Value>,
    problems: &'a mut Vec<String>,
}

impl Keys<'_> {
    fn config(&mut self) -> Option<AdapterConfig> {
        let rank = self.required("r", a_rank);
        let alpha = self.required("lora_alpha", an_alpha);
        let ranks = self.patterns("rank_pattern", a_rank);
        let alphas = self.patterns("alpha_pattern", an_alpha);
        let stabilised = self.flag("use_rslora");
        self.flag("lora_bias");
        let bias = match self.keys.get("bias").map(Value::as_str) {
            None | Some(Some("none")) => Bias::None,
            Some(Some("all" | "lora_only")) => Bias::Replaced,
            Some(_) => {
                self.problem("bias", "none, all or lora_only");
                Bias::None
            }
        };
        let targets = self.targets();
        let replaced = match self.keys.get("modules_to_save") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => self.names("modules_to_save", value),
        };
        let base = self.keys.get("base_model_name_or_path").and_then(Value::as_str);
        let base = base.filter(|base| !base.is_empty()).map(str::to_owned);
        Some(AdapterConfig { base, bias, rank: rank?, alpha: alpha?, ranks, alphas, stabilised, targets, replaced })
    }

    fn problem(&mut self, key: &str, expected: &str) {
        let found = self.keys.get(key).map_or("nothing".to_owned(), Value::to_string);
        self.problems.push(format!("{key}: expected {expected}, found {found}"));
    }

    fn required<T>(&mut self, key: &str, read: fn(&Value) -> Result<T, &'static str>) -> Option<T> {
        match read(self.keys.get(key).unwrap_or(&Value::Null)) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.problem(key, expected);
                None
            }
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.keys.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                self.problem(key, "true or false");
                false
            }
        }
    }

    fn targets(&mut self) -> Targets {
        match self.keys.get("target_modules") {
            Some(Value::String(name)) if name.eq_ignore_ascii_case("all-linear") => Targets::Linear,
            Some(Value::String(pattern)) => match anchored(pattern) {
                Ok(pattern) => Targets::Pattern(Box::new(pattern)),
                Err(reason) => {
                    self.problems.push(format!("target_modules: expected a regular expression, {reason}"));
                    Targets::Linear
                }
            },
            None | Some(Value::Null) => Targets::Names(Vec::new()),
            Some(names) => Targets::Names(self.names("target_modules", names)),
        }
    }

    fn names(&mut self, key: &str, value: &Value) -> Vec<String> {
        let names = value.as_array().and_then(|names| {
            names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
        });
        names.unwrap_or_else(|| {
            self.problem(key, "a list of names");
            Vec::new()
        })
    }

    /// Patterns of modules with their values. PEFT matches them against the whole name, or its end after a dot.
    fn patterns<T>(&mut self, key: &str, read: fn(&Value) -> Result<T, &'static str>) -> Vec<(Regex, T)> {
        let entries = match self.keys.get(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.problem(key, "an object of modules with their values");
                return Vec::new();
            }
        };
        let mut patterns = Vec::with_capacity(entries.len());
        // The first match decides; PEFT saves them sorted.
        let entries: BTreeMap<&String, &Value> = entries.iter().collect();
        for (pattern, value) in entries {
            match (anchored(&format!("(.*\\.)?({pattern})")), read(value)) {
                (Ok(pattern), Ok(value)) => patterns.push((pattern, value)),
                (Err(reason), _) => {
                    self.problems.push(format!("{key}.{pattern}: expected a regular expression, {reason}"))
                }
                (_, Err(expected)) => {
                    self.problems.push(format!("{key}.{pattern}: expected {expected}, found {value}"))
                }
            }
        }
        patterns
    }
}

/// A regular expression for a whole name.
fn anchored(pattern: &str) -> Result<Regex, String> {
    let limited = regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 20).build();
    limited.map_err(|error| format!("found {pattern} ({})", error.to_string().lines().last().unwrap_or_default()))
}

fn a_rank(value: &Value) -> Result<usize, &'static str> {
    let rank = value.as_u64().filter(|rank| (1..=LARGEST_RANK).contains(rank));
    rank.and_then(|rank| usize::try_from(rank).ok()).ok_or("a whole number from 1 to 65536")
}

fn an_alpha(value: &Value) -> Result<f64, &'static str> {
    value.as_f64().filter(|alpha| alpha.is_finite()).ok_or("a finite number")
}
