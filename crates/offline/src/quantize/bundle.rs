//! The quantised bundle: networks of the same names and layout, everything else as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::plan::{PLAN_FILE, Plan};
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
/// [`Error::OtherPolicy`] for a plan of another policy; [`Error::Description`] for a policy.yaml in which a precision cannot be set;
/// [`Error`] naming the file.
pub fn write(
    spec: &PolicySpec,
    plan: &Plan,
    target: Target,
    dir: &Path,
    stage: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let found = fingerprint_of(spec, &spec.dir)?;
    if plan.fingerprint != found {
        return Err(Error::OtherPolicy { expected: found, found: plan.fingerprint.clone() });
    }
    let mut files = [spec.files(), spec.supplied_files()].concat();
    let mut precisions = BTreeMap::new();
    for described in &spec.stages {
        let planned = plan.stages.iter().find(|planned| planned.stage == described.name);
        let Some(planned) = planned.filter(|planned| !planned.recipe.products.is_empty()) else { continue };
        stage(&described.name);
        let name = inside(spec, &described.onnx)?;
        let parent = dir.join(Path::new(&name).parent().unwrap_or(Path::new("")));
        fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
        rewrite(&described.onnx, &planned.recipe, target, &dir.join(&name))?;
        files.retain(|file| *file != name);
        // A precision that does not parse is refused where the policy is loaded.
        let before: Precision = described.precision.parse().unwrap_or(Precision::FP16);
        precisions.insert(described.name.clone(), Precision { int8: true, ..before });
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
    describe(spec, &precisions, dir)
}

/// Writes policy.yaml, and reads it back.
fn describe(spec: &PolicySpec, precisions: &BTreeMap<String, Precision>, dir: &Path) -> Result<(), Error> {
    let all = spec.files();
    let fingerprint = vla_policy::fingerprint(dir, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let fingerprint = fingerprint.map_err(vla_policy::Error::from)?;
    let path = spec.dir.join(POLICY_FILE);
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let file = dir.join(POLICY_FILE);
    replace(&file, described(&text, &fingerprint, precisions).as_bytes())?;
    let written = PolicySpec::load(dir).map_err(vla_policy::Error::from)?;
    for (before, after) in spec.stages.iter().zip(&written.stages) {
        let expected = precisions.get(&before.name).map_or(before.precision.clone(), ToString::to_string);
        if after.precision != expected {
            let stage = before.name.clone();
            return Err(Error::Description { file: path, stage, expected, found: after.precision.clone() });
        }
    }
    Ok(())
}

/// The fingerprint of a policy's files in `dir`, supplied networks among them.
pub(super) fn fingerprint_of(spec: &PolicySpec, dir: &Path) -> Result<String, Error> {
    let all = [spec.files(), spec.supplied_files()].concat();
    let found = vla_policy::fingerprint(dir, &all.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(found.map_err(vla_policy::Error::from)?)
}

/// A file of the bundle by its name in it.
fn inside(spec: &PolicySpec, file: &Path) -> Result<String, Error> {
    let name = file.strip_prefix(&spec.dir).ok().and_then(Path::to_str);
    name.map(str::to_owned).ok_or_else(|| Error::OutsideBundle { file: file.to_owned(), bundle: spec.dir.clone() })
}

/// policy.yaml with the new fingerprint and precisions; a stage without a precision gets one behind its name. Everything else stays as its
/// author wrote it.
fn described(text: &str, fingerprint: &str, precisions: &BTreeMap<String, Precision>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut written = Vec::with_capacity(lines.len());
    let mut stage: Option<(usize, &Precision)> = None;
    for (at, line) in lines.iter().enumerate() {
        let key = line.trim_start().trim_start_matches("- ");
        let indent = line.len() - key.len();
        stage = stage.filter(|(dash, _)| belongs(line, *dash));
        if line.starts_with("fingerprint:") {
            written.push(format!("fingerprint: {fingerprint}"));
            continue;
        }
        if let (Some(value), Some((_, precision))) = (key.strip_prefix("precision:"), stage) {
            let comment = value.find('#').map_or(String::new(), |start| format!(" {}", &value[start..]));
            written.push(format!("{}precision: {precision}{comment}", &line[..indent]));
            continue;
        }
        written.push((*line).to_owned());
        if let Some(name) = key.strip_prefix("name:").filter(|_| line.trim_start().starts_with("- ")) {
            let name = name.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            let dash = line.len() - line.trim_start().len();
            stage = precisions.get(name).map(|precision| (dash, precision));
            let mut own = lines[at + 1..].iter().take_while(|line| belongs(line, dash));
            let has_one = own.any(|line| line.trim_start().starts_with("precision:"));
            if let Some((_, precision)) = stage.filter(|_| !has_one) {
                written.push(format!("{}precision: {precision}", " ".repeat(indent)));
            }
        }
    }
    written.join("\n") + "\n"
}

/// Whether a line is part of the list's element whose dash is in this column: deeper, or nothing but a comment.
fn belongs(line: &str, dash: usize) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#') || line.len() - text.len() > dash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_changes_in_fingerprint_and_precision_of_quantised_stages_only() {
        let text = "# mine\nname: step\nfingerprint: sha256:0\nstages:\n  - name: vision\n    precision: fp16\n  - name: step # last\n    \
                    precision: 'fp32' # beyond fp16\n  - name: context\n    precision: fp16\n  - name: language\n    profile:\n      T:\n      - 1\n    \
                    precision: fp16\n  - name: bare\n    repeat: denoise\n";
        let int8 = |text: &str| Precision { int8: true, ..text.parse().expect("a precision") };
        let precisions = [("vision", "fp16"), ("step", "fp32"), ("language", "fp16"), ("bare", "fp16")]
            .map(|(name, text)| (name.to_owned(), int8(text)));
        let expected = "# mine\nname: step\nfingerprint: sha256:1\nstages:\n  - name: vision\n    precision: int8+fp16\n  - name: step # \
                        last\n    precision: int8 # beyond fp16\n  - name: context\n    precision: fp16\n  - name: language\n    \
                        profile:\n      T:\n      - 1\n    precision: int8+fp16\n  - name: bare\n    precision: \
                        int8+fp16\n    repeat: denoise\n";
        assert_eq!(described(text, "sha256:1", &precisions.into()), expected);
    }
}
