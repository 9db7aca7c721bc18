//! The tree of frames, shared by the inputs that are looked up in it.
//!
//! An input's newest pose is that of the newest time at which its whole chain of transforms is known. It is looked up when that time
//! advances, and is then a sample like that of any other message.

use std::sync::Mutex;

use super::Inputs;
use super::store::{Store, lock};
use crate::observation::clock::ClockReader;
use crate::observation::error::{Error, TransformError};
use crate::observation::pose::Pose;
use crate::observation::slot::{Sample, Slot};
use crate::observation::spec::{InputKind, InputSpec, InputTopic};
use crate::observation::transforms::{Common, Link, LookupError, Route, Transform, TransformTree};
use vla_base::time::Stamp;
use vla_messages::{TfMessageView, TransformView};

/// The tree and what is looked up in it.
#[derive(Debug, Default)]
pub(super) struct Frames {
    state: Mutex<State>,
    /// One an input; `None` for those that are no transforms.
    routes: Vec<Option<Route>>,
}

#[derive(Debug, Default)]
struct State {
    tree: TransformTree,
    clock: ClockReader,
    epoch: u64,
    /// Time of the last lookup of each input.
    looked_up: Vec<Option<Stamp>>,
}

impl Frames {
    pub(super) fn new(specs: &[InputSpec]) -> Self {
        let route = |spec: &InputSpec| {
            (spec.kind == InputKind::Transform).then(|| Route::new(&spec.frame_id, &spec.child_frame_id))
        };
        let state = State { looked_up: vec![None; specs.len()], ..State::default() };
        Self { state: Mutex::new(state), routes: specs.iter().map(route).collect() }
    }

    /// Newest time at which the chain of an input is known, or why there is none; `None` for an input that is no transform.
    pub(super) fn latest(&self, input: usize) -> Option<Result<Option<Common>, LookupError>> {
        let route = self.routes.get(input)?.as_ref()?;
        Some(lock(&self.state).tree.latest_common(route))
    }
}

impl Frames {
    /// The pose of an input at a time; `None` where it is no transform, and where the tree does not have that time.
    pub(super) fn at(&self, input: usize, at: Stamp) -> Option<Pose> {
        let route = self.routes.get(input)?.as_ref()?;
        lock(&self.state).tree.lookup(route, at).ok().map(pose_of)
    }
}

impl Inputs {
    /// Accepts transforms, and the poses that follow from them.
    pub(super) fn offer_transforms(&self, topic: &InputTopic, bytes: &[u8], received: Stamp) -> Result<(), Error> {
        let refused = |source| Error::Transform { topic: topic.name.to_string(), source };
        let view = TfMessageView::parse(bytes).map_err(|error| {
            let error = refused(error.into());
            topic.inputs.iter().filter_map(|&input| self.stores.get(input)).for_each(|store| store.refuse(&error));
            error
        })?;
        let mut state = lock(&self.frames_of_tf.state);
        let State { tree, clock, epoch, looked_up } = &mut *state;
        let (now_epoch, _) = self.read_clock(clock, received);
        if now_epoch > *epoch {
            *epoch = now_epoch;
            tree.clear();
            looked_up.fill(None);
        }
        let mut first = None;
        for transform in view.transforms() {
            let Err(source) = insert(tree, transform, topic.is_static, received) else { continue };
            let error = refused(source);
            for (store, route) in self.inputs_of_tf(topic) {
                if tree.concerns(route, transform.child_frame_id) {
                    store.refuse(&error);
                }
            }
            first.get_or_insert(error);
        }
        for &input in &topic.inputs {
            let (Some(Store::Poses(slot)), Some(Some(route)), Some(last)) =
                (self.stores.get(input), self.frames_of_tf.routes.get(input), looked_up.get_mut(input))
            else {
                continue;
            };
            self.follow(tree, route, slot, last, received);
        }
        first.map_or(Ok(()), Err)
    }

    /// Looks an input up when the newest time of its chain has changed.
    fn follow(
        &self,
        tree: &TransformTree,
        route: &Route,
        slot: &Mutex<Slot<Pose>>,
        last: &mut Option<Stamp>,
        received: Stamp,
    ) {
        // What is wrong with the chain is found again when the input is judged.
        let Ok(Some(Common { stamp, .. })) = tree.latest_common(route) else { return };
        if *last == Some(stamp) {
            return;
        }
        let Ok(value) = tree.lookup(route, stamp).map(pose_of) else { return };
        *last = Some(stamp);
        self.hold(slot, Sample { stamp, received, value, same: false });
    }

    fn inputs_of_tf<'a>(&'a self, topic: &'a InputTopic) -> impl Iterator<Item = (&'a Store, &'a Route)> {
        let of = |&input: &usize| Some((self.stores.get(input)?, self.frames_of_tf.routes.get(input)?.as_ref()?));
        topic.inputs.iter().filter_map(of)
    }
}

fn pose_of(Transform { translation, rotation }: Transform) -> Pose {
    Pose { position: translation, orientation: rotation }
}

fn insert(
    tree: &mut TransformTree,
    transform: TransformView<'_>,
    is_static: bool,
    received: Stamp,
) -> Result<(), TransformError> {
    let TransformView { header, child_frame_id: child, translation, rotation } = transform.checked()?;
    if !is_static && header.stamp == Stamp::default() {
        return Err(TransformError::Unstamped { child: child.to_owned() });
    }
    let transform = Transform { translation, rotation };
    let link = Link { parent: header.frame_id, child, stamp: header.stamp, transform, is_static };
    tree.insert(&link, received)?;
    Ok(())
}
