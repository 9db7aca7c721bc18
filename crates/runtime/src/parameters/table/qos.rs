//! QoS of the subscriptions, named as rclcpp names them. `{}` is the full name of a topic.

use super::Param;
use crate::parameters::settings::{Durability, History, Reliability};

/// Messages that wait to be read, at most: only the newest is used.
const MOST: i64 = 1000;

pub(crate) const RELIABILITY: Param<Reliability> = Param::word(
    "qos_overrides.{}.subscription.reliability",
    "best_effort",
    "Reliability that the subscription to {} requests. best_effort receives from every publisher; reliable only from reliable ones, \
     and has lost messages sent again. The default is reliable for the instruction and static transforms.",
)
.fixed();

pub(crate) const DURABILITY: Param<Durability> = Param::word(
    "qos_overrides.{}.subscription.durability",
    "volatile",
    "Durability that the subscription to {} requests. volatile receives from every publisher what it sends from then on; \
     transient_local also what a publisher of this durability sent before, and nothing from volatile publishers. The default is \
     transient_local for static transforms, and for the instruction, which is then received from volatile publishers, too.",
)
.fixed();

pub(crate) const HISTORY: Param<History> = Param::word(
    "qos_overrides.{}.subscription.history",
    "keep_last",
    "Which messages of {} wait to be read: keep_last, the newest. keep_all is refused: a queue without bound delays the newest message.",
)
.fixed();

pub(crate) const DEPTH: Param<usize> = Param::integer(
    "qos_overrides.{}.subscription.depth",
    5,
    (0, MOST),
    "How many messages of {} wait to be read. The default is 1 for the instruction and the enable switch, 100 for transforms. 0: the middleware's own \
     default.",
)
.fixed();
