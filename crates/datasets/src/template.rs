//! Path patterns of info.json, such as `data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet`.

use std::path::{Component, Path, PathBuf};

/// A value that a pattern may name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'f> {
    Number(usize),
    Text(&'f str),
}

/// Fills in a pattern as Python's `str.format` does with plain names and `:0Nd`.
///
/// # Errors
/// Why the pattern, or the path that it gives, cannot be used: an unknown name, or a path that leaves the data set.
pub(crate) fn fill(pattern: &str, fields: &[(&str, Field<'_>)]) -> Result<PathBuf, String> {
    let mut path = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        let (field, after) = after.split_once('}').ok_or("expected '}' after each '{'")?;
        let (name, format) = field.split_once(':').unwrap_or((field, ""));
        let (_, value) = fields.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}, found '{name}'", known.join(", "))
        })?;
        match value {
            Field::Number(number) => path.push_str(&format!("{number:0width$}", width = width(format)?)),
            Field::Text(text) => path.push_str(text),
        }
        rest = after;
    }
    path.push_str(rest);
    let path = PathBuf::from(path);
    if is_inside(&path) {
        Ok(path)
    } else {
        Err(format!("expected a path inside the data set, found {}", path.display()))
    }
}

/// The width of `0Nd` or `Nd`; nothing is 0.
fn width(format: &str) -> Result<usize, String> {
    let digits = format.strip_suffix('d').unwrap_or(format);
    let width = if digits.is_empty() { Some(0) } else { digits.parse().ok().filter(|width| *width <= 32) };
    width.ok_or_else(|| format!("expected a format such as :03d, found ':{format}'"))
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, Field<'_>); 2] = [("chunk_index", Field::Number(7)), ("video_key", Field::Text("top"))];

    #[test]
    fn numbers_are_padded_and_names_filled_in() {
        let filled = fill("videos/{video_key}/chunk-{chunk_index:03d}/{chunk_index}.mp4", &FIELDS);
        assert_eq!(filled, Ok(PathBuf::from("videos/top/chunk-007/7.mp4")));
    }

    #[test]
    fn a_path_that_leaves_the_data_set_is_refused() {
        for pattern in
            ["/etc/passwd", "../{chunk_index}.mp4", "a/../../b", "{other}", "{chunk_index:99d}", "{chunk_index"]
        {
            assert!(fill(pattern, &FIELDS).is_err(), "{pattern}");
        }
        let key = [("video_key", Field::Text("../../up"))];
        assert!(fill("videos/{video_key}.mp4", &key).is_err());
    }
}
