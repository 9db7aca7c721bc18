//! Refused messages: one log line for each reason, and a count at the end.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};

use vla_policy::observation::Error;

/// Refused messages so far.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    /// By input; the reasons in the order in which they came.
    inputs: BTreeMap<usize, Vec<Complaint>>,
}

#[derive(Debug)]
struct Complaint {
    reason: Reason,
    count: u64,
    last: String,
}

/// What stays the same while the figures in the text change.
type Reason = (Discriminant<Error>, Option<Discriminant<vla_messages::Error>>);

impl Complaints {
    /// Takes down one refused message, and warns when its reason is new for this input.
    pub(crate) fn take(&mut self, input: usize, error: &Error) {
        let source = if let Error::Message { source, .. } = error { Some(discriminant(source)) } else { None };
        let reason = (discriminant(error), source);
        let known = self.inputs.entry(input).or_default();
        match known.iter_mut().find(|complaint| complaint.reason == reason) {
            Some(complaint) => {
                complaint.count += 1;
                complaint.last = error.to_string();
            }
            None => {
                tracing::warn!("message refused: {error}");
                known.push(Complaint { reason, count: 1, last: error.to_string() });
            }
        }
    }

    /// One line for each repeated reason, with the number of repetitions and the last one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let again = self.inputs.values().flatten().filter(|complaint| complaint.count > 1);
        again.map(|Complaint { count, last, .. }| format!("{count} messages refused like this one, the last: {last}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_for_each_input_and_counted_at_the_end() {
        let unstamped = |input: &str| Error::Unstamped {
            input: input.to_owned(),
            topic: "/t".to_owned(),
            parameter: "inputs.joints".to_owned(),
        };
        let mut complaints = Complaints::default();
        (0..400).for_each(|_| complaints.take(0, &unstamped("front")));
        (0..2).for_each(|_| complaints.take(1, &unstamped("wrist")));
        complaints.take(1, &Error::NoJoints { input: "wrist".to_owned(), topic: "/t".to_owned() });
        let lines: Vec<String> = complaints.lines().collect();
        assert_eq!(lines.len(), 2, "what came once was said in full: {lines:?}");
        assert!(lines[0].starts_with("400 messages refused") && lines[0].contains("`front`"), "{lines:?}");
        assert!(lines[1].starts_with("2 messages refused") && lines[1].contains("`wrist`"), "{lines:?}");
    }
}
