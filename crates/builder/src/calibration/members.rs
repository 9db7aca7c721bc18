//! Which members of an archive belong to which input.

use std::collections::BTreeMap;

use zip::ZipArchive;

use super::MAX_SAMPLES;
use vla_base::tensor::TensorSpec;

/// Maximum number of names or problems in a message.
pub(super) const SHOWN: usize = 12;

/// Members by name, without `.npy`.
pub(super) struct Members {
    by_name: BTreeMap<String, usize>,
    twice: Vec<String>,
    prefix: String,
}

/// The arrays of one input in the archive.
pub(super) enum Found {
    /// One array with all samples: its member.
    Stacked(String, usize),
    /// An array for each sample.
    Each(Vec<(String, usize)>),
}

impl Members {
    pub(crate) fn of<R: std::io::Read + std::io::Seek>(
        archive: &ZipArchive<R>,
        inputs: &[TensorSpec],
        group: Option<&str>,
    ) -> Self {
        let mut members = Self { by_name: BTreeMap::new(), twice: Vec::new(), prefix: String::new() };
        for (index, name) in archive.file_names().enumerate() {
            // Members without a readable name are ignored.
            let Ok(name) = name else { continue };
            let name = name.strip_suffix(".npy").unwrap_or(&name);
            if members.by_name.insert(name.to_owned(), index).is_some() {
                members.twice.push(name.to_owned());
            }
        }
        let prefix = group.map(|group| format!("{group}/")).unwrap_or_default();
        let has = |prefix: &str| inputs.iter().any(|input| members.has(&format!("{prefix}{}", input.name)));
        if !has("") && has(&prefix) {
            members.prefix = prefix;
        }
        members
    }

    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.numbered(name).next().is_some()
    }

    /// `NAME/0000` and so on: number, name, member.
    fn numbered(&self, name: &str) -> impl Iterator<Item = (usize, &str, usize)> {
        let start = format!("{name}/");
        let end = format!("{name}0"); // '0' follows '/'
        self.by_name.range(start.clone()..end).filter_map(move |(full, member)| {
            let digits = full.strip_prefix(&start)?;
            let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            Some((digits.parse().ok().filter(|_| all)?, full.as_str(), *member))
        })
    }

    /// The arrays of `input`.
    pub(crate) fn find(&self, input: &TensorSpec) -> Result<Found, String> {
        let name = format!("{}{}", self.prefix, input.name);
        if let Some(twice) = self.twice.iter().find(|twice| **twice == name || twice.starts_with(&format!("{name}/"))) {
            return Err(format!("array '{twice}': expected it once, found it twice"));
        }
        let mut each: Vec<(usize, &str, usize)> = self.numbered(&name).collect();
        each.sort_unstable();
        match (self.by_name.get(&name), each.is_empty()) {
            (Some(member), true) => Ok(Found::Stacked(name, *member)),
            (Some(_), false) => {
                Err(format!("input '{}': expected '{name}' or '{name}/0000' and so on, found both", input.name))
            }
            (None, true) => Err(self.missing(input)),
            (None, false) => {
                if each.len() > MAX_SAMPLES {
                    return Err(format!("input '{}': expected at most {MAX_SAMPLES} samples", input.name));
                }
                if let Some((expected, (number, found, _))) = each.iter().enumerate().find(|(at, (n, ..))| at != n) {
                    return Err(format!(
                        "input '{}': expected arrays numbered from 0 without a gap, found '{found}' as number {expected} \
                         ({number})",
                        input.name
                    ));
                }
                Ok(Found::Each(each.into_iter().map(|(_, name, member)| (name.to_owned(), member)).collect()))
            }
        }
    }

    fn missing(&self, input: &TensorSpec) -> String {
        // Numbered arrays, grouped by their common name.
        let shared = |name: &str| match name.rsplit_once('/') {
            Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => format!("{name}/..."),
            _ => name.to_owned(),
        };
        let mut names: Vec<String> = self.by_name.keys().map(|name| shared(name)).collect();
        names.dedup();
        let more = if names.len() > SHOWN { ", ..." } else { "" };
        names.truncate(SHOWN);
        let there = if names.is_empty() { "no array".to_owned() } else { names.join(", ") };
        format!("input '{input}' is missing; the file has {there}{more}")
    }
}
