//! Embodiment tags and the rows of the per-embodiment weights that belong to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::{Error, Family};
use vla_policy::processor::ProcessorConfig;

/// File of a checkpoint that maps tags to rows.
pub const FILE: &str = "embodiment_id.json";

/// Tags and their rows, as `json` of the file at `path` has them.
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub fn parse(path: &Path, json: &[u8]) -> Result<BTreeMap<String, usize>, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Invalid {
        problems: vec![format!("expected tags and their rows, such as {{\"new_embodiment\": 10}}, found {error}")],
        path: path.to_owned(),
    })
}

/// The row of `tag`: the file's, else the table's.
///
/// # Errors
/// As [`row_of`] and [`parse`]; [`Error::Io`].
pub fn row(dir: &Path, family: &Family, tag: &str, rows: usize, config: &ProcessorConfig) -> Result<usize, Error> {
    let path = dir.join(FILE);
    let listed = if path.is_file() {
        parse(&path, &fs::read(&path).map_err(Error::io(&path))?)?
    } else {
        tracing::warn!("{}: no such file; the rows of the vendor's own table of embodiments are used", path.display());
        BTreeMap::new()
    };
    row_of(&listed, family, tag, rows, config)
}

/// The row of `tag`, one of `rows`: that of `listed`, else the table's.
///
/// # Errors
/// [`Error::Embodiment`] for a tag that neither has, that the processor does not configure, or whose row the weights
/// do not have.
pub fn row_of(
    listed: &BTreeMap<String, usize>,
    family: &Family,
    tag: &str,
    rows: usize,
    config: &ProcessorConfig,
) -> Result<usize, Error> {
    let fail = |reason: String| Err(Error::Embodiment { tag: tag.to_owned(), reason });
    if !config.embodiments().any(|configured| configured == tag) {
        let configured: Vec<&str> = config.embodiments().collect();
        return fail(format!(
            "expected one that the checkpoint's processor_config.json configures: {}",
            if configured.is_empty() { "it has none".to_owned() } else { configured.join(", ") }
        ));
    }
    let table = family.embodiments;
    let known = table.iter().find(|(known, _)| *known == tag).map(|(_, row)| *row);
    let row = match (listed.get(tag), known) {
        (Some(row), _) => *row,
        (None, Some(row)) => {
            tracing::info!("{FILE} has no embodiment {tag}; row {row} of the vendor's own table is used");
            row
        }
        (None, None) => {
            let tags: Vec<&str> = listed.keys().map(String::as_str).collect();
            return fail(format!(
                "expected one of {FILE} ({}) or of the vendor's table ({})",
                if tags.is_empty() { "none".to_owned() } else { tags.join(", ") },
                table.iter().map(|(tag, _)| *tag).collect::<Vec<_>>().join(", ")
            ));
        }
    };
    if row < rows {
        return Ok(row);
    }
    fail(format!("expected a row below {rows} (config.json's max_num_embodiments), found {row} in {FILE} or the table"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::N1D6;

    fn config(tags: &[&str]) -> ProcessorConfig {
        let modality = r#"{"delta_indices": [0], "modality_keys": []}"#;
        let one = |tag: &&str| {
            format!(
                r#""{tag}": {{"video": {modality}, "state": {modality}, "action": {modality}, "language": {modality}}}"#
            )
        };
        let all = tags.iter().map(one).collect::<Vec<_>>().join(", ");
        let text = format!(
            r#"{{"processor_class": "Gr00tN1d6Processor", "processor_kwargs": {{"modality_configs": {{{all}}}}}}}"#
        );
        ProcessorConfig::parse(Path::new("processor_config.json"), &text).expect("the schema")
    }

    #[test]
    fn the_file_wins_over_the_table_and_the_table_fills_it() {
        let dir = tempfile::tempdir().expect("scratch");
        let config = config(&["gr1", "new_embodiment", "mine"]);
        let row = |tag| row(dir.path(), &N1D6, tag, 32, &config);
        assert_eq!(row("gr1").expect("in the table"), 20);
        fs::write(dir.path().join(FILE), r#"{"gr1": 3, "mine": 31}"#).expect("write");
        assert_eq!(row("gr1").expect("in the file"), 3);
        assert_eq!(row("new_embodiment").expect("in the table"), 10);
        assert_eq!(row("mine").expect("in the file"), 31);
    }

    #[test]
    fn others_are_refused_with_those_that_there_are() {
        let dir = tempfile::tempdir().expect("scratch");
        fs::write(dir.path().join(FILE), r#"{"gr1": 3, "far": 32}"#).expect("write");
        let config = config(&["gr1", "far", "nameless"]);
        let error = |tag| row(dir.path(), &N1D6, tag, 32, &config).expect_err("refused").to_string();
        assert!(error("g1").contains("gr1, far, nameless"), "{}", error("g1"));
        assert!(error("nameless").contains("far, gr1") && error("nameless").contains("libero_panda"));
        assert!(error("far").contains("below 32") && error("far").contains("found 32"));
    }
}
