//! Checks of `policy.yaml`: all problems at once.

use super::*;

/// Finds every problem of a description, and makes the specification of it.
pub(super) struct Checker<'a> {
    pub(super) dir: &'a Path,
    pub(super) problems: Vec<String>,
}

impl Checker<'_> {
    pub(super) fn policy(&mut self, raw: RawPolicy) -> PolicySpec {
        self.check(raw.format == FORMAT, || {
            format!("format: expected {FORMAT}, found {}; export the policy again with this version", raw.format)
        });
        self.check(raw.fingerprint.starts_with("sha256:"), || {
            format!("fingerprint: expected 'sha256:...', found '{}'", raw.fingerprint)
        });
        self.check(!raw.cameras.is_empty(), || "cameras: expected at least one name, found none".into());
        self.unique("cameras", raw.cameras.iter().map(String::as_str));
        for name in &raw.blank_views {
            self.check(raw.cameras.contains(name), || {
                format!("blank_views: expected names of cameras, found '{name}'")
            });
        }
        self.widths("state", &raw.state.0);
        self.history("video_history", &raw.video_history);
        self.history("state_history", &raw.state_history);
        self.check_action(&raw);
        self.unique("stages", raw.stages.iter().map(|stage| stage.name.as_str()));
        self.check(!raw.stages.is_empty(), || "stages: expected at least one, found none".into());
        let steps = &raw.denoise.steps;
        self.check(!steps.is_empty() && steps.iter().all(|&n| n > 0), || {
            format!("denoise.steps: expected positive counts, found {steps:?}")
        });
        self.check(steps.contains(&raw.denoise.default), || {
            format!("denoise.default: {} is not among the exported step counts {steps:?}", raw.denoise.default)
        });
        let embedding = raw.instruction.embedding.as_ref();
        let embedding =
            embedding.map(|table| (self.file("instruction.embedding.file", &table.file), table.tensor.clone()));
        PolicySpec {
            dir: self.dir.to_owned(),
            random_weights: raw.random_weights,
            action: ActionSpec {
                step: Span::from_seconds(raw.action.step_s),
                horizon: raw.action.horizon,
                rows: raw.action.rows,
                dims: raw.action.dims,
                deltas: raw.action.deltas.0.into_iter().collect(),
                keys: raw.action.keys.0,
            },
            instruction: InstructionSpec {
                tokenizer: self.file("instruction.tokenizer", &raw.instruction.tokenizer),
                template: self.file("instruction.template", &raw.instruction.template),
                max_tokens: raw.instruction.max_tokens,
                embedding,
                encoder: SharedEncoder::default(),
            },
            processor: ProcessorFiles {
                config: self.file("processor.config", &raw.processor.config),
                statistics: self.file("processor.statistics", &raw.processor.statistics),
                embodiment: raw.processor.embodiment,
                embodiment_id: raw.processor.embodiment_id,
                letterbox: raw.processor.letterbox,
            },
            denoise: DenoiseSpec { steps: raw.denoise.steps, default: raw.denoise.default },
            accuracy: self.accuracy(raw.accuracy, &raw.stages),
            supplied: raw
                .stages
                .iter()
                .filter_map(|stage| Some((stage.name.clone(), stage.supplied.clone()?)))
                .collect(),
            stages: raw.stages.into_iter().map(|stage| self.stage(stage)).collect(),
            name: raw.name,
            fingerprint: raw.fingerprint,
            cameras: raw.cameras,
            blank_views: raw.blank_views,
            video_history: raw.video_history,
            state: raw.state.0,
            state_history: raw.state_history,
        }
    }

    fn accuracy(&mut self, raw: RawAccuracy, stages: &[RawStage]) -> Accuracy {
        let stages: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        let (accuracy, problems) = Accuracy::checked(raw, &stages);
        self.problems.extend(problems);
        accuracy
    }

    /// Widths of keys: each above 0, not too many values together.
    fn widths(&mut self, of: &str, keys: &[(String, usize)]) {
        let mut all = 0_usize;
        for (key, width) in keys {
            self.check(*width > 0, || format!("{of}.{key}: expected a width of at least 1, found 0"));
            all = all.saturating_add(*width);
        }
        self.check(all <= MOST_VALUES, || format!("{of}: expected at most {MOST_VALUES} values together, found {all}"));
    }

    fn history(&mut self, key: &str, steps: &[i64]) {
        let ascending = steps.windows(2).all(|pair| matches!(pair, [before, after] if before < after));
        let in_range = steps.first().is_some_and(|first| *first >= -LONGEST_HISTORY);
        self.check(ascending && in_range && steps.last() == Some(&0), || {
            format!("{key}: expected ascending control steps from -{LONGEST_HISTORY} to 0, the last 0, found {steps:?}")
        });
    }

    fn check_action(&mut self, raw: &RawPolicy) {
        let action = &raw.action;
        self.check(STEP_S.contains(&action.step_s), || {
            let (least, most) = STEP_S.into_inner();
            format!("action.step_s: expected {least} to {most} seconds, found {}", action.step_s)
        });
        self.check(action.rows > 0 && action.rows <= action.horizon, || {
            format!("action.rows: expected 1 to horizon ({}), found {}", action.horizon, action.rows)
        });
        self.check((1..=MOST_VALUES).contains(&action.dims), || {
            format!("action.dims: expected 1 to {MOST_VALUES}, found {}", action.dims)
        });
        self.check(action.horizon <= MOST_VALUES, || {
            format!("action.horizon: expected at most {MOST_VALUES} rows, found {}", action.horizon)
        });
        self.check(!action.keys.0.is_empty(), || "action.keys: expected at least one key, found none".into());
        self.widths("action.keys", &action.keys.0);
        for (key, _) in action.deltas.iter() {
            self.check(action.keys.iter().any(|(known, _)| known == key), || {
                format!("action.deltas.{key}: expected one of action.keys, found another")
            });
        }
        self.check(raw.instruction.max_tokens > 0, || "instruction.max_tokens: expected at least 1, found 0".into());
    }

    fn stage(&mut self, raw: RawStage) -> Stage {
        let at = format!("stages.{}", raw.name);
        self.check(raw.repeat.as_deref().is_none_or(|group| group == "denoise"), || {
            format!("{at}.repeat: expected 'denoise', found '{}'", raw.repeat.as_deref().unwrap_or_default())
        });
        self.check(!raw.inputs.0.is_empty() && !raw.outputs.0.is_empty(), || {
            format!("{at}: expected inputs and outputs, found {} and {}", raw.inputs.0.len(), raw.outputs.0.len())
        });
        self.profile(&at, &raw.profile);
        let precision = self.precision(&at, raw.precision.as_deref());
        for (tensor, name) in raw.rename.iter() {
            let known = raw.inputs.iter().any(|(n, _)| n == name) || raw.outputs.iter().any(|(n, _)| n == name);
            self.check(known, || format!("{at}.rename.{tensor}: '{name}' is neither an input nor an output"));
        }
        let tensor = |name: &str| {
            let renamed = raw.rename.iter().find(|(_, here)| *here == name);
            renamed.map_or(name, |(tensor, _)| tensor).to_owned()
        };
        let inputs = raw.inputs.iter().map(|(name, input)| Input {
            tensor: tensor(name),
            name: name.to_owned(),
            dtype: input.dtype,
            dims: input.dims.clone(),
            constants: input.constants.as_ref().map(|file| self.file(&format!("{at}.inputs.{name}.constants"), file)),
        });
        let inputs = inputs.collect();
        let outputs = raw.outputs.iter().map(|(name, output)| Output {
            tensor: tensor(name),
            name: name.to_owned(),
            dtype: output.dtype,
            dims: output.dims.clone(),
            feeds: output.feeds.clone(),
        });
        let outputs = outputs.collect();
        let file = match raw.supplied {
            None => self.file(&format!("{at}.onnx"), &raw.onnx),
            Some(_) => self.inside(&format!("{at}.onnx"), &raw.onnx),
        };
        Stage {
            name: raw.name,
            onnx: file.clone(),
            file,
            repeat: raw.repeat.is_some(),
            inputs,
            outputs,
            precision,
            profile: raw.profile.0,
            allow_unverified: false,
            allow_inaccurate: false,
        }
    }

    fn profile(&mut self, at: &str, profile: &Named<[usize; 3]>) {
        for (symbol, [min, opt, max]) in profile.iter() {
            self.check(1 <= *min && min <= opt && opt <= max, || {
                format!("{at}.profile.{symbol}: expected 1 <= min <= opt <= max, found [{min}, {opt}, {max}]")
            });
        }
    }

    /// As it is written everywhere else, whatever order its parts have here.
    fn precision(&mut self, at: &str, precision: Option<&str>) -> String {
        let parsed = precision.map_or(Ok(Precision::FP32), str::parse);
        parsed
            .unwrap_or_else(|problem| {
                self.problems.push(format!("{at}.precision: {problem}"));
                Precision::FP32
            })
            .to_string()
    }

    /// A file of the bundle: inside the folder, and there.
    fn file(&mut self, key: &str, name: &str) -> PathBuf {
        let known = self.problems.len();
        let path = self.inside(key, name);
        if self.problems.len() == known && !path.is_file() {
            self.problems.push(format!("{key}: the policy folder has no file '{name}'; copy or export it again"));
        }
        path
    }

    /// A file inside the folder, whether it is there or not.
    fn inside(&mut self, key: &str, name: &str) -> PathBuf {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        self.check(!name.is_empty() && inside, || {
            format!("{key}: expected a file inside the policy folder, found '{name}'")
        });
        self.dir.join(name)
    }

    fn unique<'n>(&mut self, key: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = Vec::new();
        for name in names {
            self.check(!name.is_empty(), || format!("{key}: an empty name"));
            self.check(!seen.contains(&name), || format!("{key}: '{name}' is named twice"));
            seen.push(name);
        }
    }

    fn check(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }
}
