//! What each camera showed at the moments that matter.

use bytes::Bytes;

use crate::page::Picture;
use vla_base::time::Stamp;
use vla_messages::{FrameDecoder, header_stamp};
use vla_policy::observation::{FrameOptions, InputKind, InputSpec, InputTopic, Transport};

/// Cameras of which pictures are kept.
const MOST_CAMERAS: usize = 8;

/// Why a moment matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MomentKind {
    /// The first chunk.
    First,
    /// A violation, after a cycle without this one.
    Violation,
    /// A refused chunk, after a cycle without a refusal.
    Refused,
    /// The robot is brought to rest.
    Stop,
    /// Of the chunks that met limits, those that were held back most.
    Limit,
    /// Of all hand-overs, those with the largest distance between rows and motion.
    Jump,
}

impl MomentKind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::First => "first chunk",
            Self::Violation => "violation",
            Self::Refused => "chunk refused",
            Self::Stop => "braking",
            Self::Limit => "limits met",
            Self::Jump => "large jump at the hand-over",
        }
    }

    /// Moments of this kind that are kept.
    const fn most(self) -> usize {
        match self {
            Self::First => 1,
            Self::Violation => 4,
            Self::Refused | Self::Stop => 3,
            Self::Limit | Self::Jump => 2,
        }
    }
}

/// A reason to keep a moment. The first ones of a kind stay, unless later ones have a higher rank.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    /// Its kind.
    pub kind: MomentKind,
    /// Rank among those of its kind.
    pub rank: f64,
    /// What happened.
    pub text: String,
}

/// A moment with what the cameras showed.
#[derive(Clone, PartialEq, Debug)]
pub struct KeptMoment {
    /// When, in s of the record.
    pub at: f64,
    /// Why it is kept; never empty.
    pub claims: Vec<Claim>,
    /// Newest frame of each camera.
    pub pictures: Vec<Picture>,
}

/// Newest frames of the cameras, and pictures of the moments that matter: a bounded number of both.
#[derive(Debug, Default)]
pub(super) struct Moments {
    cameras: Vec<Camera>,
    decoder: FrameDecoder,
    kept: Vec<KeptMoment>,
}

#[derive(Debug)]
struct Camera {
    name: String,
    /// Topic of the inputs.
    topic: usize,
    transport: Transport,
    options: FrameOptions,
    newest: Option<Bytes>,
}

impl Moments {
    /// Of these inputs.
    pub(super) fn new(inputs: &[InputSpec]) -> Self {
        let topics = InputTopic::of(inputs);
        let camera = |(index, input): (usize, &InputSpec)| {
            let InputKind::Camera { transport } = input.kind else { return None };
            let topic = topics.iter().position(|topic| topic.inputs.contains(&index))?;
            Some(Camera { name: input.name.clone(), topic, transport, options: input.frames, newest: None })
        };
        let cameras = inputs.iter().enumerate().filter_map(camera).take(MOST_CAMERAS).collect();
        Self { cameras, ..Self::default() }
    }

    /// A message of a topic of the inputs came.
    pub(super) fn message(&mut self, topic: usize, data: &Bytes) {
        let cameras = self.cameras.iter_mut().filter(|camera| camera.topic == topic);
        cameras.for_each(|camera| camera.newest = Some(data.clone()));
    }

    /// Keeps a moment for those of its claims that are among the highest of their kinds.
    pub(super) fn offer(&mut self, now: Stamp, at: f64, claims: Vec<Claim>) {
        let claims: Vec<Claim> = claims.into_iter().filter(|claim| self.make_room(claim)).collect();
        if !claims.is_empty() {
            let pictures = self.pictures(now);
            self.kept.push(KeptMoment { at, claims, pictures });
        }
    }

    /// The moments in order.
    pub(super) fn into_kept(self) -> Vec<KeptMoment> {
        self.kept
    }

    /// Whether there is room for a claim, also by dropping the lowest of its kind.
    fn make_room(&mut self, claim: &Claim) -> bool {
        let same = self.kept.iter().flat_map(|moment| &moment.claims).filter(|kept| kept.kind == claim.kind);
        let ranks: Vec<f64> = same.map(|kept| kept.rank).collect();
        if ranks.len() < claim.kind.most() {
            return true;
        }
        let lowest = ranks.into_iter().fold(f64::INFINITY, f64::min);
        if claim.rank <= lowest || claim.rank.is_nan() {
            return false;
        }
        let is_lowest = |kept: &Claim| kept.kind == claim.kind && kept.rank == lowest;
        if let Some(index) = self.kept.iter().position(|moment| moment.claims.iter().any(is_lowest)) {
            self.kept[index].claims.retain(|kept| !is_lowest(kept));
            if self.kept[index].claims.is_empty() {
                self.kept.remove(index);
            }
        }
        true
    }

    fn pictures(&mut self, now: Stamp) -> Vec<Picture> {
        let Self { cameras, decoder, .. } = self;
        cameras.iter().map(|camera| camera.picture(decoder, now)).collect()
    }
}

impl Camera {
    fn picture(&self, decoder: &mut FrameDecoder, now: Stamp) -> Picture {
        let Some(bytes) = &self.newest else {
            return Picture::missing(&self.name, "no frame yet");
        };
        let type_name = InputKind::Camera { transport: self.transport }.type_name();
        let label = match header_stamp(type_name, bytes).ok().filter(|stamp| *stamp != Stamp::default()) {
            Some(stamp) => format!("{}, {:.0} ms old", self.name, stamp.age_at(now).millis()),
            None => self.name.clone(),
        };
        Picture::of_message(&label, (self.transport, self.options), bytes, decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(kind: MomentKind, rank: f64) -> Vec<Claim> {
        vec![Claim { kind, rank, text: format!("{rank}") }]
    }

    fn kept(moments: Moments) -> Vec<f64> {
        moments.into_kept().into_iter().map(|moment| moment.at).collect()
    }

    #[test]
    fn the_first_violations_and_the_largest_jumps_stay() {
        let mut moments = Moments::default();
        (0..100).for_each(|at| moments.offer(Stamp::default(), f64::from(at), claim(MomentKind::Violation, 0.0)));
        assert_eq!(kept(moments), [0.0, 1.0, 2.0, 3.0]);
        let mut moments = Moments::default();
        let rank = |at: i32| f64::from(at * 37 % 100);
        (0..100).for_each(|at| moments.offer(Stamp::default(), f64::from(at), claim(MomentKind::Jump, rank(at))));
        let kept = kept(moments);
        assert_eq!(kept.iter().map(|at| rank(*at as i32)).fold(0.0, f64::max), 99.0);
        assert_eq!(kept.iter().map(|at| rank(*at as i32)).fold(100.0, f64::min), 98.0);
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn a_moment_stays_while_one_of_its_claims_does() {
        let mut moments = Moments::default();
        let mut first = claim(MomentKind::First, 0.0);
        first.extend(claim(MomentKind::Limit, 1.0));
        moments.offer(Stamp::default(), 0.0, first);
        (1..4)
            .for_each(|at| moments.offer(Stamp::default(), f64::from(at), claim(MomentKind::Limit, f64::from(at + 1))));
        moments.offer(Stamp::default(), 9.0, claim(MomentKind::Limit, f64::NAN));
        let kept = moments.into_kept();
        assert_eq!(
            kept.iter().map(|moment| (moment.at, moment.claims.len())).collect::<Vec<_>>(),
            [(0.0, 1), (2.0, 1), (3.0, 1)]
        );
    }
}
