//! The tasks: instructions by number.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Error;
use crate::dataset::read_text;
use crate::table::Table;

#[derive(Deserialize)]
struct Line {
    task_index: i64,
    task: String,
}

/// The tasks of `meta/tasks.jsonl`.
pub(crate) fn of_v2(root: &Path) -> Result<BTreeMap<i64, String>, Error> {
    let path = root.join("meta/tasks.jsonl");
    let text = read_text(&path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(number, line)| {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| Error::metadata(&path, format!("line {}: {error}", number + 1)))?;
        Ok((line.task_index, line.task))
    });
    parsed.collect()
}

/// The tasks of `meta/tasks.parquet`, whose text is the index that pandas wrote, or a column `task`.
pub(crate) fn of_v3(root: &Path) -> Result<BTreeMap<i64, String>, Error> {
    let path = root.join("meta/tasks.parquet");
    let table = Table::open(&path)?;
    let numbers = table.numbers("task_index")?;
    let named = ["task", "__index_level_0__"].into_iter().find(|name| table.has(name));
    let text = table.text(named.unwrap_or("task"))?;
    if text.len() != numbers.len() {
        return Err(Error::metadata(&path, format!("expected {} tasks, found {}", numbers.len(), text.len())));
    }
    Ok(numbers.into_iter().map(|number| number as i64).zip(text).collect())
}
