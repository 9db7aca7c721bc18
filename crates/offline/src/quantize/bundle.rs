//! The quantised bundle: networks of the same names and layout, everything else as it was.

use std::fs;
use std::path::Path;

use super::plan::{PLAN_FILE, Plan, StagePlan};
use crate::Error;
use vla_base::sys::fs::replace;
use vla_engines::onnx::Network;
use vla_engines::precision::Precision;
use vla_export::staging::copy;
use vla_policy::PolicySpec;
use vla_policy::spec::POLICY_FILE;
use vla_quantize::recipe::Target;
use vla_quantize::rewrite;

/// Fills `dir` with the policy quantised by `plan`, for `target`. `stage` receives the name of each stage that is being written.
///
/// # Errors
/// [`Error::OtherPolicy`] for a plan of another policy; [`Error`] naming the file.
pub fn write(
    spec: &PolicySpec,
    plan: &Plan,
    target: Target,
    dir: &Path,
    stage: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    if plan.fingerprint != spec.fingerprint {
        return Err(Error::OtherPolicy { expected: spec.fingerprint.clone(), found: plan.fingerprint.clone() });
    }
    let mut files = spec.files();
    for described in &spec.stages {
        let planned = plan.stages.iter().find(|planned| planned.stage == described.name);
        let Some(planned) = planned.filter(|planned| !planned.recipe.products.is_empty()) else { continue };
        stage(&described.name);
        let name = inside(spec, &described.onnx)?;
        let parent = dir.join(Path::new(&name).parent().unwrap_or(Path::new("")));
        fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
        rewrite(&described.onnx, &planned.recipe, target, &dir.join(&name))?;
        files.retain(|file| *file != name);
    }
    for file in &files {
        copy(&spec.dir.join(file), &dir.join(file))?;
        if file.ends_with(".onnx") {
            let network = Network::open(&spec.dir.join(file)).map_err(vla_quantize::Error::from)?;
            for data in &network.data_files {
                copy(data, &dir.join(inside(spec, data)?))?;
            }
        }
    }
    replace(&dir.join(PLAN_FILE), plan.json().as_bytes())?;
    let all = spec.files();
    let fingerprint = vla_policy::fingerprint(dir, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let fingerprint = fingerprint.map_err(vla_policy::Error::from)?;
    let path = spec.dir.join(POLICY_FILE);
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    Ok(replace(&dir.join(POLICY_FILE), described(&text, &fingerprint, &plan.stages).as_bytes())?)
}

/// A file of the bundle by its name in it.
fn inside(spec: &PolicySpec, file: &Path) -> Result<String, Error> {
    let name = file.strip_prefix(&spec.dir).ok().and_then(Path::to_str);
    name.map(str::to_owned).ok_or_else(|| Error::OutsideBundle { file: file.to_owned(), bundle: spec.dir.clone() })
}

/// policy.yaml with the new fingerprint, and 8-bit integers among the precisions of quantised stages. Everything else stays as its
/// author wrote it.
fn described(text: &str, fingerprint: &str, stages: &[StagePlan]) -> String {
    let quantized = |name: &str| stages.iter().any(|stage| stage.stage == name && !stage.recipe.products.is_empty());
    let mut inside_quantized = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let key = line.trim_start().trim_start_matches("- ");
        if let Some(name) = key.strip_prefix("name:").filter(|_| line.starts_with(' ')) {
            inside_quantized = quantized(name.trim().trim_matches(['"', '\'']));
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.starts_with("fingerprint:") {
            lines.push(format!("fingerprint: {fingerprint}"));
        } else if let Some(before) = key.strip_prefix("precision:").filter(|_| inside_quantized) {
            let before: Precision = before.trim().parse().unwrap_or(Precision::FP16);
            lines.push(format!("{indent}precision: {}", Precision { int8: true, ..before }));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_quantize::recipe::{Recipe, WeightType};

    #[test]
    fn a_description_changes_in_fingerprint_and_precision_of_quantised_stages_only() {
        let text = "# mine\nname: step\nfingerprint: sha256:0\nstages:\n  - name: vision\n    precision: fp16\n  - name: step\n    \
                    precision: fp32\n  - name: context\n    precision: fp16\n";
        let recipe = Recipe { products: [("n".to_owned(), WeightType::Int8)].into(), ..Recipe::default() };
        let of = |name: &str, recipe| StagePlan { stage: name.into(), products: Vec::new(), recipe };
        let stages = [of("vision", recipe.clone()), of("step", recipe), of("context", Recipe::default())];
        let expected = text.replace("sha256:0", "sha256:1").replacen("precision: fp16", "precision: int8+fp16", 1);
        assert_eq!(described(text, "sha256:1", &stages), expected.replace("precision: fp32", "precision: int8"));
    }
}
