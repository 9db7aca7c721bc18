//! rosbag2's description of a bag: `metadata.yaml` of a folder, and the same text inside a single file.

use std::fmt::Write as _;

use super::writer::Qos;

/// A topic of the bag.
pub(crate) struct Topic<'a> {
    pub(crate) name: &'a str,
    pub(crate) type_name: &'a str,
    pub(crate) qos: Qos,
    pub(crate) count: u64,
}

/// A file of the bag.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its name, without a folder.
    pub(crate) name: String,
    /// First and last log time (ns).
    pub(crate) bounds: Option<(u64, u64)>,
    pub(crate) count: u64,
}

/// What `ros2 bag info` reads. Version 5, so that Jazzy takes the QoS numbers. A bare file is described without its name, which the
/// reader fills in itself.
pub(crate) fn text<'a>(topics: impl Iterator<Item = Topic<'a>>, bounds: Option<(u64, u64)>, files: &[File]) -> String {
    let (first, last) = bounds.unwrap_or((0, 0));
    let (mut listed, mut total) = (String::new(), 0);
    for Topic { name, type_name, qos, count } in topics {
        let qos = qos.yaml().replace('\n', "\n        ");
        total += count;
        // Writing into a String cannot fail.
        let written = write!(
            listed,
            "\n  - topic_metadata:\n      name: '{}'\n      type: '{}'\n      serialization_format: cdr\n      \
             offered_qos_profiles: |-\n        {qos}\n    message_count: {count}",
            quoted(name),
            quoted(type_name),
        );
        debug_assert!(written.is_ok());
    }
    if listed.is_empty() {
        listed.push_str(" []");
    }
    format!(
        "version: 5\nstorage_identifier: mcap\nduration:\n  nanoseconds: {}\nstarting_time:\n  \
         nanoseconds_since_epoch: {first}\nmessage_count: {total}\ntopics_with_message_count:{listed}\n\
         compression_format: ''\ncompression_mode: ''\nrelative_file_paths:{}\nfiles:{}\n",
        last - first,
        list(files, |file| format!("'{}'", quoted(&file.name))),
        list(files, |file| {
            let (first, last) = file.bounds.unwrap_or((0, 0));
            format!(
                "path: '{}'\n    starting_time:\n      nanoseconds_since_epoch: {first}\n    duration:\n      nanoseconds: {}\n    \
                 message_count: {}",
                quoted(&file.name),
                last - first,
                file.count
            )
        })
    )
}

/// The document of a folder.
pub(crate) fn document(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("  {line}\n")).collect();
    format!("rosbag2_bagfile_information:\n{lines}")
}

fn list(files: &[File], entry: impl Fn(&File) -> String) -> String {
    if files.is_empty() {
        " []".to_owned()
    } else {
        files.iter().map(|file| format!("\n  - {}", entry(file))).collect()
    }
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}
