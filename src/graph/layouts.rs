//! Which joints arrive together, to tell several sources of joint states apart.
//!
//! r2r does not say which publisher a message came from. Its names do: drivers of different joints send different sets.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vla_messages::JointStateView;

/// A set that was not seen for so long is forgotten: its publisher may be gone.
const LASTS: Duration = Duration::from_secs(5);
/// Sets that are kept; more are no robot's.
const MOST: usize = 32;

/// The sets of names that arrived lately.
#[derive(Debug, Default)]
pub(crate) struct Layouts(Mutex<Vec<Layout>>);

#[derive(Clone, Debug)]
struct Layout {
    hash: u64,
    names: Arc<[String]>,
    seen: Instant,
}

impl Layouts {
    /// Notes a joint state. What is no joint state is refused elsewhere.
    pub(crate) fn note(&self, bytes: &[u8], now: Instant) {
        let Ok(view) = JointStateView::parse(bytes) else { return };
        let mut hasher = DefaultHasher::new();
        view.names().for_each(|name| name.hash(&mut hasher));
        let hash = hasher.finish();
        let mut layouts = self.lock();
        if let Some(layout) = layouts.iter_mut().find(|layout| layout.hash == hash) {
            layout.seen = now;
            return;
        }
        layouts.retain(|layout| now.duration_since(layout.seen) < LASTS);
        if layouts.len() < MOST {
            layouts.push(Layout { hash, names: view.names().map(str::to_owned).collect(), seen: now });
        }
    }

    /// The sets that are not forgotten.
    pub(crate) fn sets(&self, now: Instant) -> Vec<Arc<[String]>> {
        let layouts = self.lock();
        let lately = layouts.iter().filter(|layout| now.duration_since(layout.seen) < LASTS);
        lately.map(|layout| layout.names.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Layout>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::time::Stamp;
    use vla_messages::{HeaderView, write};

    #[test]
    fn every_set_of_names_is_kept_once_and_forgotten_when_it_stops() {
        let (layouts, start) = (Layouts::default(), Instant::now());
        let header = HeaderView { stamp: Stamp::from_nanos(1), frame_id: "" };
        let state = |names: &[&str]| write::joint_state(header, names, &vec![0.0; names.len()], &[], &[]);
        for _ in 0..3 {
            layouts.note(&state(&["pan", "lift"]), start);
            layouts.note(&state(&["gripper"]), start);
        }
        layouts.note(b"no joint state", start);
        assert_eq!(layouts.sets(start).len(), 2);
        let later = start + LASTS;
        layouts.note(&state(&["pan", "lift"]), later);
        assert_eq!(layouts.sets(later).iter().map(|names| names.to_vec()).collect::<Vec<_>>(), [["pan", "lift"]]);
    }
}
