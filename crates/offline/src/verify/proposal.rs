//! Which precision an engine is to have: the first of those tried that is close enough to its network.

use std::fmt;

use vla_engines::provenance::Figures;
use vla_engines::provenance::figures::{show, show_cosine};

/// One engine that was tried.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Its stage.
    pub stage: String,
    /// As in policy.yaml, e.g. `int8+fp16`.
    pub precision: String,
    /// The worst of its outputs.
    pub figures: Figures,
    /// Whether all figures are within their limits.
    pub passed: bool,
}

/// Trials with the chosen ones.
#[derive(Clone, PartialEq, Debug)]
pub struct Proposal {
    trials: Vec<(Trial, bool)>,
}

/// Chooses, for each stage, the first of its trials that passed. `trials`: of each stage in the order of preference
/// (`int8`, `fp16`, `fp32`); those of different stages may be mixed.
pub fn propose(trials: Vec<Trial>) -> Proposal {
    let mut settled: Vec<String> = Vec::new();
    let trials = trials.into_iter().map(|trial| {
        let chosen = trial.passed && !settled.contains(&trial.stage);
        if chosen {
            settled.push(trial.stage.clone());
        }
        (trial, chosen)
    });
    Proposal { trials: trials.collect() }
}

impl Proposal {
    /// The precision of a stage; `None` when none passed.
    pub fn of(&self, stage: &str) -> Option<&str> {
        let mut chosen = self.trials.iter().filter(|(trial, chosen)| *chosen && trial.stage == stage);
        chosen.next().map(|(trial, _)| trial.precision.as_str())
    }

    /// Stages of which no trial passed, in the order of their first.
    pub fn without(&self) -> Vec<&str> {
        let mut stages: Vec<&str> = Vec::new();
        for (trial, _) in &self.trials {
            if self.of(&trial.stage).is_none() && !stages.contains(&trial.stage.as_str()) {
                stages.push(&trial.stage);
            }
        }
        stages
    }
}

/// A table: a line a trial.
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = |of: fn(&Trial) -> &str, title: &str| {
            self.trials.iter().map(|(trial, _)| of(trial).len()).max().unwrap_or(0).max(title.len())
        };
        let (stage, precision) = (wide(|trial| &trial.stage, "stage"), wide(|trial| &trial.precision, "precision"));
        writeln!(
            f,
            "{:stage$}  {:precision$}  {:>9}  {:>9}  {:>9}  {:>9}  verdict",
            "stage", "precision", "cosine", "rel L2", "max", "rel max"
        )?;
        for (trial, chosen) in &self.trials {
            let verdict = match (trial.passed, chosen) {
                (true, true) => "passed, chosen",
                (true, false) => "passed",
                (false, _) => "failed",
            };
            let Figures { cosine, max_abs, relative, relative_l2 } = trial.figures;
            writeln!(
                f,
                "{:stage$}  {:precision$}  {:>9}  {:>9}  {:>9}  {:>9}  {verdict}",
                trial.stage,
                trial.precision,
                show_cosine(cosine),
                show(relative_l2),
                show(max_abs),
                show(relative)
            )?;
        }
        for stage in self.without() {
            writeln!(
                f,
                "{stage}: no precision passed; look at the network (vla-trt export --absmax-from; its quantisation: docs/quantize.md), not at the engine"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(stage: &str, precision: &str, cosine: f64, passed: bool) -> Trial {
        let figures =
            Figures { cosine: Some(cosine), max_abs: Some(0.5), relative: Some(1e-5), relative_l2: Some(0.25) };
        Trial { stage: stage.into(), precision: precision.into(), figures, passed }
    }

    #[test]
    fn each_stage_gets_the_first_precision_that_passes() {
        let proposal = propose(vec![
            trial("vision", "int8+fp16", 0.9, false),
            trial("step", "int8+fp16", 0.995, true),
            trial("vision", "fp16", 0.9999, true),
            trial("vision", "fp32", 1.0, true),
        ]);
        assert_eq!((proposal.of("vision"), proposal.of("step")), (Some("fp16"), Some("int8+fp16")));
        assert!(proposal.without().is_empty() && proposal.of("language").is_none());
    }

    #[test]
    fn a_stage_of_which_none_passes_is_told() {
        let proposal = propose(vec![trial("vision", "int8", 0.9, false), trial("vision", "fp32", 0.99, false)]);
        assert_eq!((proposal.of("vision"), proposal.without()), (None, vec!["vision"]));
        assert!(proposal.to_string().contains("vision: no precision passed"), "{proposal}");
        assert_eq!(propose(Vec::new()).without(), Vec::<&str>::new());
    }

    #[test]
    fn the_table_has_a_line_a_trial_with_its_figures_and_what_is_chosen() {
        let mut none = trial("step", "fp16", 1.0, true);
        none.figures = Figures { max_abs: None, ..none.figures };
        let fp32 = trial("step", "fp32", 1.0, true);
        let table = propose(vec![trial("vision", "int8", 0.9, false), none, fp32]).to_string();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["stage", "precision", "cosine", "rel", "L2", "max", "rel", "max", "verdict"]);
        assert_eq!(lines[1], ["vision", "int8", "0.900000", "0.2500", "0.5000", "1.0e-5", "failed"]);
        assert_eq!(lines[2], ["step", "fp16", "1.000000", "0.2500", "nan", "1.0e-5", "passed,", "chosen"]);
        assert_eq!(lines[3], ["step", "fp32", "1.000000", "0.2500", "0.5000", "1.0e-5", "passed"]);
    }
}
