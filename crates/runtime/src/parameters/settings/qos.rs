//! Quality of service of the subscriptions to the input topics.

use std::fmt;

use vla_policy::observation::InputKind;

/// Whether lost messages are sent again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Reliability {
    /// They are lost.
    #[default]
    BestEffort,
    /// They are sent again.
    Reliable,
    /// As the middleware is configured.
    SystemDefault,
}

/// Whether a subscription receives what was published before it existed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Durability {
    /// No.
    #[default]
    Volatile,
    /// Yes, from publishers that keep their last messages.
    TransientLocal,
    /// As the middleware is configured.
    SystemDefault,
}

/// Which messages wait to be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum History {
    /// The newest, as many as the depth.
    #[default]
    KeepLast,
    /// As the middleware is configured.
    SystemDefault,
}

/// The two policies by which the middleware decides whether it connects a publisher and a subscription.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DeliveryQos {
    /// Whether lost messages are sent again.
    pub reliability: Reliability,
    /// Whether messages from before are received.
    pub durability: Durability,
}

/// The profile of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SubscriptionQos {
    /// What a publisher has to offer.
    pub delivery: DeliveryQos,
    /// Which messages wait.
    pub history: History,
    /// How many wait; 0: as the middleware is configured.
    pub depth: usize,
}

impl SubscriptionQos {
    /// Frames, joint states and poses: every publisher is heard, and the newest message counts.
    pub const SENSOR: Self = Self {
        delivery: DeliveryQos { reliability: Reliability::BestEffort, durability: Durability::Volatile },
        history: History::KeepLast,
        depth: 5,
    };

    /// As sensors; an older state of the switch is worth nothing.
    pub const ENABLE: Self = Self { depth: 1, ..Self::SENSOR };

    /// Sent once in a while, and none may be lost; also from before the node started.
    pub const INSTRUCTION: Self = Self {
        delivery: DeliveryQos { reliability: Reliability::Reliable, durability: Durability::TransientLocal },
        depth: 1,
        ..Self::SENSOR
    };

    /// Each message is a part of a tree; as tf2 subscribes them, but from every publisher.
    pub const TRANSFORMS: Self = Self { depth: 100, ..Self::SENSOR };

    /// As [`Self::TRANSFORMS`], and sent once.
    pub const STATIC_TRANSFORMS: Self = Self { depth: Self::TRANSFORMS.depth, ..Self::INSTRUCTION };

    /// Whether a topic has a volatile subscription beside this one. An instruction is to be heard from publishers of both durabilities,
    /// which no single subscription does.
    pub fn has_volatile_twin(self, kind: InputKind) -> bool {
        kind == InputKind::Instruction && self.delivery.durability == Durability::TransientLocal
    }

    /// What a publisher on a topic of this kind has to offer to be heard.
    pub fn required(self, kind: InputKind) -> DeliveryQos {
        if self.has_volatile_twin(kind) {
            DeliveryQos { durability: Durability::Volatile, ..self.delivery }
        } else {
            self.delivery
        }
    }
}

impl DeliveryQos {
    /// Whether a subscription that requests this receives from a publisher that offers `offered`. What only the middleware's
    /// configuration decides counts as fitting.
    pub fn accepts(self, offered: Self) -> bool {
        let lossy = self.reliability == Reliability::Reliable && offered.reliability == Reliability::BestEffort;
        let forgets = self.durability == Durability::TransientLocal && offered.durability == Durability::Volatile;
        !lossy && !forgets
    }
}

impl Reliability {
    /// The word of rclcpp's parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best_effort",
            Self::Reliable => "reliable",
            Self::SystemDefault => "system_default",
        }
    }
}

impl Durability {
    /// The word of rclcpp's parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::TransientLocal => "transient_local",
            Self::SystemDefault => "system_default",
        }
    }
}

impl History {
    /// The word of rclcpp's parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeepLast => "keep_last",
            Self::SystemDefault => "system_default",
        }
    }
}

impl fmt::Display for DeliveryQos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.reliability.as_str(), self.durability.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_fits_when_it_offers_at_least_what_is_requested() {
        let profile = |reliability, durability| DeliveryQos { reliability, durability };
        let weak = profile(Reliability::BestEffort, Durability::Volatile);
        let reliable = profile(Reliability::Reliable, Durability::Volatile);
        let latched = profile(Reliability::Reliable, Durability::TransientLocal);
        for (requested, fitting) in
            [(weak, [true, true, true]), (reliable, [false, true, true]), (latched, [false, false, true])]
        {
            assert_eq!([weak, reliable, latched].map(|offered| requested.accepts(offered)), fitting, "{requested}");
        }
        let unknown = profile(Reliability::SystemDefault, Durability::SystemDefault);
        assert!(latched.accepts(unknown) && unknown.accepts(weak));
    }
}
