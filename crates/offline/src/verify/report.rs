//! The figures of a verification compared with the policy's limits.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Serialize;

use super::proposal::Trial;
use vla_engines::provenance::figures::{show, show_cosine};
use vla_engines::provenance::{Figures, TensorFigures, Verification};

/// Version of the JSON form.
pub(super) const FORMAT: u32 = 1;

/// One stage.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StageReport {
    /// Its name.
    pub stage: String,
    /// Precision according to the candidate's description.
    pub precision: String,
    /// How often it ran: once an observation, in the repeated group once a denoising step of each.
    pub runs: usize,
    /// Its outputs, each with its limit.
    pub outputs: Vec<TensorFigures>,
    /// Tensors inside its network, where both sides have them. They are only shown.
    pub inner: Vec<TensorFigures>,
}

impl StageReport {
    /// Whether every output is within its limit.
    pub fn passed(&self) -> bool {
        self.outputs.iter().all(TensorFigures::passes)
    }

    /// The worst of all outputs, figure by figure.
    pub fn worst(&self) -> Figures {
        self.outputs.iter().map(|tensor| tensor.figures).fold(Figures::EQUAL, Figures::worse)
    }

    /// As one of the engines that were tried for a stage.
    pub fn trial(&self, precision: &str) -> Trial {
        let (stage, precision) = (self.stage.clone(), precision.to_owned());
        Trial { stage, precision, figures: self.worst(), passed: self.passed() }
    }

    /// One line: the output that is furthest below its limit, or closest to it.
    pub fn summary(&self) -> String {
        let margin = |tensor: &&TensorFigures| {
            tensor.figures.cosine.unwrap_or(f64::NEG_INFINITY) - tensor.least_cosine.unwrap_or(0.0)
        };
        let Some(tensor) = self.outputs.iter().min_by(|a, b| margin(a).total_cmp(&margin(b))) else {
            return "no output was compared".to_owned();
        };
        let sign = if tensor.passes() { ">=" } else { "<" };
        let Figures { cosine, max_abs, relative, relative_l2 } = tensor.figures;
        format!(
            "{} cosine {} {sign} {}, rel L2 {}, max {}, rel max {}",
            tensor.tensor,
            show_cosine(cosine),
            tensor.least_cosine.unwrap_or(0.0),
            show(relative_l2),
            show(max_abs),
            show(relative)
        )
    }
}

/// An action key.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct KeyFigures {
    /// Its name.
    pub key: String,
    /// The joint, or the column of a pose, that differs most.
    pub column: String,
    /// By how much, rad (m where it is a position); `None`: it is no number.
    pub largest: Option<f64>,
}

impl KeyFigures {
    /// Of the largest difference.
    fn unit(&self) -> &'static str {
        let position = [".x", ".y", ".z"].iter().any(|axis| self.column.ends_with(axis));
        if position { "m" } else { "rad" }
    }
}

/// The whole chain.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ActionReport {
    /// Decoded actions by key.
    pub keys: Vec<KeyFigures>,
    /// Least cosine of a decoded chunk with the reference's.
    pub cosine: Option<f64>,
    /// Largest norm of a decoded chunk's difference over the norm of the reference's. Only shown.
    pub relative_l2: Option<f64>,
    /// The predicted actions before they are decoded, all rows and columns. Only shown.
    pub predicted: Figures,
    /// Observations without a chunk, and why.
    pub refused: Vec<String>,
    /// Least cosine allowed.
    pub least_cosine: f64,
    /// Largest difference allowed, rad (m where it is a position).
    pub most_rad: f64,
}

impl ActionReport {
    /// Whether every chunk is there and within the limits.
    pub fn passed(&self) -> bool {
        self.refused.is_empty()
            && self.cosine.is_some_and(|cosine| cosine >= self.least_cosine)
            && self.keys.iter().all(|key| self.holds(key))
    }

    fn holds(&self, key: &KeyFigures) -> bool {
        key.largest.is_some_and(|largest| largest <= self.most_rad)
    }

    /// One line: the figure that decided.
    pub fn summary(&self) -> String {
        if let Some(reason) = self.refused.first() {
            return format!("{} chunks were refused, the first {reason}", self.refused.len());
        }
        let rank = |key: &&KeyFigures| key.largest.unwrap_or(f64::INFINITY);
        let worst = self.keys.iter().max_by(|a, b| rank(a).total_cmp(&rank(b)));
        let worst = worst.map(|key| {
            let sign = if self.holds(key) { "<=" } else { ">" };
            format!("{} {} {} {sign} {}, ", key.column, show(key.largest), key.unit(), self.most_rad)
        });
        let sign = if self.cosine.is_some_and(|cosine| cosine >= self.least_cosine) { ">=" } else { "<" };
        let (cosine, least, l2) = (show_cosine(self.cosine), self.least_cosine, show(self.relative_l2));
        format!("{}cosine {cosine} {sign} {least}, rel L2 {l2}", worst.unwrap_or_default())
    }
}

/// What a candidate is compared with: the policy's networks on ONNX Runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Networks in floating point.
    Networks,
    /// Some networks are quantised. They run as their files say, products of dequantised tensors in floating point, which is
    /// what TensorRT builds from; not with ONNX Runtime's integer kernels.
    QuantizedNetworks,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Networks => "its networks on ONNX Runtime",
            Self::QuantizedNetworks => {
                "its quantised networks on ONNX Runtime (dequantised products in floating point, no integer kernels)"
            }
        })
    }
}

/// Everything that one verification found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Version of this form: 1.
    pub format: u32,
    /// Whether everything is within its limits.
    pub passed: bool,
    /// What the candidate was compared with.
    pub reference: Reference,
    /// Name of the policy.
    pub policy: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// The candidate that was compared with its networks.
    pub candidate: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// The bag.
    pub bag: PathBuf,
    /// Its hash, as in [`Verification::bag_sha256`].
    pub bag_sha256: String,
    /// Observations of it.
    pub observations: usize,
    /// In run order.
    pub stages: Vec<StageReport>,
    /// `None`: only some stages were asked for.
    pub actions: Option<ActionReport>,
    /// Stages of the candidate in half precision that ran on ONNX Runtime's CPU, which rounds and overflows nothing
    /// between operators: a GPU may have infinities where this report has none.
    pub without_half_rounding: Vec<String>,
}

impl Report {
    /// Stages that failed. When each passes alone and the whole chain does not, all of them: the cause cannot be attributed to one.
    pub fn failed(&self) -> Vec<&str> {
        let failed: Vec<&str> =
            self.stages.iter().filter(|stage| !stage.passed()).map(|stage| stage.stage.as_str()).collect();
        match &self.actions {
            Some(actions) if failed.is_empty() && !actions.passed() => {
                self.stages.iter().map(|stage| stage.stage.as_str()).collect()
            }
            _ => failed,
        }
    }

    /// The verdict for the record of a stage's engine; `None` for a stage that was not compared.
    pub fn verification(&self, stage: &str) -> Option<Verification> {
        let found = self.stages.iter().find(|found| found.stage == stage)?;
        let passed = !self.failed().contains(&stage);
        let chain = self.actions.as_ref().map(|actions| format!("; whole chain: {}", actions.summary()));
        Some(Verification {
            passed,
            at: self.at.clone(),
            bag_sha256: self.bag_sha256.clone(),
            observations: self.observations,
            tensors: found.outputs.iter().chain(&found.inner).cloned().collect(),
            summary: format!("{}{}", found.summary(), chain.unwrap_or_default()),
        })
    }

    /// As JSON, for `--report`.
    pub fn json(&self) -> String {
        // Strings, numbers and lists: nothing that JSON has not.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// A table: a line a tensor, then the actions, then the verdict.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} against {}, {} observations of {}",
            self.policy,
            self.candidate,
            self.reference,
            self.observations,
            self.bag.display()
        )?;
        let rows =
            self.stages.iter().flat_map(|stage| stage.outputs.iter().chain(&stage.inner).map(move |t| (stage, t)));
        let wide = |of: &dyn Fn(&StageReport, &TensorFigures) -> usize| {
            rows.clone().map(|(stage, tensor)| of(stage, tensor)).max().unwrap_or(0)
        };
        let stage_width = wide(&|stage, _| stage.stage.len()).max("stage".len());
        let tensor_width = wide(&|_, tensor| tensor.tensor.len()).max("tensor".len());
        let mut line = |cells: [&str; 8]| {
            let [stage, tensor, cosine, least, l2, max, rel, verdict] = cells;
            let mut text = format!("{stage:stage_width$}  {tensor:tensor_width$}  ");
            write!(text, "{cosine:>9}  {least:>6}  {l2:>9}  {max:>9}  {rel:>9}  {verdict}")?;
            writeln!(f, "{}", text.trim_end())
        };
        line(["stage", "tensor", "cosine", "least", "rel L2", "max", "rel max", "verdict"])?;
        for (stage, tensor) in rows.clone() {
            let Figures { cosine, max_abs, relative, relative_l2 } = tensor.figures;
            let (least, verdict) = match (tensor.least_cosine, tensor.passes()) {
                (None, _) => (String::new(), ""),
                (Some(least), true) => (least.to_string(), "passed"),
                (Some(least), false) => (least.to_string(), "FAILED"),
            };
            line([
                &stage.stage,
                &tensor.tensor,
                &show_cosine(cosine),
                &least,
                &show(relative_l2),
                &show(max_abs),
                &show(relative),
                verdict,
            ])?;
        }
        if let Some(actions) = &self.actions {
            write!(f, "{}", ActionLines(actions))?;
        }
        if !self.without_half_rounding.is_empty() {
            writeln!(
                f,
                "warning: {} in half precision: ONNX Runtime's CPU computes in single precision between operators, so what \
                 overflows on a GPU (beyond 65504) does not show here; check the ranges with vla-trt export --absmax-from \
                 (docs/fidelity.md)",
                self.without_half_rounding.join(", ")
            )?;
        }
        match (self.passed, self.failed()) {
            (true, _) => writeln!(f, "passed"),
            (false, failed) => writeln!(f, "FAILED: {}", failed.join(", ")),
        }
    }
}

struct ActionLines<'a>(&'a ActionReport);

impl fmt::Display for ActionLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions = self.0;
        let word = |holds: bool| if holds { "passed" } else { "FAILED" };
        let holds = actions.cosine.is_some_and(|cosine| cosine >= actions.least_cosine);
        writeln!(
            f,
            "actions over the whole chain: cosine {} (least {})  {}, rel L2 {}; predicted: cosine {}, rel L2 {}, max {}",
            show_cosine(actions.cosine),
            actions.least_cosine,
            word(holds),
            show(actions.relative_l2),
            show_cosine(actions.predicted.cosine),
            show(actions.predicted.relative_l2),
            show(actions.predicted.max_abs)
        )?;
        let width = actions.keys.iter().map(|key| key.key.len()).max().unwrap_or(0);
        for key in &actions.keys {
            let (largest, verdict, most) = (show(key.largest), word(actions.holds(key)), actions.most_rad);
            let (name, unit, column) = (&key.key, key.unit(), &key.column);
            writeln!(f, "  {name:width$}  {largest:>9} {unit} (most {most})  {verdict}  {column}")?;
        }
        for reason in &actions.refused {
            writeln!(f, "  no chunk {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
