//! Which joint of which message belongs where in the table. Shared without a lock.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::JointTable;
use crate::observation::spec::{InputSpec, JointNames};
use vla_base::time::Span;

/// Positions of needed joints in one message: (joint, position in rad or m).
pub(in super::super) type Parts = Vec<(usize, f64)>;

/// Places of the needed joints in the table.
#[derive(Debug)]
pub(in super::super) struct JointIndex {
    pub names: Arc<[String]>,
    /// The topics, as configured.
    pub topics: Arc<[String]>,
    /// The first `read` of the names are read by the policy.
    read: usize,
    /// One map a topic: the names that its messages use for the joints that are taken from it.
    places: Vec<HashMap<String, usize>>,
    /// Joints that follow another: (place of the other, own place, multiplier, offset).
    mimic: Vec<(usize, usize, f64, f64)>,
}

impl JointIndex {
    pub(crate) fn new(spec: &InputSpec) -> Self {
        let JointNames { read, moved, .. } = &spec.joints;
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: &String| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        };
        let source = |name: &String| spec.joints.mimic.iter().find(|mimic| mimic.joint == *name);
        // A joint may serve several elements of the state, and what a joint follows is read with it.
        read.iter().for_each(&mut add);
        read.iter().filter_map(source).for_each(|mimic| add(&mimic.source));
        let needed = read.iter().chain(read.iter().filter_map(source).map(|mimic| &mimic.source));
        let count = distinct(needed);
        moved.iter().for_each(&mut add);
        moved.iter().filter_map(source).for_each(|mimic| add(&mimic.source));
        let place = |joint: &String| names.iter().position(|name| name == joint);
        let mimic =
            spec.joints.mimic.iter().filter_map(|mimic| {
                Some((place(&mimic.source)?, place(&mimic.joint)?, mimic.multiplier, mimic.offset))
            });
        let mimic: Vec<_> = mimic.collect();
        let places = spec.topics.iter().enumerate().map(|(topic, name)| {
            let prefix = spec.joints.prefixes.get(topic).map_or("", String::as_str);
            let elsewhere =
                |joint: &String| spec.joints.topic_of.iter().any(|(of, counts)| of == joint && counts != name);
            let of_topic = names
                .iter()
                .enumerate()
                .filter(|(at, joint)| !elsewhere(joint) && !mimic.iter().any(|(_, follower, ..)| follower == at));
            of_topic.filter_map(|(at, joint)| Some((joint.strip_prefix(prefix)?.to_owned(), at))).collect()
        });
        let places = places.collect();
        Self { topics: spec.topics.as_slice().into(), names: names.into(), read: count, places, mimic }
    }

    /// Place of the joint that messages of a topic call `name`; `None` for one that is not taken from it.
    pub(crate) fn place(&self, topic: usize, name: &str) -> Option<usize> {
        self.places.get(topic)?.get(name).copied()
    }

    /// Index of a topic.
    pub(crate) fn topic(&self, name: &str) -> usize {
        self.topics.iter().position(|topic| topic == name).unwrap_or(0)
    }

    /// Adds the joints that follow those of a message.
    pub(crate) fn add_mimic(&self, parts: &mut Parts) {
        let measured = parts.len();
        for &(source, follower, multiplier, offset) in &self.mimic {
            let position = parts.iter().take(measured).find(|part| part.0 == source).map(|part| part.1);
            parts.extend(position.map(|position| (follower, multiplier * position + offset)));
        }
    }

    /// A table that reaches back for `history`.
    pub(crate) fn table(&self, history: Span) -> JointTable {
        JointTable::new(Arc::clone(&self.names), Arc::clone(&self.topics), self.read, history)
    }
}

fn distinct<'n>(names: impl Iterator<Item = &'n String>) -> usize {
    let names: Vec<&String> = names.collect();
    names.iter().enumerate().filter(|(i, name)| !names[..*i].contains(name)).count()
}

/// Hash of the joint names of a message.
pub(in super::super) fn layout<'n>(names: impl Iterator<Item = &'n str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.for_each(|name| name.hash(&mut hasher));
    hasher.finish()
}
