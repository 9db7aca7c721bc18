//! Precisions to try on a policy without changing it: one for all stages, others for some.

use std::fmt;
use std::str::FromStr;

use super::graph::Stage;
use super::precision::Precision;

/// A precision for every stage.
///
/// Text: `fp16`, or with stages that differ `fp16,step=int8+fp16`. A name means a stage, or all pieces that it
/// is cut into (`step_0`, `step_1`, ..); a later one wins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mix {
    all: Precision,
    of: Vec<(String, Precision)>,
}

impl Mix {
    /// The stages in these precisions. An engine that was built in another says nothing about them, so such a stage is
    /// taken by its network.
    ///
    /// # Errors
    /// The names that no stage has, with those that there are.
    pub fn apply(&self, stages: &[Stage]) -> Result<Vec<Stage>, String> {
        let no_stage = |(name, _): &&(String, Precision)| !stages.iter().any(|stage| stands_for(name, &stage.name));
        if let Some((name, _)) = self.of.iter().find(no_stage) {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
            return Err(format!(
                "the mix '{self}' names '{name}', which is no stage; the stages are {}",
                names.join(", ")
            ));
        }
        Ok(stages.iter().map(|stage| self.stage(stage)).collect())
    }

    fn stage(&self, stage: &Stage) -> Stage {
        let own = self.of.iter().rev().find(|(name, _)| stands_for(name, &stage.name));
        let precision = own.map_or(self.all, |(_, precision)| *precision);
        let same = stage.precision.parse() == Ok(precision);
        let file = if same { &stage.file } else { &stage.onnx };
        Stage { precision: precision.to_string(), file: file.clone(), ..stage.clone() }
    }
}

/// Whether `name` is the stage's, or that of the stage that it is a piece of.
fn stands_for(name: &str, stage: &str) -> bool {
    let piece = || stage.strip_prefix(name)?.strip_prefix('_')?.parse::<u32>().ok();
    stage == name || piece().is_some()
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let all = parts.next().unwrap_or_default();
        if all.contains('=') {
            return Err(format!(
                "expected a precision for all stages first, such as fp16,step=int8+fp16: found '{text}'"
            ));
        }
        let of = parts.map(|part| {
            let (stage, precision) =
                part.split_once('=').ok_or_else(|| format!("expected STAGE=PRECISION, found '{part}'"))?;
            Ok((stage.to_owned(), precision.parse()?))
        });
        Ok(Self { all: all.parse()?, of: of.collect::<Result<_, String>>()? })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of.iter().map(|(stage, precision)| format!(",{stage}={precision}"));
        f.pad(&of.fold(self.all.to_string(), |text, part| text + &part))
    }
}
